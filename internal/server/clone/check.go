package clone

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/gild-dev/gild/internal/api"
)

// Bounds of an identity. Its size as a whole is api.MaxIdentity.
const (
	maxLinks = 64
	maxFiles = 256
	maxUsers = 64
	maxList  = 256 // addresses, DNS servers, keys of one user, ...
)

// Check finds what is wrong with an identity of the fleet before any machine
// needs it: syntax, paths, modes, users, names and addresses. What is a
// template can only be checked in full once it is rendered, which Render does.
func Check(tpl api.Identity) error { return check(tpl, true) }

// checker gathers what is wrong.
type checker struct {
	templates bool
	errs      []error
}

func check(id api.Identity, templates bool) error {
	if text, err := json.Marshal(id); err != nil || len(text) > api.MaxIdentity {
		return errTooBig
	}
	c := &checker{templates: templates}
	c.whole(id)
	c.network(id)
	c.files(id)
	c.secrets(id)
	return errors.Join(c.errs...)
}

func (c *checker) fail(format string, args ...any) {
	if len(c.errs) < 20 {
		c.errs = append(c.errs, fmt.Errorf(format, args...))
	}
}

// text checks one field with is, unless it is a template or empty.
func (c *checker) text(name, value string, is func(string) error) {
	if c.templates && strings.Contains(value, "{{") {
		if _, err := parseTemplate(name, value); err != nil {
			c.fail("%w", err)
		}
		return
	}
	if value == "" || is == nil {
		return
	}
	if err := is(value); err != nil {
		c.fail("%s: %w", name, err)
	}
}

func oneOf(words ...string) func(string) error {
	return func(s string) error {
		if slices.Contains(words, s) {
			return nil
		}
		return fmt.Errorf("%.40q is not valid: want one of %s", s, strings.Join(words, ", "))
	}
}

func (c *checker) whole(id api.Identity) {
	c.text("hostname", id.Hostname, hostname)
	c.text("machineID", id.MachineID, machineID)
	c.text("sshHostKeys", id.SSHHostKeys, oneOf("new", "keep"))
	c.text("beacon", id.Beacon, oneOf("unit", "cloud-init", "off"))
	if c.templates && id.BeaconURL != "" {
		c.fail("beaconURL is filled in by the server")
	}
	if len(id.Search) > maxList || len(id.DNS) > maxList {
		c.fail("more than %d DNS servers or search domains", maxList)
	}
	for i, s := range id.Search {
		c.text(fmt.Sprintf("search[%d]", i), s, domain)
	}
	for i, s := range id.DNS {
		c.text(fmt.Sprintf("dns[%d]", i), s, address)
	}
	if s := id.CloudInit; s != nil {
		if c.templates && id.Beacon == "cloud-init" && s.VendorData != "" {
			c.fail("beacon: cloud-init needs cloudInit.vendorData for itself; " +
				"use beacon: unit, or put phone_home into your own data and beacon: off")
		}
		for name, text := range map[string]string{
			"userData": s.UserData, "metaData": s.MetaData, "networkConfig": s.NetworkConfig,
			"vendorData": s.VendorData,
		} {
			c.text("cloudInit."+name, text, nil)
		}
	}
}

func (c *checker) network(id api.Identity) {
	if len(id.Network) > maxLinks {
		c.fail("more than %d links", maxLinks)
		return
	}
	seen := map[string]int{}
	for i, l := range id.Network {
		at := fmt.Sprintf("network[%d]", i)
		c.text(at+".mac", l.MAC, mac)
		c.text(at+".name", l.Name, linkName)
		c.text(at+".gateway", l.Gateway, address)
		if l.MAC != "" && l.Name != "" {
			c.fail("%s: mac and name: give one of them to select the link", at)
		}
		key := strings.ToLower(l.MAC) + l.Name
		if j, twice := seen[key]; twice && !strings.Contains(key, "{{") {
			c.fail("network[%d] and %s are the same link", j, at)
		}
		seen[key] = i
		if len(l.Addresses) > maxList {
			c.fail("%s: more than %d addresses", at, maxList)
			continue
		}
		for j, a := range l.Addresses {
			c.text(fmt.Sprintf("%s.addresses[%d]", at, j), a, prefix)
		}
		// 68 bytes is the least that IPv4 works with (RFC 791).
		if l.MTU != 0 && (l.MTU < 68 || l.MTU > 65535) {
			c.fail("%s.mtu: %d is not 68 to 65535", at, l.MTU)
		}
		if !l.DHCP && len(l.Addresses) == 0 {
			c.fail("%s: neither dhcp nor an address", at)
		}
	}
}

func (c *checker) files(id api.Identity) {
	if len(id.Files) > maxFiles {
		c.fail("more than %d files", maxFiles)
		return
	}
	seen := map[string]bool{}
	for i, f := range id.Files {
		at := fmt.Sprintf("files[%d]", i)
		if f.Path == "" {
			c.fail("%s has no path", at)
			continue
		}
		c.text(at+".path", f.Path, filePath)
		c.text("file "+f.Path, f.Content, nil)
		c.text("file "+f.Path+": mode", f.Mode, mode)
		for _, name := range []string{f.Owner, f.Group} {
			c.literal("file "+f.Path+": owner", name, user)
		}
		if seen[f.Path] {
			c.fail("file %s is there twice", f.Path)
		}
		seen[f.Path] = true
	}
}

func (c *checker) secrets(id api.Identity) {
	if len(id.AuthorizedKeys) > maxUsers || len(id.Credentials) > maxFiles {
		c.fail("more than %d users or %d credentials", maxUsers, maxFiles)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(id.AuthorizedKeys)) {
		c.literal("authorizedKeys", name, user)
		if name == "" {
			c.fail("authorizedKeys: a user without a name")
		}
		lines := id.AuthorizedKeys[name]
		if len(lines) > maxList {
			c.fail("authorizedKeys of %s: more than %d", name, maxList)
			continue
		}
		for i, line := range lines {
			c.text(fmt.Sprintf("authorizedKeys of %s[%d]", name, i), line, oneLine)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(id.Credentials)) {
		if name == "" {
			c.fail("a credential without a name")
		}
		c.literal("credentials", name, credential)
		c.text("credential "+name, id.Credentials[name], nil)
	}
}

// literal checks what is never a template.
func (c *checker) literal(name, value string, is func(string) error) {
	if value == "" {
		return
	}
	if err := is(value); err != nil {
		c.fail("%s: %w", name, err)
	}
}

const (
	lower  = "abcdefghijklmnopqrstuvwxyz"
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits = "0123456789"
)

// made says whether s has only bytes of set.
func made(s, set string) bool { return strings.Trim(s, set) == "" }

// hostname is a domain that the kernel can hold (HOST_NAME_MAX).
func hostname(s string) error {
	if len(s) > 64 {
		return fmt.Errorf("%.40q... is longer than the 64 bytes that Linux takes", s)
	}
	return domain(s)
}

// domain is a name of RFC 1123, section 2.1.
func domain(s string) error {
	if len(s) > 253 {
		return fmt.Errorf("%.40q... is longer than 253 bytes", s)
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || !made(label, lower+upper+digits+"-") || label[0] == '-' || label[len(label)-1] == '-' {
			return fmt.Errorf("%.80q is not a host name: labels of letters, digits and inner hyphens, at most 63 each (RFC 1123)", s)
		}
	}
	return nil
}

func machineID(s string) error {
	if s == "new" || s == "keep" {
		return nil
	}
	if len(s) != 32 || !made(s, digits+"abcdef") || made(s, "0") {
		return errors.New("want new, keep or 32 lower-case hex digits (machine-id(5))")
	}
	return nil
}

func mac(s string) error {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 || !strings.EqualFold(hw.String(), s) {
		return fmt.Errorf("%.40q is not a MAC such as 52:54:00:12:34:56", s)
	}
	return nil
}

// linkName follows dev_valid_name of the kernel (net/core/dev.c), less what
// means something in the files that it is written to.
func linkName(s string) error {
	if len(s) > 15 || s == "." || s == ".." || !made(s, lower+upper+digits+"-._@") {
		return fmt.Errorf("%.40q is not the name of a network interface", s)
	}
	return nil
}

func address(s string) error {
	if a, err := netip.ParseAddr(s); err != nil || a.Zone() != "" {
		return fmt.Errorf("%.60q is not an IP address", s)
	}
	return nil
}

func prefix(s string) error {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return fmt.Errorf("%.60q is not an address with a prefix length, such as 10.0.0.5/24", s)
	}
	if a := p.Addr(); a.IsUnspecified() || a.IsMulticast() || p.Bits() == 0 {
		return fmt.Errorf("%.60q is not the address of a machine", s)
	}
	return nil
}

// filePath is where a file may go: on the disk, and not where the running
// system mounts something over it.
func filePath(s string) error {
	switch {
	case !path.IsAbs(s) || path.Clean(s) != s || s == "/":
		return fmt.Errorf("%.100q is not an absolute path in its shortest form", s)
	case len(s) > 1024:
		return fmt.Errorf("%.100q... is longer than 1024 bytes", s)
	case strings.ContainsFunc(s, unicode.IsControl):
		return errors.New("the path holds control characters")
	}
	for _, dir := range []string{"/proc", "/sys", "/dev", "/run"} {
		if below(s, dir) {
			return fmt.Errorf("%.100q: nothing below %s is on the disk", s, dir)
		}
	}
	return nil
}

func mode(s string) error {
	if n, err := strconv.ParseUint(s, 8, 32); err != nil || n > 0o7777 {
		return fmt.Errorf("mode %.20q is not octal, at most 7777", s)
	}
	return nil
}

// user is a name that passwd(5) can hold and useradd(8) takes.
func user(s string) error {
	if len(s) > 32 || s[0] == '-' || !made(s, lower+upper+digits+"-._$") || s == "." || s == ".." {
		return fmt.Errorf("%.40q is not the name of a user or group", s)
	}
	return nil
}

// oneLine is a line of authorized_keys.
func oneLine(s string) error {
	if strings.ContainsFunc(s, unicode.IsControl) {
		return errors.New("it is more than one line")
	}
	return nil
}

// credential is a name that systemd takes (credential_name_valid: a file name
// and a name for a descriptor).
func credential(s string) error {
	if len(s) > 255 || s == "." || s == ".." || strings.ContainsFunc(s,
		func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '/' || c == ':' }) {
		return fmt.Errorf("%.40q is not a name of a credential: printable ASCII, no slash, no colon", s)
	}
	return nil
}
