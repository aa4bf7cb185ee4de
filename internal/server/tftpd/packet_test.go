package tftpd

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseRequest(t *testing.T) {
	for in, want := range map[string]request{
		"\x00\x01ipxe.efi\x00octet\x00":                                                   {name: "ipxe.efi"},
		"\x00\x01/a/b\x00OCTET\x00":                                                       {name: "/a/b"},
		"\x00\x01f\x00netascii\x00":                                                       {name: "f"},
		"\x00\x01f\x00octet\x00BLKSIZE\x001468\x00tsize\x000\x00":                         {name: "f", blksize: 1468, tsize: true},
		"\x00\x01f\x00octet\x00blksize\x0065465\x00windowsize\x0065535\x00":               {name: "f", blksize: 65464, windowsize: 65535},
		"\x00\x01f\x00octet\x00blksize\x000\x00windowsize\x000\x00timeout\x000\x00":       {name: "f"},
		"\x00\x01f\x00octet\x00blksize\x007\x00windowsize\x0065536\x00timeout\x00256\x00": {name: "f"},
		"\x00\x01f\x00octet\x00blksize\x00-1\x00timeout\x001e99\x00":                      {name: "f"},
		"\x00\x01f\x00octet\x00timeout\x005\x00unknown\x00x\x00":                          {name: "f", timeout: 5},
		"\x00\x01f\x00octet\x00tsize\x0099999999999999999999\x00":                         {name: "f"},
		"\x00\x01f\x00octet\x00\x00\x00\x00\x00\x00":                                      {name: "f"},
		"\x00\x01f\x00octet\x00blksize":                                                   {name: "f"},
	} {
		got, err := parseRequest([]byte(in))
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(request{})); err != nil || diff != "" {
			t.Errorf("parseRequest(%q): %v (-want +got):\n%s", in, err, diff)
		}
	}
}

func TestBadRequests(t *testing.T) {
	for in, want := range map[string]uint16{
		"\x00\x01":                               codeIllegal,
		"\x00\x01f":                              codeIllegal,
		"\x00\x01f\x00octet":                     codeIllegal,
		"\x00\x01f\x00mail\x00":                  codeIllegal,
		"\x00\x01f\x00\x00":                      codeIllegal,
		"\x00\x02f\x00octet\x00":                 codeAccess,
		"\x00\x07":                               codeIllegal,
		"\xff\xff":                               codeIllegal,
		"\x00\x01" + strings.Repeat("a", 64<<10): codeIllegal,
		"\x00\x01f\x00octet\x00tsize\x000\x00TSIZE\x000\x00": codeOptions,
	} {
		_, err := parseRequest([]byte(in))
		if r, ok := errors.AsType[*refusal](err); !ok || r.code != want {
			t.Errorf("parseRequest(%.40q) = %v; want a refusal with code %d", in, err, want)
		}
	}
	for _, in := range []string{"", "\x00", "\x00\x03\x00\x01x", "\x00\x04\x00\x01", "\x00\x05\x00\x00x\x00", "\x00\x06"} {
		if _, err := parseRequest([]byte(in)); !errors.Is(err, errNotRequest) {
			t.Errorf("parseRequest(%q) = %v; want silence", in, err)
		}
	}
}

// Bad packets against a running server: names that are valid but not in the
// table, strangers, ACKs from the past and the future, and requests from places
// that must not be answered.
func TestServerSurvivesBadPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(0, 0, 1)
		server, events := startMem(t, n, map[string]int64{"f": 1500}, &Server{})
		buf := make([]byte, 600)
		ask := func(ip net.IP, port int, req []byte) (string, net.Addr) {
			c := n.listen(ip.To4(), port)
			defer c.Close()
			_, _ = c.WriteTo(req, server)
			_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			k, from, _ := c.ReadFrom(buf)
			return string(buf[:k]), from
		}
		host := net.IPv4(10, 0, 0, 2)
		for _, name := range []string{
			"", "/", ".", "..", "../f", `..\f`, "a/../f", "//etc/passwd", "etc/passwd", "%2e%2e/f", "a\nb", "a\x1b[2J", "\xff",
			strings.Repeat("a", 400),
		} {
			if got, _ := ask(host, 0, rrq(name)); !strings.HasPrefix(got, "\x00\x05\x00\x01") {
				t.Errorf("RRQ %q: %q; want error 1", name, got)
			}
		}
		for _, port := range []int{69} { // port 0 cannot be had here; see answerable
			if got, _ := ask(net.IPv4(10, 0, 0, 3), port, rrq("f")); got != "" {
				t.Errorf("RRQ from port %d: %q; want silence", port, got)
			}
		}
		if got, _ := ask(net.IPv4(255, 255, 255, 255), 1000, rrq("f")); got != "" {
			t.Errorf("RRQ from broadcast: %q; want silence", got)
		}

		c := n.listen(host.To4(), 3000)
		defer c.Close()
		_, _ = c.WriteTo(rrq("f"), server)
		_, peer, _ := c.ReadFrom(buf)
		stranger := n.listen(net.IPv4(10, 0, 0, 66).To4(), 6)
		defer stranger.Close()
		_, _ = stranger.WriteTo([]byte{0, opACK, 0, 1}, peer)
		k, _, _ := stranger.ReadFrom(buf)
		if !bytes.HasPrefix(buf[:k], []byte{0, opERROR, 0, codeUnknownID}) {
			t.Errorf("stranger got %q; want error 5", buf[:k])
		}
		_, _ = stranger.WriteTo([]byte{0, opERROR, 0, 0, 0}, peer)
		for range 1000 {
			for _, junk := range [][]byte{{0, opACK, 0, 0}, {0, opACK, 0, 9}, {0, opACK, 0xff, 0xff}, {0, opDATA, 0, 1}, {0}, {}, {0, opACK, 0}} {
				_, _ = c.WriteTo(junk, peer)
			}
		}
		synctest.Wait()
		for block := byte(1); block <= 3; block++ {
			_, _ = c.WriteTo([]byte{0, opACK, 0, block}, peer)
			synctest.Wait()
		}
		ev := events()
		if last := ev[len(ev)-1]; last.Outcome != Sent || last.Resent != 0 || last.Client != netip.MustParseAddrPort("10.0.0.2:3000") {
			t.Errorf("event %+v; want the file sent to the client without resending", last)
		}
	})
}

func TestNegotiate(t *testing.T) {
	for _, tt := range []struct {
		r    request
		want []option
	}{
		{request{}, nil},
		{request{blksize: 512}, []option{{"blksize", 512}}},
		{request{blksize: 65464, windowsize: 65535}, []option{{"blksize", 1468}, {"windowsize", 64}}},
		{request{tsize: true, timeout: 255}, []option{{"timeout", 255}, {"tsize", 77}}},
	} {
		tr := transfer{size: 77}
		tr.negotiate(tt.r, DefaultMaxBlock, time.Second)
		if diff := cmp.Diff(tt.want, tr.opts, cmp.AllowUnexported(option{})); diff != "" {
			t.Errorf("negotiate(%+v) (-want +got):\n%s", tt.r, diff)
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	f.Add(rrq("ipxe.efi", "blksize", "1468", "tsize", "0", "windowsize", "4", "timeout", "3"))
	f.Add([]byte("\x00\x01a\x00b\x00c\x00"))
	f.Add([]byte("\x00\x02"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = parseACK(b)
		_, _, _ = parseERROR(b)
		r, err := parseRequest(b)
		if err != nil {
			return
		}
		if r.blksize != 0 && (r.blksize < 8 || r.blksize > 65464) || r.windowsize > 65535 || r.timeout > 255 {
			t.Fatalf("parseRequest(%q) = %+v: out of range", b, r)
		}
		if strings.Contains(r.name, "..") && strings.Contains("/"+r.name+"/", "/../") || strings.HasPrefix(r.name, "/") {
			t.Fatalf("parseRequest(%q) lets the name %q through", b, r.name)
		}
		// What was understood, written anew, is understood the same.
		opts := []string{}
		add := func(name string, v int) {
			if v > 0 {
				opts = append(opts, name, fmt.Sprint(v))
			}
		}
		add("blksize", r.blksize)
		add("windowsize", r.windowsize)
		add("timeout", r.timeout)
		if r.tsize {
			opts = append(opts, "tsize", "0")
		}
		if again, err := parseRequest(rrq(r.name, opts...)); len(r.name) < 400 && (err != nil || again != r) {
			t.Fatalf("parseRequest of %+v written anew = %+v, %v", r, again, err)
		}
	})
}
