package wire

import (
	"errors"
	"fmt"
	"strings"
)

// ParseMAC reads an Ethernet address in any common spelling (colons, hyphens,
// Cisco's dots, bare digits; either case) and gives the one form that gild
// uses: lower case with colons. Addresses that cannot belong to one machine
// (zero, multicast, broadcast) are refused, because firmware with an empty
// EEPROM sends them and two such machines must not be taken for one.
func ParseMAC(s string) (string, error) {
	digits, err := macDigits(s)
	if err != nil {
		return "", fmt.Errorf("MAC address %.40q: %w; an address looks like 52:54:00:12:34:56", s, err)
	}
	if digits == "000000000000" {
		return "", fmt.Errorf("MAC address %.40q is all zero: the card has no address of its own", s)
	}
	// The lowest bit of the first octet marks a group (IEEE 802, clause 8).
	if strings.IndexByte("13579bdf", digits[1]) >= 0 {
		return "", fmt.Errorf("MAC address %.40q is a multicast address: it names no machine", s)
	}
	var b strings.Builder
	for i := 0; i < len(digits); i += 2 {
		if i > 0 {
			b.WriteByte(':')
		}
		b.WriteString(digits[i : i+2])
	}
	return b.String(), nil
}

// macDigits returns the twelve digits in lower case.
func macDigits(s string) (string, error) {
	var sep string
	var group int
	switch len(s) {
	case 12:
		return hexDigits(s)
	case 14:
		sep, group = ".", 4
	case 17:
		sep, group = s[2:3], 2
		if sep != ":" && sep != "-" {
			return "", errors.New("octets are divided by colons or hyphens")
		}
	default:
		return "", errors.New("want six octets")
	}
	parts := strings.Split(s, sep)
	if len(parts) != 12/group {
		return "", errors.New("want six octets")
	}
	for _, p := range parts {
		if len(p) != group {
			return "", errors.New("want six octets")
		}
	}
	return hexDigits(strings.Join(parts, ""))
}

func hexDigits(s string) (string, error) {
	s = strings.ToLower(s)
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", errors.New("not hexadecimal digits")
		}
	}
	return s, nil
}

// IsMAC reports whether s has the digits of an address in any common spelling,
// whatever it may be the address of.
func IsMAC(s string) bool {
	_, err := macDigits(s)
	return err == nil
}
