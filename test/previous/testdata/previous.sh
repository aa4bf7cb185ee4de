#!/bin/bash
# What a version before has left, taken over by this one: previous.sh OLD NEW MACHINE IMAGE
# Runs in a network namespace, in a directory of its own. Each line that begins
# with "==" is what the test reads.
set -euo pipefail
old=$1 new=$2 machine=$3 image=$4
ip link set lo up
export HOME=$PWD GILD_DATA=$PWD/data
trap 'echo "== failed in line $LINENO"; tail -n 20 serve.log' ERR

told() { echo "== $*"; }
serve() { # PROGRAM
	"$1" serve --interface lo --dhcp off --advertise 127.0.0.1 >>serve.log 2>&1 &
	server=$!
	local i
	for ((i = 0; i < 600; i++)); do
		if "$1" machine ls >/dev/null 2>&1; then return; fi
		sleep 0.1
	done
	told "the server does not answer"
	return 1
}
stop() { kill "$server" && wait "$server"; }
state() { "$new" machine show "$1" --json | sed -n 's/.*"state": *"\([^"]*\)".*/\1/p' | head -n 1; }

serve "$old"
"$old" image add web "$image" --keep-free
"$old" apply -f fleet.yaml
"$old" machine add web-1 --mac 52:54:00:00:00:01 --label rack=b7
"$old" machine add web-2 --mac 52:54:00:00:00:02
"$old" flash web-1 --unseen --yes
"$old" flash web-2 --image web --unseen --yes
"$old" state backup before.json
stop

serve "$new"
told "machines: $("$new" machine ls --sort machine -q | tr '\n' ' ')"
told "still armed: $(state web-1), $(state web-2)"
told "images: $("$new" image ls -q), verified $("$new" image verify | grep -c OK)"
told "the same files change nothing: $("$new" apply -f fleet.yaml --dry-run >/dev/null && echo yes)"
"$machine" 52:54:00:00:00:01
told "an agent of before: $(state web-1), $(cmp -n "$(stat -c %s "$image")" "$image" 52:54:00:00:00:01.raw && echo equal)"
told "its past: $("$new" events web-1 | grep -c ' arm ')"
stop

rm -rf data
mkdir data
"$new" state restore before.json
serve "$new"
told "from a backup of before: $("$new" machine ls --sort machine -q | tr '\n' ' ')disarmed $(state web-2)"
stop
told done
