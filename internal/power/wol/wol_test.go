package wol

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/power"
	"github.com/gild-dev/gild/internal/power/powertest"
)

var mac = net.HardwareAddr{0x52, 0x54, 0, 0x12, 0x34, 0x56}

// listen collects the packets that reach an address of this host.
func listen(t *testing.T) (address string, got func() [][]byte) {
	t.Helper()
	conn, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	var mu sync.Mutex
	var all [][]byte
	go func() {
		buffer := make([]byte, 2048)
		for {
			n, _, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			mu.Lock()
			all = append(all, bytes.Clone(buffer[:n]))
			mu.Unlock()
		}
	}()
	return conn.LocalAddr().String(), func() [][]byte {
		// What was sent before is read once what is sent now is.
		mu.Lock()
		before := len(all)
		mu.Unlock()
		end, err := new(net.Dialer).DialContext(t.Context(), "udp4", conn.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer end.Close()
		if _, err := end.Write([]byte("end")); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			mu.Lock()
			if n := len(all); n > before && string(all[n-1]) == "end" {
				all = all[:n-1]
				out := append([][]byte(nil), all...)
				mu.Unlock()
				return out
			}
			mu.Unlock()
		}
		t.Fatal("the marker did not arrive")
		return nil
	}
}

func TestConformance(t *testing.T) {
	powertest.Run(t, func(t *testing.T) powertest.Rig {
		address, got := listen(t)
		return powertest.Rig{
			Driver: &Driver{MACs: []net.HardwareAddr{mac}, Address: address},
			Can:    []power.Verb{power.VerbOn},
			Did: func() []string {
				var did []string
				for range got() {
					did = append(did, "on")
				}
				return did
			},
		}
	})
}

func TestPackets(t *testing.T) {
	address, got := listen(t)
	other := net.HardwareAddr{0x52, 0x54, 0, 0xab, 0xcd, 0xef}
	d := Driver{MACs: []net.HardwareAddr{mac, other}, Address: address}
	if err := d.On(t.Context()); err != nil {
		t.Fatal(err)
	}
	packets := got()
	if len(packets) != 2*repeats {
		t.Fatalf("%d packets; want %d", len(packets), 2*repeats)
	}
	for i, want := range []string{
		"ffffffffffff" + strings.Repeat("525400123456", 16),
		"ffffffffffff" + strings.Repeat("525400abcdef", 16),
	} {
		if text := hex.EncodeToString(packets[i]); text != want {
			t.Errorf("packet %d = %s; want %s", i, text, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	for what, d := range map[string]Driver{
		"no address": {Address: "127.0.0.1"},
		"no network": {MACs: []net.HardwareAddr{mac}, Broadcasts: func() ([]netip.Addr, error) { return nil, nil }},
	} {
		err := d.On(t.Context())
		if !errors.Is(err, power.Failed) {
			t.Errorf("%s: On = %v; want a refusal", what, err)
		}
	}
}

func TestBroadcastOf(t *testing.T) {
	for network, want := range map[string]string{
		"192.168.1.7/24": "192.168.1.255", "10.1.2.3/8": "10.255.255.255", "172.16.5.9/20": "172.16.15.255", "10.0.0.1/30": "10.0.0.3",
	} {
		if got := lastOf(netip.MustParsePrefix(network)); got.String() != want {
			t.Errorf("lastOf(%s) = %s; want %s", network, got, want)
		}
	}
	found, err := broadcasts()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range found {
		if a.IsLoopback() {
			t.Errorf("broadcasts() = %v; want none of loopback", found)
		}
	}
}
