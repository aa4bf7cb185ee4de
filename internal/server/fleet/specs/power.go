package specs

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/printable"
	"github.com/gild-dev/gild/internal/server/fleet"
)

// Bounds of the parts of a power control.
const (
	maxPowerText = 256
	maxArguments = 32
	pinLength    = len("sha256:") + 64
)

// checkPower checks how the power of a machine is controlled. The password has
// been taken out by who seals it: here it would be stored.
func checkPower(p *api.Power) error {
	bad := func(help, format string, args ...any) error {
		return &fleet.InvalidError{Problem: "power: " + fmt.Sprintf(format, args...), Help: help}
	}
	switch {
	case p.Zero():
		return nil
	case p.Secret != "":
		return bad("give it to a server that seals it", "the password would be stored as it is")
	case !slices.Contains([]string{api.PowerIPMI, api.PowerRedfish, api.PowerWOL, api.PowerCommand}, p.Driver):
		return bad("the drivers are ipmi, redfish, wol and command", "driver %.40q is none", p.Driver)
	}
	for what, text := range map[string]string{"address": p.Address, "user": p.User, "system": p.System} {
		if len(text) > maxPowerText || printable.Mark(text) != text || strings.TrimSpace(text) != text {
			return bad("use one line of text", "%s %.60q is too long, or holds what cannot be shown", what, text)
		}
	}
	bmc := p.Driver == api.PowerIPMI || p.Driver == api.PowerRedfish
	switch {
	case bmc && p.Address == "":
		return bad("give the address of the BMC", "driver %s has no address", p.Driver)
	case p.Driver != api.PowerRedfish && (p.System != "" || p.Pin != ""):
		return bad("leave them out", "system and pin are of the driver redfish, and this is %s", p.Driver)
	case p.Pin != "" && !isPin(p.Pin):
		return bad("it looks like sha256: and 64 hexadecimal digits", "pin %.80q is none", p.Pin)
	case (p.Driver == api.PowerCommand) != (len(p.Command) > 0):
		return bad("the driver command has a command, and no other one has", "driver %s with a command of %d words", p.Driver, len(p.Command))
	case len(p.Command) > maxArguments:
		return bad("let the program read a file of its own", "a command of %d words", len(p.Command))
	case len(p.Command) > 0 && p.Command[0] != filepath.Base(p.Command[0]):
		return bad("programs lie in the directory power-commands of the server", "%.60q is not the name of a program alone", p.Command[0])
	case p.Driver != api.PowerCommand && p.Address != "" && !isAddress(p.Address):
		return bad("give HOST or HOST:PORT, for redfish also http:// or https:// before it", "address %.80q is none", p.Address)
	}
	for _, word := range p.Command {
		if len(word) > maxPowerText || strings.ContainsFunc(word, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return bad("use one line of text", "a word of the command is too long, or holds control characters")
		}
	}
	return nil
}

func isPin(text string) bool {
	digits, ok := strings.CutPrefix(text, "sha256:")
	return ok && len(text) == pinLength && strings.Trim(digits, "0123456789abcdef") == ""
}

// isAddress reports whether a text names a host, with a port or without, or is
// the URL of one.
func isAddress(text string) bool {
	if scheme, rest, ok := strings.Cut(text, "://"); ok {
		u, err := url.Parse(text)
		return err == nil && (scheme == "https" || scheme == "http") && u.User == nil && strings.Trim(u.Path, "/") == "" && u.RawQuery == "" &&
			rest != "" && isAddress(u.Host)
	}
	host := text
	if h, port, err := net.SplitHostPort(text); err == nil {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return false
		}
		host = h
	}
	return host != "" && !strings.ContainsAny(strings.Trim(host, "[]"), " /@[]?#")
}
