package probe

import (
	"errors"
	"io/fs"
	"net"
	"testing"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
)

// The kernel is the judge: its loopback answers pings.
func TestAsk(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // ends with the test
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	err = Ask(t.Context(), "ping", "127.0.0.1")
	if errors.Is(err, fs.ErrPermission) {
		t.Skip("this user may not send pings")
	}
	if err != nil {
		t.Error(err)
	}
	if err := Ask(t.Context(), "tcp:"+port, "127.0.0.1"); err != nil {
		t.Error(err)
	}
	l.Close()
	for _, tt := range [][2]string{
		{"tcp:" + port, "127.0.0.1"}, // nobody listens there any more
		{"ping", "::1"},
		{"ping", "host"},
		{"carrier", "127.0.0.1"},
	} {
		if err := Ask(t.Context(), tt[0], tt[1]); err == nil {
			t.Errorf("%s of %s: answered", tt[0], tt[1])
		}
	}
}

func TestIsReply(t *testing.T) {
	for name, tt := range map[string]struct {
		kind icmp.Type
		data string
		want bool
	}{
		"ours":                {ipv4.ICMPTypeEchoReply, "secret", true},
		"another's":           {ipv4.ICMPTypeEchoReply, "other", false},
		"our own request":     {ipv4.ICMPTypeEcho, "secret", false},
		"an answer of no use": {ipv4.ICMPTypeTimestampReply, "secret", false},
	} {
		p, err := (&icmp.Message{Type: tt.kind, Body: &icmp.Echo{Data: []byte(tt.data)}}).Marshal(nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := isReply(p, "secret"); got != tt.want {
			t.Errorf("%s: %v; want %v", name, got, tt.want)
		}
	}
	for _, p := range [][]byte{nil, {0}, {0, 0, 0, 0}} {
		if isReply(p, "") {
			t.Errorf("% x is taken for a reply", p)
		}
	}
}
