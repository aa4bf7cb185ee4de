package door

import (
	"net"
	"net/http"
	"testing"
)

// While memory is short half of those who wait go at once, one goes for each
// newcomer, and who asks stays; afterwards nobody goes.
func TestGateTighten(t *testing.T) {
	shed := 0
	g := &Gate{Max: 100, Shed: func() { shed++ }}
	connect := func() net.Conn {
		c, _ := net.Pipe()
		g.State(c, http.StateNew)
		return c
	}
	asks := connect()
	g.State(asks, http.StateActive)
	for range 8 {
		connect()
	}
	if g.Tighten(true); shed != 4 || g.Len() != 5 {
		t.Errorf("%d were closed, %d are left; want 4, 5", shed, g.Len())
	}
	if connect(); shed != 5 || g.Len() != 5 {
		t.Errorf("after a newcomer %d were closed, %d are left; want 5, 5", shed, g.Len())
	}
	for range 4 {
		g.Tighten(true)
	}
	if g.Len() != 1 {
		t.Errorf("%d are left; want the one that asks", g.Len())
	}
	g.Tighten(false)
	connect()
	if connect(); g.Len() != 3 {
		t.Errorf("%d are left when there is room again; want 3", g.Len())
	}
}
