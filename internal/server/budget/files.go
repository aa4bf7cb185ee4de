package budget

import "golang.org/x/sys/unix"

// OpenFiles is how many files this process may have open. A quarter is for the
// connections of the boot network, each of which may have a file open too, a
// quarter for TFTP, and the rest for operators, DHCP, images and the state.
func OpenFiles() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 1024 // what every system gives
	}
	return int(min(limit.Cur, 1<<20))
}
