package bootca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"net/netip"
	"sync"
)

// leaves are the certificates of one running server. Their key is made when it
// starts and is kept nowhere.
type leaves struct {
	ca   *CA
	name string // by which machines are sent here: a name or an address
	key  *ecdsa.PrivateKey

	mu   sync.Mutex
	made map[netip.Addr]*tls.Certificate // by the address that was spoken to
}

// maxLeaves bounds those that are kept: a server has a few addresses.
const maxLeaves = 64

// Server is the TLS side of a server that machines are sent to by name, which
// may be an address. Each connection is shown a certificate for that name and
// for the address that it came to, so one that the host was given later is
// good at once.
func (c *CA) Server(name string) (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the server's key: %w", err)
	}
	l := &leaves{ca: c, name: name, key: key, made: map[netip.Addr]*tls.Certificate{}}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			var at netip.Addr
			if tcp, ok := h.Conn.LocalAddr().(*net.TCPAddr); ok {
				at = tcp.AddrPort().Addr().Unmap().WithZone("")
			}
			return l.leaf(at)
		},
	}, nil
}

// leaf gives the certificate for a connection to an address, zero if that is
// not known.
func (l *leaves) leaf(at netip.Addr) (*tls.Certificate, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.made[at]; c != nil {
		return c, nil
	}
	tpl := template()
	tpl.Subject = pkix.Name{Organization: []string{"gild"}, CommonName: "gild server"}
	tpl.KeyUsage = x509.KeyUsageDigitalSignature
	if ip, err := netip.ParseAddr(l.name); err == nil {
		tpl.IPAddresses = append(tpl.IPAddresses, ip.AsSlice())
	} else {
		tpl.DNSNames = []string{l.name}
	}
	if at.IsValid() && at.String() != l.name {
		tpl.IPAddresses = append(tpl.IPAddresses, at.AsSlice())
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, l.ca.cert, l.key.Public(), l.ca.key)
	if err != nil {
		return nil, fmt.Errorf("signing for %s: %w", l.name, err)
	}
	if len(l.made) >= maxLeaves {
		clear(l.made)
	}
	c := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: l.key}
	l.made[at] = c
	return c, nil
}
