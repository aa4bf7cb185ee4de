package coldplug

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Uevent is what the kernel says of a device that came, went or changed
// (lib/kobject_uevent.c).
type Uevent struct {
	Action   string // "add", "remove", "change", ...
	DevPath  string // below /sys
	Modalias string // empty when the device has none
}

// maxUevent is the kernel's own bound of one message in bytes: 2 KiB of
// environment (UEVENT_BUFFER_SIZE) and the header line.
const maxUevent = 8 << 10

// ParseUevent reads one message: "action@devpath" and KEY=value records, each
// ended by a NUL.
func ParseUevent(p []byte) (Uevent, error) {
	if len(p) > maxUevent {
		return Uevent{}, fmt.Errorf("uevent of %d bytes, at most %d are accepted", len(p), maxUevent)
	}
	head, rest, _ := bytes.Cut(p, []byte{0})
	action, devpath, ok := strings.Cut(string(head), "@")
	// udevd's rebroadcasts ("libudev") come over the same protocol.
	if !ok || action == "" || !strings.HasPrefix(devpath, "/") {
		return Uevent{}, fmt.Errorf("%.80q does not begin a uevent", head)
	}
	u := Uevent{Action: action, DevPath: devpath}
	for record := range bytes.SplitSeq(rest, []byte{0}) {
		if value, ok := bytes.CutPrefix(record, []byte("MODALIAS=")); ok {
			u.Modalias = string(value)
		}
	}
	return u, nil
}

// errOverrun says that messages were lost.
var errOverrun = errors.New("uevents were lost")

// socket receives uevents.
type socket struct {
	fd  int
	buf []byte
}

// pollInterval bounds how long a read of the socket waits, so that the
// listener notices the end of its context.
const pollInterval = time.Second

// openSocket subscribes to the kernel's uevents of this network namespace.
func openSocket() (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("opening the uevent socket: %w", err)
	}
	// A burst of devices must fit while a module loads. Best effort: an
	// overrun is noticed and repaired.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20)
	timeout := unix.NsecToTimeval(pollInterval.Nanoseconds())
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1})
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("opening the uevent socket: %w", err)
	}
	return &socket{fd: fd, buf: make([]byte, maxUevent+1)}, nil
}

func (s *socket) close() { unix.Close(s.fd) }

// next waits for a message of the kernel's.
func (s *socket) next(ctx context.Context) (Uevent, error) {
	for {
		if err := ctx.Err(); err != nil {
			return Uevent{}, err
		}
		n, from, err := unix.Recvfrom(s.fd, s.buf, 0)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOBUFS):
			return Uevent{}, errOverrun
		case err != nil:
			return Uevent{}, fmt.Errorf("reading uevents: %w", err)
		}
		// Any process may send to the group; only the kernel has port 0.
		if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != 0 {
			continue
		}
		if u, err := ParseUevent(s.buf[:n]); err == nil {
			return u, nil
		}
	}
}
