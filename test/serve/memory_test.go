package serve

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"

	"github.com/gild-dev/gild/internal/server/netlab"
)

// A server whose memory is used up by those who ask and do not end says so,
// keeps answering, and is as before when they are gone.
func TestMemoryIsShort(t *testing.T) {
	l := netlab.New(t)
	t.Setenv("GOMEMLIMIT", "48MiB")
	s := start(t, l, "--dhcp", "server")
	var held []net.Conn
	hold := func(from string, n int) {
		t.Helper()
		netlab.IP(t, "-n "+l.Client+" addr add "+from+"/24 dev c0")
		err := netlab.In(t, l.Client, func() error {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
			for range n {
				c, err := d.DialContext(t.Context(), "tcp", "10.77.0.1:8080")
				if errors.Is(err, syscall.ECONNRESET) {
					continue // it sheds already
				}
				if err != nil {
					return err
				}
				held = append(held, c)
				// A header that fills the reader's buffers, and a body that does not come.
				fmt.Fprintf(c,
					"POST /agent/v1/hello HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX: %08000d\r\nContent-Length: 60000\r\n\r\n{", 0)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 4 {
		hold(fmt.Sprintf("10.77.0.%d", 20+i), 1000)
	}
	s.says("alarm: memory is short, the limit is 48 MiB")
	// Whoever asks at the moment when connections are closed asks again.
	again := netlab.Command(t, l.Client, "curl", "-sS", "--retry", "10", "--retry-all-errors", "http://10.77.0.1:8080/healthz")
	if out, err := again.Output(); err != nil || string(out) != "ok\n" {
		t.Errorf("it answers %q, %v", out, err)
	}
	for _, c := range held {
		c.Close()
	}
	s.says("alarm is over: memory is short")
}
