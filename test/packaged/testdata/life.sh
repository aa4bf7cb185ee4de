#!/bin/bash
# The life of the package in a Debian system: what PID 1 there runs at its start.
# Each line that begins with "==" is what the test reads.
set -euo pipefail
export HOME=/root
trap 'echo "== failed in line $LINENO"; journalctl -u gild --no-pager -n 30' ERR

told() { echo "== $*"; }
pid() { systemctl show --property MainPID --value gild; }
state() { gild machine show web-1 --json | sed -n 's/.*"state": *"\([^"]*\)".*/\1/p' | head -n 1; }
await() { # STATE...
	local i
	for ((i = 0; i < 600; i++)); do
		case " $* " in *" $(state) "*) return ;; esac
		sleep 0.1
	done
	told "never $*, but $(state)"
	return 1
}

dpkg -i /root/old.deb
told "not running: $(systemctl is-active gild || true), $(systemctl is-enabled gild || true)"
printf 'interface: lo\ndhcp: off\nadvertise: 127.0.0.1\n' >/etc/gild/gild.yaml
systemctl enable --now gild
told "started: $(systemctl is-active gild), as $(stat -c %U "/proc/$(pid)"), version $(dpkg-query --show --showformat '${Version}' gild)"
told "exposure: $(systemd-analyze security gild --no-pager | grep -o 'Overall exposure.*' | grep -o '[0-9]\.[0-9]')"
told "pages: $(ls /usr/share/man/man1 | grep -c '^gild.*\.1\.gz$')"
told "completion: $(bash -c '. /usr/share/bash-completion/completions/gild && complete -p gild' | grep -c gild)"

gild image add web /root/disk --keep-free
told "images are the service's: $(stat -c %U /var/lib/gild/images/index.json)"
gild machine add web-1 --mac 52:54:00:00:00:01
gild flash web-1 --image web --unseen --yes
/root/machine &
machine=$!
await flashing
kill -STOP $machine
before=$(pid)
dpkg -i /root/new.deb
told "upgraded: version $(dpkg-query --show --showformat '${Version}' gild), running $(systemctl is-active gild), another process $([[ $(pid) != "$before" ]] && echo yes), settings $(head -n 1 /etc/gild/gild.yaml)"
told "meanwhile: $(state)"
kill -CONT $machine
wait $machine
await "handing off" running unconfirmed
told "flashed: $(cmp -n "$(stat -c %s /root/disk)" /root/disk /root/machine.raw && echo equal)"

dpkg -r gild
told "removed: $(systemctl is-active gild || true), images $(ls /var/lib/gild/images/blobs/sha256 | wc -l), settings $(test -e /etc/gild/gild.yaml && echo kept)"
dpkg -i /root/new.deb
systemctl enable --now gild
told "back: $(gild image ls -q), $(gild machine ls -q)"
dpkg -P gild
told "purged: $(ls -d /var/lib/gild /etc/gild /usr/bin/gild 2>/dev/null | wc -l) left, user $(getent passwd gild | wc -l)"
told done
