// Package portowner names the process that listens on a port.
package portowner

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

// Of names the process that listens at an address of "tcp" or "udp", as far
// as /proc shows it to this user; empty when it does not.
func Of(network, addr string) string {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return ""
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return ""
	}
	return Number(network, n)
}

// Number is Of for a port of any address.
func Number(network string, port int) string {
	inodes := map[string]bool{}
	for _, file := range []string{network, network + "6"} {
		listeningInodes("/proc/net/"+file, uint16(port), inodes)
	}
	return socketOwner(inodes)
}

// listeningInodes adds the socket inodes of a port from a table of proc(5).
func listeningInodes(path string, port uint16, inodes map[string]bool) {
	p, err := os.ReadFile(path)
	if err != nil {
		return
	}
	suffix := fmt.Sprintf(":%04X", port)
	for line := range strings.Lines(string(p)) {
		f := strings.Fields(line)
		// State 0A is a listening TCP socket, 07 an unconnected UDP one.
		if len(f) > 9 && strings.HasSuffix(f[1], suffix) && (f[3] == "0A" || f[3] == "07") {
			inodes["socket:["+f[9]+"]"] = true
		}
	}
}

func socketOwner(inodes map[string]bool) string {
	if len(inodes) == 0 {
		return ""
	}
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return ""
	}
	for _, proc := range procs {
		pid, err := strconv.Atoi(proc.Name())
		if err != nil {
			continue
		}
		dir := "/proc/" + proc.Name()
		fds, err := os.ReadDir(dir + "/fd")
		if err != nil {
			continue // another user's
		}
		for _, fd := range fds {
			if target, err := os.Readlink(dir + "/fd/" + fd.Name()); err == nil && inodes[target] {
				comm, _ := os.ReadFile(dir + "/comm")
				return fmt.Sprintf("%s (pid %d)", strings.TrimSpace(string(comm)), pid)
			}
		}
	}
	return ""
}
