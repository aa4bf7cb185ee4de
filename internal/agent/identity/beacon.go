package identity

import "strings"

// beaconUnit makes one call when the network is up, and is gone.
const beaconUnit = "gild-beacon.service"

// beaconCA is the CA that the call trusts, beside the unit: the system's own
// know nothing of it.
const beaconCA = "gild-beacon.pem"

// callers make one POST each and fail when it was not taken. They are words of
// a shell, in double quotes of a unit file. %U stands for the URL, %V for how
// to verify who answers there.
var callers = []struct {
	program      string // in the image
	call, verify string // verify takes %C, the CA's file
}{
	{"/usr/bin/curl", `/usr/bin/curl --silent --show-error --fail --max-time 20 --output /dev/null --data ''%V '%U'`, ` --cacert %C`},
	{"/usr/bin/wget", `/usr/bin/wget --quiet --tries=1 --timeout=20 --output-document=/dev/null --post-data=%V '%U'`, ` --ca-certificate=%C`},
	{
		"/usr/bin/python3", `/usr/bin/python3 -c 'import urllib.request as u; u.urlopen(\"%U\", data=b\"\", timeout=20%V)'`,
		`, context=__import__(\"ssl\").create_default_context(cafile=\"%C\")`,
	},
}

// bareCall is for images without a client: a shell that speaks plain HTTP
// itself. %H, %P, %T stand for the URL's host, port and path.
const bareCall = `/bin/bash -c "exec 3<>/dev/tcp/%H/%P && printf 'POST %T HTTP/1.1\\r\\nHost: %H\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n' >&3 && read -t 20 -r line <&3 && [[ $$line == *' 2'* ]]"`

// beacon sets up the call by which the server learns that the new system
// runs. Without it the machine is only unconfirmed, so what cannot be is told
// and no failure.
func (w *writer) beacon() error {
	url := w.Identity.BeaconURL
	if url == "" {
		return nil
	}
	call, why := w.caller(url)
	if why != "" {
		w.note("no beacon: %s; a probe (tcp:22, ping) can confirm the system instead", why)
		return nil
	}
	const wanted = "/etc/systemd/system/multi-user.target.wants/" + beaconUnit
	unit := strings.Join([]string{
		"[Unit]",
		"Description=Tell the server that this system runs",
		"Wants=network-online.target",
		"After=network-online.target",
		"StartLimitIntervalSec=0",
		"",
		"[Service]",
		"Type=oneshot",
		"ExecStart=" + call,
		"ExecStartPost=/bin/rm -f " + wanted + " " + unitPath(beaconUnit) + " " + unitPath(beaconCA),
		"Restart=on-failure",
		"RestartSec=10",
		"",
	}, "\n")
	// Its path holds a token, which is worth nothing once it was used.
	if err := w.write(unitPath(beaconUnit), unit, 0o600, root); err != nil {
		return err
	}
	if len(w.CA) > 0 {
		if err := w.write(unitPath(beaconCA), string(w.CA), 0o644, root); err != nil {
			return err
		}
	}
	return w.link(unitPath(beaconUnit), wanted)
}

// caller picks what of the image makes the call. By TLS where the image can,
// and in plain HTTP where that fails, as it does where its library is older
// than TLS 1.3: what the call holds is worth nothing but the word "running".
func (w *writer) caller(url string) (call, why string) {
	if w.firstOf("/usr/lib/systemd/systemd", "/lib/systemd/systemd") == "" {
		return "", errNoSystemd.Error()
	}
	rest, secure := strings.CutPrefix(url, "https://")
	rest = strings.TrimPrefix(rest, "http://")
	plain := "http://" + rest
	// A percent sign is systemd's own (systemd.unit(5), specifiers); the URL
	// holds none.
	for _, c := range callers {
		if !w.exists(c.program) || !w.exists("/bin/sh") {
			continue
		}
		line := strings.NewReplacer("%U", plain, "%V", "").Replace(c.call)
		if secure && len(w.CA) > 0 {
			verify := strings.ReplaceAll(c.verify, "%C", unitPath(beaconCA))
			line = strings.NewReplacer("%U", url, "%V", verify).Replace(c.call) + " || " + line
		}
		return `/bin/sh -c "` + line + `"`, ""
	}
	if !w.exists("/bin/bash") {
		return "", "the image has neither curl nor wget, python3 or bash"
	}
	hostport, path, _ := strings.Cut(rest, "/")
	host, port := hostport, "80"
	if i := strings.LastIndexByte(hostport, ':'); i > 0 && !strings.HasSuffix(hostport, "]") {
		host, port = hostport[:i], hostport[i+1:]
	}
	return strings.NewReplacer("%H", host, "%P", port, "%T", "/"+path).Replace(bareCall), ""
}
