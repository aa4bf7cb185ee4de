package netif

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/rfc1035label"
)

func ack(t testing.TB, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	p, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithMessageType(dhcpv4.MessageTypeAck), dhcpv4.WithYourIP(net.IPv4(10, 7, 0, 20)),
		dhcpv4.WithNetmask(net.CIDRMask(24, 32)), dhcpv4.WithServerIP(net.IPv4(10, 7, 0, 1)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 7, 0, 1))),
	}, mods...)...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestParseLease(t *testing.T) {
	opt := dhcpv4.WithGeneric
	base := Lease{Addr: netip.MustParsePrefix("10.7.0.20/24"), Server: netip.MustParseAddr("10.7.0.1")}
	for _, tt := range []struct {
		name string
		mods []dhcpv4.Modifier
		want func(*Lease)
	}{
		{name: "bare", want: func(*Lease) {}},
		{
			name: "usual",
			mods: []dhcpv4.Modifier{
				dhcpv4.WithRouter(net.IPv4(10, 7, 0, 1)), dhcpv4.WithDNS(net.IPv4(10, 7, 0, 2), net.IPv4(0, 0, 0, 0), net.IPv4(224, 0, 0, 1)),
				dhcpv4.WithLeaseTime(3600), opt(dhcpv4.OptionInterfaceMTU, []byte{0x05, 0xdc}),
				dhcpv4.WithOption(dhcpv4.OptDomainName("lan.example")),
				dhcpv4.WithOption(dhcpv4.OptDomainSearch(&rfc1035label.Labels{Labels: []string{"a.example", "b\nnameserver 6.6.6.6"}})),
			},
			want: func(l *Lease) {
				l.Routes = []Route{{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("10.7.0.1")}}
				l.DNS = []netip.Addr{netip.MustParseAddr("10.7.0.2")}
				l.Search = []string{"a.example", "lan.example"}
				l.MTU, l.Length, l.Renew, l.Rebind = 1500, time.Hour, 30*time.Minute, 52*time.Minute+30*time.Second
			},
		},
		{
			name: "classless routes win over the router",
			mods: []dhcpv4.Modifier{
				dhcpv4.WithRouter(net.IPv4(10, 7, 0, 9)),
				opt(dhcpv4.OptionClasslessStaticRoute, []byte{8, 172, 10, 7, 0, 2, 0, 10, 7, 0, 1}),
			},
			want: func(l *Lease) {
				l.Routes = []Route{
					{netip.MustParsePrefix("172.0.0.0/8"), netip.MustParseAddr("10.7.0.2")},
					{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("10.7.0.1")},
				}
			},
		},
		{
			name: "on-link route of option 121",
			mods: []dhcpv4.Modifier{opt(dhcpv4.OptionClasslessStaticRoute, []byte{32, 10, 9, 0, 1, 0, 0, 0, 0, 0, 10, 9, 0, 1})},
			want: func(l *Lease) {
				l.Routes = []Route{
					{netip.MustParsePrefix("10.9.0.1/32"), netip.Addr{}},
					{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("10.9.0.1")},
				}
			},
		},
		{name: "insane MTU", mods: []dhcpv4.Modifier{opt(dhcpv4.OptionInterfaceMTU, []byte{0, 68})}, want: func(*Lease) {}},
		{name: "for ever", mods: []dhcpv4.Modifier{dhcpv4.WithLeaseTime(0xffffffff)}, want: func(*Lease) {}},
		{
			name: "T1 behind T2, lease of a second",
			mods: []dhcpv4.Modifier{
				dhcpv4.WithLeaseTime(1), opt(dhcpv4.OptionRenewTimeValue, []byte{0, 0, 0, 90}),
				opt(dhcpv4.OptionRebindingTimeValue, []byte{0, 0, 0, 20}),
			},
			want: func(l *Lease) { l.Length, l.Renew, l.Rebind = minLease, minLease/2, 20*time.Second },
		},
		{
			name: "no mask", mods: []dhcpv4.Modifier{opt(dhcpv4.OptionSubnetMask, nil)},
			want: func(l *Lease) { l.Addr = netip.MustParsePrefix("10.7.0.20/8") },
		},
	} {
		want := base
		tt.want(&want)
		got, err := ParseLease(ack(t, tt.mods...))
		if err != nil {
			t.Errorf("%s: ParseLease() = %v", tt.name, err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: ParseLease() (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestParseLeaseRefuses(t *testing.T) {
	for name, mod := range map[string]dhcpv4.Modifier{
		"no address": dhcpv4.WithYourIP(net.IPv4zero), "loopback": dhcpv4.WithYourIP(net.IPv4(127, 0, 0, 1)),
		"multicast": dhcpv4.WithYourIP(net.IPv4(224, 0, 0, 1)), "broadcast": dhcpv4.WithYourIP(net.IPv4bcast),
		"mask with holes": dhcpv4.WithGeneric(dhcpv4.OptionSubnetMask, []byte{255, 0, 255, 0}),
		"mask of nothing": dhcpv4.WithGeneric(dhcpv4.OptionSubnetMask, []byte{0, 0, 0, 0}),
	} {
		if l, err := ParseLease(ack(t, mod)); err == nil {
			t.Errorf("%s: ParseLease() = %v; want an error", name, l)
		}
	}
}

// Whatever a server sends, what passes is an address of a host, bounded, and
// its resolv.conf holds nothing but addresses and names.
func FuzzParseLease(f *testing.F) {
	f.Add(ack(f).ToBytes())
	f.Add(ack(f, dhcpv4.WithGeneric(dhcpv4.OptionClasslessStaticRoute, []byte{33, 1, 2, 3, 4, 5}), dhcpv4.WithLeaseTime(7)).ToBytes())
	f.Add(ack(f, dhcpv4.WithOption(dhcpv4.OptDomainName("a b\nc")), dhcpv4.WithDNS(net.IPv4(1, 1, 1, 1))).ToBytes())
	f.Fuzz(func(t *testing.T, p []byte) {
		msg, err := dhcpv4.FromBytes(p)
		if err != nil {
			return
		}
		l, err := ParseLease(msg)
		if err != nil {
			return
		}
		if !isHost(l.Addr.Addr()) || len(l.Routes) > maxRoutes || l.MTU != 0 && l.MTU < minMTU {
			t.Fatalf("ParseLease() = %+v", l)
		}
		if l.Length != 0 && (l.Renew <= 0 || l.Rebind < l.Renew || l.Length <= l.Rebind) {
			t.Fatalf("ParseLease() times %v, %v, %v; want them to grow", l.Renew, l.Rebind, l.Length)
		}
		for _, c := range l.ResolvConf() {
			if c != '\n' && (c < ' ' || c > 'z') {
				t.Fatalf("ResolvConf() = %q", l.ResolvConf())
			}
		}
	})
}
