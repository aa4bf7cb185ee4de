package dhcpd

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func testConfig(mode Mode) Config {
	return Config{
		Mode: mode, Interface: "eth0", ServerIP: netip.MustParseAddr("10.77.0.1"),
		Subnet: netip.MustParsePrefix("10.77.0.0/24"),
		First:  netip.MustParseAddr("10.77.0.100"), Last: netip.MustParseAddr("10.77.0.199"),
		Router: netip.MustParseAddr("10.77.0.254"), DNS: []netip.Addr{netip.MustParseAddr("10.77.0.253")}, Domain: "lab.example",
		Script: "http://10.77.0.1:8080/ipxe", HTTPBase: "http://10.77.0.1:8080/boot",
		NBP: func(a iana.Arch) (string, error) {
			switch a {
			case iana.INTEL_X86PC:
				return "undionly.kpxe", nil
			case iana.EFI_X86_64, iana.EFI_BC, iana.EFI_X86_64_HTTP:
				return "ipxe.efi", nil
			}
			return "", fmt.Errorf("no boot file for %v", a)
		},
	}
}

func testPool(c Config) *Pool {
	p := NewPool(c.First, c.Last)
	p.Barred = c.Barred
	return p
}

func newResponder(mode Mode) (*Responder, *time.Time) {
	c := testConfig(mode)
	now := start
	return &Responder{Config: c, Leases: testPool(c), Now: func() time.Time { return now }}, &now
}

func packet(t *testing.T, kind dhcpv4.MessageType, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	p, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithHwAddr(net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}), dhcpv4.WithMessageType(kind),
	}, mods...)...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func opt(code uint8, v ...byte) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(code), v))
}

func class(s string) dhcpv4.Modifier { return opt(60, []byte(s)...) }

var (
	guid = append([]byte{0}, 0x33, 0x22, 0x11, 0, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff)

	asBIOS = []dhcpv4.Modifier{class("PXEClient:Arch:00000:UNDI:002001"), opt(93, 0, 0), opt(97, guid...)}
	asUEFI = []dhcpv4.Modifier{class("PXEClient:Arch:00007:UNDI:003016"), opt(93, 0, 7)}
	asIPXE = []dhcpv4.Modifier{class("PXEClient:Arch:00000:UNDI:002001"), opt(93, 0, 0), opt(77, []byte("iPXE")...)}
	asHTTP = []dhcpv4.Modifier{class("HTTPClient:Arch:00016:UNDI:003001"), opt(93, 0, 16)}
	asIA32 = []dhcpv4.Modifier{class("PXEClient:Arch:00006:UNDI:003016"), opt(93, 0, 6)}
)

// What each kind of client is told to load.
func TestBootFile(t *testing.T) {
	const nbp, script, url = "ipxe.efi", "http://10.77.0.1:8080/ipxe", "http://10.77.0.1:8080/boot/ipxe.efi"
	for name, tt := range map[string]struct {
		mods  []dhcpv4.Modifier
		file  string
		class string // option 60 in proxy mode
		o43   string
		why   string // part of it, when there is no file
	}{
		"system": {mods: nil, why: ""},
		"BIOS":   {mods: asBIOS, file: "undionly.kpxe", class: "PXEClient", o43: "\x06\x01\x08\xff"},
		"UEFI":   {mods: asUEFI, file: nbp, class: "PXEClient", o43: "\x06\x01\x08\xff"},
		"UEFI, arch list": {
			mods: []dhcpv4.Modifier{class("PXEClient"), opt(93, 0, 9, 0, 7)}, file: nbp, class: "PXEClient",
			o43: "\x06\x01\x08\xff",
		},
		"UEFI, no option 93": {
			mods: []dhcpv4.Modifier{class("PXEClient:Arch:00007:UNDI:003016")}, file: nbp, class: "PXEClient",
			o43: "\x06\x01\x08\xff",
		},
		"iPXE":             {mods: asIPXE, file: script, class: "PXEClient"},
		"iPXE, RFC 3004":   {mods: []dhcpv4.Modifier{opt(77, []byte("\x04iPXE")...)}, file: script, class: "PXEClient"},
		"iPXE, option 175": {mods: []dhcpv4.Modifier{opt(175, 1, 1, 1)}, file: script, class: "PXEClient"},
		"HTTP":             {mods: asHTTP, file: url, class: "HTTPClient"},
		"IA32":             {mods: asIA32, why: "EFI IA32"},
		"odd option 93":    {mods: []dhcpv4.Modifier{class("PXEClient"), opt(93, 0, 7, 0)}, why: "3 bytes"},
		"empty option 93":  {mods: []dhcpv4.Modifier{class("PXEClient:Arch"), opt(93)}, why: "option 93"},
		"no arch at all":   {mods: []dhcpv4.Modifier{class("PXEClient")}, file: "undionly.kpxe", class: "PXEClient", o43: "\x06\x01\x08\xff"},
		"iPXE and a NUL":   {mods: []dhcpv4.Modifier{class("PXEClient"), opt(77, []byte("iPXE\x00")...)}, file: script, class: "PXEClient"},
		"hostile class":    {mods: []dhcpv4.Modifier{class("PXEClient:Arch:%s\n\x00\xff")}, why: "option 93"},
		"unknown arch":     {mods: []dhcpv4.Modifier{class("PXEClient"), opt(93, 0xff, 0xff)}, why: "unknown"},
	} {
		for _, mode := range []Mode{Proxy, Full} {
			t.Run(fmt.Sprintf("%s/%v", name, mode), func(t *testing.T) {
				r, _ := newResponder(mode)
				reply, ev := r.Reply(packet(t, dhcpv4.MessageTypeDiscover, tt.mods...), 67)
				if ev.File != tt.file || !strings.Contains(ev.Why, tt.why) || (tt.file == "" && mode == Proxy) != (reply == nil) {
					t.Fatalf("Reply = %v, event %+v; want file %q, why %q", reply, ev, tt.file, tt.why)
				}
				if reply == nil {
					return
				}
				got, err := dhcpv4.FromBytes(reply.ToBytes())
				if err != nil {
					t.Fatal(err)
				}
				if got.MessageType() != dhcpv4.MessageTypeOffer || (mode == Full) == got.YourIPAddr.IsUnspecified() {
					t.Errorf("%v with address %v in mode %v", got.MessageType(), got.YourIPAddr, mode)
				}
				want67 := tt.file
				if ev.Client == PXE && tt.file != "" {
					want67 += "\x00" // for ROMs that read on to the next one
				}
				if o := string(got.Options.Get(dhcpv4.OptionBootfileName)); got.BootFileName != tt.file || o != want67 {
					t.Errorf("boot file %q, option 67 %q; want %q", got.BootFileName, o, want67)
				}
				wantClass := tt.class
				if mode == Full && ev.Client == IPXE {
					wantClass = ""
				}
				if c := got.ClassIdentifier(); c != wantClass {
					t.Errorf("option 60 %q; want %q", c, wantClass)
				}
				if o := string(got.Options.Get(dhcpv4.OptionVendorSpecificInformation)); o != tt.o43 {
					t.Errorf("option 43 %x; want %x", o, tt.o43)
				}
				if tt.file != "" && (!got.ServerIPAddr.Equal(net.IPv4(10, 77, 0, 1)) || got.TFTPServerName() != "10.77.0.1") {
					t.Errorf("next-server %v, option 66 %q", got.ServerIPAddr, got.TFTPServerName())
				}
				if !got.ServerIdentifier().Equal(net.IPv4(10, 77, 0, 1)) {
					t.Errorf("server identifier %v", got.ServerIdentifier())
				}
			})
		}
	}
}

func TestGUID(t *testing.T) {
	r, _ := newResponder(Proxy)
	reply, ev := r.Reply(packet(t, dhcpv4.MessageTypeDiscover, asBIOS...), 67)
	if got := reply.Options.Get(dhcpv4.OptionClientMachineIdentifier); !cmp.Equal(got, guid) {
		t.Errorf("option 97 %x; want it echoed as %x", got, guid)
	}
	if want := "33221100-5544-7766-8899-aabbccddeeff"; ev.UUID != want {
		t.Errorf("UUID %q; want %q", ev.UUID, want)
	}
	for _, bad := range [][]byte{{}, {0}, guid[:16], append([]byte{9}, guid[1:]...), make([]byte, 255)} {
		_, ev := r.Reply(packet(t, dhcpv4.MessageTypeDiscover, append(asUEFI[:2:2], opt(97, bad...))...), 67)
		if ev.UUID != "" || ev.File == "" {
			t.Errorf("option 97 %x: UUID %q, file %q; want none, and a file all the same", bad, ev.UUID, ev.File)
		}
	}
}

func TestPort4011(t *testing.T) {
	for _, mode := range []Mode{Proxy, Full} {
		r, _ := newResponder(mode)
		for kind, want := range map[dhcpv4.MessageType]dhcpv4.MessageType{
			dhcpv4.MessageTypeRequest: dhcpv4.MessageTypeAck, dhcpv4.MessageTypeInform: dhcpv4.MessageTypeAck,
			dhcpv4.MessageTypeDiscover: dhcpv4.MessageTypeNone, dhcpv4.MessageTypeRelease: dhcpv4.MessageTypeNone,
		} {
			reply, ev := r.Reply(packet(t, kind, append(asUEFI[:2:2], dhcpv4.WithClientIP(net.IP{10, 77, 0, 60}))...), 4011)
			if ev.Answer != want || reply != nil && (reply.YourIPAddr != nil || reply.BootFileName != "ipxe.efi") {
				t.Errorf("mode %v: %v on port 4011 = %v, %+v; want %v", mode, kind, reply, ev, want)
			}
		}
		if reply, _ := r.Reply(packet(t, dhcpv4.MessageTypeRequest), 4011); reply != nil {
			t.Errorf("mode %v: system on port 4011 = %v; want silence", mode, reply)
		}
	}
}

// One machine's conversations with the server of its network.
func TestLeaseStates(t *testing.T) {
	r, now := newResponder(Full)
	addrOpt := func(a string) dhcpv4.Modifier {
		return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(a).To4()))
	}
	serverID := func(a string) dhcpv4.Modifier {
		return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(a).To4()))
	}
	other := dhcpv4.WithHwAddr(net.HardwareAddr{0x52, 0x54, 0, 0, 0, 2})
	const none, ack, nak = dhcpv4.MessageTypeNone, dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak
	for _, step := range []struct {
		name  string
		kind  dhcpv4.MessageType
		mods  []dhcpv4.Modifier
		after time.Duration
		want  dhcpv4.MessageType
		addr  string // when not ""
	}{
		{"wish granted", dhcpv4.MessageTypeDiscover, []dhcpv4.Modifier{addrOpt("10.77.0.150")}, 0, dhcpv4.MessageTypeOffer, "10.77.0.150"},
		{"selecting", dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{addrOpt("10.77.0.150"), serverID("10.77.0.1")}, 0, ack, "10.77.0.150"},
		{"repeated", dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{addrOpt("10.77.0.150"), serverID("10.77.0.1")}, 0, ack, "10.77.0.150"},
		{
			"renewing", dhcpv4.MessageTypeRequest,
			[]dhcpv4.Modifier{dhcpv4.WithClientIP(net.IP{10, 77, 0, 150})},
			30 * time.Minute, ack,
			"10.77.0.150",
		},
		{"taken by name", dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{other, addrOpt("10.77.0.150")}, 0, nak, ""},
		{"another server's", dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{addrOpt("10.77.0.150"), serverID("10.77.0.2")}, 0, none, ""},
		{"wrong subnet", dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{addrOpt("192.168.1.5")}, 0, nak, ""},
		{"no address", dhcpv4.MessageTypeRequest, nil, 0, nak, ""},
		{"not ours, init-reboot", dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{addrOpt("10.77.0.20")}, 0, none, ""},
		{"not ours, selecting", dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{addrOpt("10.77.0.20"), serverID("10.77.0.1")}, 0, nak, ""},
		{"server's own", dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{addrOpt("10.77.0.1"), serverID("10.77.0.1")}, 0, nak, ""},
		{"inform", dhcpv4.MessageTypeInform, []dhcpv4.Modifier{dhcpv4.WithClientIP(net.IP{10, 77, 0, 20})}, 0, ack, ""},
		{"foreign release", dhcpv4.MessageTypeRelease, []dhcpv4.Modifier{other, dhcpv4.WithClientIP(net.IP{10, 77, 0, 150})}, 0, none, ""},
		{"still taken", dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{other, addrOpt("10.77.0.150")}, 0, nak, ""},
		{"release", dhcpv4.MessageTypeRelease, []dhcpv4.Modifier{dhcpv4.WithClientIP(net.IP{10, 77, 0, 150})}, 0, none, ""},
		{"free again", dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{other, addrOpt("10.77.0.150")}, 0, ack, "10.77.0.150"},
		{"foreign decline", dhcpv4.MessageTypeDecline, []dhcpv4.Modifier{addrOpt("10.77.0.150")}, 0, none, ""},
		{"decline", dhcpv4.MessageTypeDecline, []dhcpv4.Modifier{other, addrOpt("10.77.0.150")}, 0, none, ""},
		{"quarantined", dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{other, addrOpt("10.77.0.150")}, 0, nak, ""},
		{"quarantine over", dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{addrOpt("10.77.0.150")}, 11 * time.Minute, ack, "10.77.0.150"},
		{"expired, forgotten by no one", dhcpv4.MessageTypeDiscover, nil, 2 * time.Hour, dhcpv4.MessageTypeOffer, "10.77.0.150"},
		{"BOOTP", none, nil, 0, none, ""},
		{"a server's message", dhcpv4.MessageTypeOffer, nil, 0, none, ""},
		{"relayed", dhcpv4.MessageTypeDiscover, []dhcpv4.Modifier{dhcpv4.WithGatewayIP(net.IP{10, 77, 0, 254})}, 0, dhcpv4.MessageTypeOffer, ""},
		{"relayed from elsewhere", dhcpv4.MessageTypeDiscover, []dhcpv4.Modifier{dhcpv4.WithGatewayIP(net.IP{10, 78, 0, 254})}, 0, none, ""},
		{"relayed by loopback", dhcpv4.MessageTypeDiscover, []dhcpv4.Modifier{dhcpv4.WithGatewayIP(net.IP{127, 0, 0, 1})}, 0, none, ""},
	} {
		*now = now.Add(step.after)
		reply, ev := r.Reply(packet(t, step.kind, step.mods...), 67)
		if ev.Answer != step.want || (reply == nil) != (step.want == none) {
			t.Errorf("%s: %v, %q; want %v", step.name, ev.Answer, ev.Why, step.want)
			continue
		}
		if step.addr != "" && reply.YourIPAddr.String() != step.addr {
			t.Errorf("%s: address %v; want %v", step.name, reply.YourIPAddr, step.addr)
		}
		if step.want == nak && (reply.YourIPAddr != nil || !reply.IsBroadcast() || ev.Why == "") {
			t.Errorf("%s: NAK %v, why %q; want no address, broadcast, a reason", step.name, reply, ev.Why)
		}
		if step.want == ack && step.kind == dhcpv4.MessageTypeInform &&
			(reply.YourIPAddr != nil || reply.Options.Has(dhcpv4.OptionIPAddressLeaseTime)) {
			t.Errorf("%s: %v; want no address and no lease time", step.name, reply)
		}
	}
}

func TestUnfit(t *testing.T) {
	for name, change := range map[string]func(*dhcpv4.DHCPv4){
		"reply":     func(p *dhcpv4.DHCPv4) { p.OpCode = dhcpv4.OpcodeBootReply },
		"op 255":    func(p *dhcpv4.DHCPv4) { p.OpCode = 255 },
		"hlen 0":    func(p *dhcpv4.DHCPv4) { p.ClientHWAddr = nil },
		"htype 32":  func(p *dhcpv4.DHCPv4) { p.ClientHWAddr, p.HWType = nil, iana.HWTypeInfiniband },
		"hops 255":  func(p *dhcpv4.DHCPv4) { p.HopCount = 255 },
		"multicast": func(p *dhcpv4.DHCPv4) { p.GatewayIPAddr = net.IP{224, 0, 0, 1} },
		"broadcast": func(p *dhcpv4.DHCPv4) { p.GatewayIPAddr = net.IP{255, 255, 255, 255} },
	} {
		for _, mode := range []Mode{Off, Proxy, Full} {
			r, _ := newResponder(mode)
			p := packet(t, dhcpv4.MessageTypeDiscover, asUEFI...)
			change(p)
			if reply, ev := r.Reply(p, 67); reply != nil || ev.Why == "" {
				t.Errorf("%s in mode %v: %v, why %q; want silence with a reason", name, mode, reply, ev.Why)
			} else if ev.InfiniBand != (name == "htype 32") {
				t.Errorf("%s in mode %v: InfiniBand %v", name, mode, ev.InfiniBand)
			}
		}
	}
}

func TestDestination(t *testing.T) {
	c := testConfig(Full)
	for name, tt := range map[string]struct {
		kind          dhcpv4.MessageType
		relay, client string
		from          string
		port          int
		want          string
	}{
		"offer":            {dhcpv4.MessageTypeOffer, "", "", "0.0.0.0:68", 67, "255.255.255.255:68"},
		"renewal":          {dhcpv4.MessageTypeAck, "", "10.77.0.150", "10.77.0.150:68", 67, "10.77.0.150:68"},
		"spoofed ciaddr":   {dhcpv4.MessageTypeAck, "", "8.8.8.8", "10.77.0.150:68", 67, "255.255.255.255:68"},
		"nak":              {dhcpv4.MessageTypeNak, "", "10.77.0.150", "10.77.0.150:68", 67, "255.255.255.255:68"},
		"relay":            {dhcpv4.MessageTypeOffer, "10.77.0.254", "", "10.77.0.254:67", 67, "10.77.0.254:67"},
		"nak by relay":     {dhcpv4.MessageTypeNak, "10.77.0.254", "", "10.77.0.254:67", 67, "10.77.0.254:67"},
		"4011":             {dhcpv4.MessageTypeAck, "", "10.77.0.60", "10.77.0.60:4011", 4011, "10.77.0.60:4011"},
		"4011, no address": {dhcpv4.MessageTypeAck, "", "", "0.0.0.0:68", 4011, "255.255.255.255:68"},
		"4011, spoofed":    {dhcpv4.MessageTypeAck, "", "", "8.8.8.8:53", 4011, "255.255.255.255:68"},
	} {
		p := packet(t, tt.kind)
		p.GatewayIPAddr, p.ClientIPAddr = net.ParseIP(tt.relay), net.ParseIP(tt.client)
		if got := c.destination(p, netip.MustParseAddrPort(tt.from), tt.port); got.String() != tt.want {
			t.Errorf("%s: destination %v; want %v", name, got, tt.want)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, mode := range []Mode{Off, Proxy, Full} {
		if err := testConfig(mode).Validate(); err != nil {
			t.Errorf("Validate() of a good config in mode %v = %v", mode, err)
		}
	}
	a := netip.MustParseAddr
	for want, change := range map[string]func(*Config){
		"no interface":                        func(c *Config) { c.Interface = "" },
		"give the interface one":              func(c *Config) { c.ServerIP = netip.Addr{} },
		"serve the subnet of the interface":   func(c *Config) { c.ServerIP = a("10.78.0.1") },
		"is outside of subnet":                func(c *Config) { c.Last = a("10.78.0.9") },
		"is empty":                            func(c *Config) { c.First, c.Last = c.Last, c.First },
		"holds no address to lease":           func(c *Config) { c.First, c.Last = c.ServerIP, c.ServerIP },
		"network or broadcast":                func(c *Config) { c.Last = a("10.77.0.255") },
		"router":                              func(c *Config) { c.Router = a("10.78.0.1") },
		"DNS":                                 func(c *Config) { c.DNS = []netip.Addr{a("::1")} },
		"lease time":                          func(c *Config) { c.LeaseTime = time.Second },
		"give an IPv4 network":                func(c *Config) { c.Subnet = netip.MustParsePrefix("0.0.0.0/0") },
		"at most 65536":                       func(c *Config) { c.Subnet = netip.MustParsePrefix("10.0.0.0/8"); c.First = a("10.0.0.1") },
		"is no http URL":                      func(c *Config) { c.Script = "ftp://x" },
		"no rule for boot files":              func(c *Config) { c.NBP = nil },
		"choose proxy, server or off":         func(c *Config) { c.Mode = 7 },
		"HTTP base \"\" is no http URL of at": func(c *Config) { c.HTTPBase = "" },
	} {
		c := testConfig(Full)
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate() = %v; want %q", err, want)
		}
	}
}

// An answer goes to the address that a request names as its relay: only where
// relays are.
func TestRelays(t *testing.T) {
	via := func(a string) dhcpv4.Modifier { return dhcpv4.WithGatewayIP(net.ParseIP(a).To4()) }
	for _, tt := range []struct {
		mode  Mode
		relay string
		want  bool
	}{
		{Full, "10.77.0.254", true},
		{Full, "198.51.100.9", false},
		{Proxy, "10.77.0.254", true},
		{Proxy, "198.51.100.9", false},
		{Proxy, "10.88.0.254", true},
	} {
		r, _ := newResponder(tt.mode)
		r.Config.Networks = []netip.Prefix{netip.MustParsePrefix("10.88.0.0/16")}
		reply, ev := r.Reply(packet(t, dhcpv4.MessageTypeDiscover, append(asUEFI[:2:2], via(tt.relay))...), 67)
		if (reply != nil) != tt.want || reply == nil && !strings.Contains(ev.Why, "relayed from") {
			t.Errorf("%v by relay %s: %v, %q; want an answer: %v", tt.mode, tt.relay, reply, ev.Why, tt.want)
		}
	}
}

func TestParseRange(t *testing.T) {
	for s, want := range map[string]Range{
		"10.0.0.5":            {at("10.0.0.5"), at("10.0.0.5")},
		"10.0.0.5-10.0.0.9":   {at("10.0.0.5"), at("10.0.0.9")},
		"10.0.0.5 - 10.0.0.9": {at("10.0.0.5"), at("10.0.0.9")},
		"10.0.0.9/30":         {at("10.0.0.8"), at("10.0.0.11")},
	} {
		if got, err := ParseRange(s); got != want || err != nil {
			t.Errorf("ParseRange(%q) = %v, %v; want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "x", "10.0.0.9-10.0.0.5", "10.0.0.5-", "fd00::1", "10.0.0.5-fd00::1", "10.0.0.5/33"} {
		if got, err := ParseRange(s); err == nil {
			t.Errorf("ParseRange(%q) = %v; want an error", s, got)
		}
	}
}
