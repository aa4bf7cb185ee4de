package dhcpd

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/gild-dev/gild/internal/api"
)

// Client is the kind of program that asks.
type Client int

// The kinds.
const (
	System Client = iota // an operating system, or anything that does not boot
	PXE                  // firmware that loads by TFTP
	HTTP                 // firmware that loads by HTTP
	IPXE                 // iPXE, which takes a script
	Agent                // gild's own agent, which asks where its server is now
)

// boots reports whether the program is about to boot.
func (c Client) boots() bool { return c == PXE || c == HTTP || c == IPXE }

func (c Client) String() string {
	return [...]string{"system", "PXE", "HTTP", "iPXE", "agent"}[c]
}

// clientOf tells what asks. iPXE comes first: it also sends option 60
// "PXEClient".
func clientOf(req *dhcpv4.DHCPv4) Client {
	user := bytes.TrimRight(req.Options.Get(dhcpv4.OptionUserClassInformation), "\x00")
	if bytes.Equal(user, []byte("iPXE")) || slices.Contains(req.UserClass(), "iPXE") || req.Options.Has(dhcpv4.OptionEtherboot) {
		return IPXE
	}
	switch class := req.ClassIdentifier(); {
	case strings.HasPrefix(class, "PXEClient"):
		return PXE
	case strings.HasPrefix(class, "HTTPClient"):
		return HTTP
	case class == api.DHCPClass:
		return Agent
	}
	return System
}

// archOf reads option 93, a list of which the first is the one that runs (RFC
// 4578 section 2.1). Without it the class identifier says the same as text:
// "PXEClient:Arch:00007:UNDI:003016". A plain "PXEClient" is a ROM from before
// there were others than BIOS.
func archOf(req *dhcpv4.DHCPv4) (iana.Arch, error) {
	if b := req.Options.Get(dhcpv4.OptionClientSystemArchitectureType); b != nil {
		if len(b) < 2 || len(b)%2 != 0 {
			return 0, fmt.Errorf("option 93 has %d bytes, which is no list of architectures", len(b))
		}
		return iana.Arch(uint16(b[0])<<8 | uint16(b[1])), nil
	}
	class := strings.TrimRight(req.ClassIdentifier(), "\x00")
	if class == "PXEClient" {
		return iana.INTEL_X86PC, nil
	}
	_, rest, _ := strings.Cut(class, ":Arch:")
	var n uint16
	if len(rest) < 5 {
		return 0, fmt.Errorf("the firmware does not name its architecture (option 93)")
	}
	if _, err := fmt.Sscanf(rest[:5], "%05d", &n); err != nil {
		return 0, fmt.Errorf("the firmware does not name its architecture (option 93)")
	}
	return iana.Arch(n), nil
}

// uuidOf gives the machine's GUID of option 97 in the order of its bytes on the
// wire, or "". Whether the first three fields are swapped against what SMBIOS
// tools print depends on the firmware.
func uuidOf(req *dhcpv4.DHCPv4) string {
	b := req.Options.Get(dhcpv4.OptionClientMachineIdentifier)
	if len(b) != 17 || b[0] != 0 {
		return ""
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[1:5], b[5:7], b[7:9], b[9:11], b[11:])
}

// addBoot adds to a reply what the client should load next. It reports the
// file, or why there is none; then the reply is as it was.
func (c Config) addBoot(reply, req *dhcpv4.DHCPv4, client Client) (file string, err error) {
	if client == Agent {
		c.setFile(reply, c.Script)
		reply.UpdateOption(dhcpv4.OptClassIdentifier(api.DHCPClass))
		return c.Script, nil
	}
	if client == IPXE {
		c.setFile(reply, c.Script)
		if c.Mode == Full {
			// iPXE option 176, no-pxedhcp: do not wait for a proxy server, there is none.
			reply.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionEtherboot, []byte{176, 1, 1}))
		} else {
			reply.UpdateOption(dhcpv4.OptClassIdentifier("PXEClient")) // by this iPXE knows a proxy offer
		}
		return c.Script, nil
	}
	arch, err := archOf(req)
	if err != nil {
		return "", err
	}
	if file, err = c.NBP(arch); err != nil {
		return "", err
	}
	if client == HTTP {
		file = c.HTTPBase + "/" + file
	}
	if len(file) >= maxURL && client == PXE || len(file) > maxURL {
		return "", fmt.Errorf("boot file name of %d bytes, option 67 holds %d", len(file), maxURL)
	}
	if client == HTTP {
		reply.UpdateOption(dhcpv4.OptClassIdentifier("HTTPClient"))
	} else {
		reply.UpdateOption(dhcpv4.OptClassIdentifier("PXEClient"))
		reply.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionVendorSpecificInformation, []byte{6, 1, 8, 255}))
	}
	c.setFile(reply, file)
	if client == PXE {
		// ROMs of 2005 to 2015 read the name up to a NUL, past the end of the option.
		reply.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionBootfileName, append([]byte(file), 0)))
	}
	if id := req.Options.Get(dhcpv4.OptionClientMachineIdentifier); len(id) == 17 {
		reply.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionClientMachineIdentifier, id))
	}
	return file, nil
}

// setFile names server and file in the header and in options 66 and 67.
func (c Config) setFile(reply *dhcpv4.DHCPv4, file string) {
	reply.ServerIPAddr = ip(c.ServerIP)
	reply.ServerHostName = c.ServerIP.String()
	if len(file) < 128 { // the field is 128 bytes with a final NUL; a cut name is worse than none
		reply.BootFileName = file
	}
	reply.UpdateOption(dhcpv4.OptTFTPServerName(c.ServerIP.String()))
	reply.UpdateOption(dhcpv4.OptBootFileName(file))
}

func ip(a netip.Addr) []byte {
	b := a.As4()
	return b[:]
}
