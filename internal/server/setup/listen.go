// Package setup opens listeners, or says what of the surroundings is in the
// way.
package setup

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"github.com/gild-dev/gild/internal/server/link"
	"github.com/gild-dev/gild/internal/server/portowner"
)

// Error says what of the surroundings keeps the server from starting.
type Error struct {
	Problem string
	Help    string // what the operator can do
	Err     error  // may be nil
}

func (e *Error) Error() string {
	if e.Err == nil {
		return e.Problem
	}
	return e.Problem + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// Hint says what the operator can do.
func (e *Error) Hint() string { return e.Help }

// Listen opens a TCP listener for the named service. Errors are *Error.
func Listen(ctx context.Context, name, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, ListenError(name, "tcp", addr, err)
	}
	return l, nil
}

// ListenError explains why a socket could not be opened; network is "tcp" or
// "udp".
func ListenError(name, network, addr string, err error) error {
	// The system's words say what; the rest of a net.OpError repeats addr.
	cause := err
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		cause = errno
	}
	e := &Error{Problem: fmt.Sprintf("%s cannot listen on %s port %s", name, network, addr), Err: cause}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		e.Problem = fmt.Sprintf("%s: %s port %s is taken", name, network, addr)
		if who := portowner.Of(network, addr); who != "" {
			e.Problem += " by " + who
		}
		e.Help = "stop the other program or choose another port"
	case errors.Is(err, os.ErrPermission):
		e.Help = "ports below 1024 need root or CAP_NET_BIND_SERVICE (setcap cap_net_bind_service,cap_net_raw+ep on gild)"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		e.Help = "no interface has this address; " + DescribeInterfaces()
	default:
		e.Help = "give host and port, such as 192.168.1.1:80"
	}
	return e
}

// InterfaceAddr returns the IPv4 address that a server on a network interface
// is reached by, with the length of its network: the wanted one; without a
// wish the first that is not link-local, else the first. An absent interface or
// one without such an address is a *Error that lists those that would do.
func InterfaceAddr(name string, want netip.Addr) (netip.Prefix, error) {
	st := link.Look(name)
	if st.Index == 0 {
		return netip.Prefix{}, &Error{Problem: fmt.Sprintf("no network interface %.40q", name), Help: DescribeInterfaces()}
	}
	if want.IsValid() {
		for _, p := range st.Addrs {
			if p.Addr() == want {
				return p, nil
			}
		}
		return netip.Prefix{}, &Error{
			Problem: fmt.Sprintf("network interface %s has not the address %v", name, want),
			Help:    fmt.Sprintf("%s has: %v; %s", name, st, DescribeInterfaces()),
		}
	}
	if p, ok := st.Address(); ok {
		return p, nil
	}
	return netip.Prefix{}, &Error{
		Problem: fmt.Sprintf("network interface %s has no IPv4 address", name),
		Help:    "give it one (ip address add 192.168.1.1/24 dev " + name + ") or take another; " + DescribeInterfaces(),
	}
}

// DescribeInterfaces lists the interfaces with an IPv4 address.
func DescribeInterfaces() string {
	ifis, err := net.Interfaces()
	if err != nil {
		return "the interfaces could not be listed"
	}
	var list []string
	for _, ifi := range ifis {
		addrs, err := ifi.Addrs()
		if err != nil {
			continue // it has just gone
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
				list = append(list, ifi.Name+" "+p.String())
			}
		}
	}
	if len(list) == 0 {
		return "no interface has an IPv4 address"
	}
	return "there are " + strings.Join(list, ", ")
}
