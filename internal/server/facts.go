package server

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/server/dashboard"
	"github.com/gild-dev/gild/internal/server/dhcpd"
	"github.com/gild-dev/gild/internal/server/machines"
	"github.com/gild-dev/gild/internal/units"
)

// Below these an operator should look.
const (
	leastFree  = 5                   // percent of the disk of the data directory
	leastValid = 14 * 24 * time.Hour // of a certificate
)

// facts are what the page of the servers says of this one.
func (s Server) facts(m *machines.Core, operator net.Addr, now time.Time) []dashboard.Fact {
	scheme := "http"
	if s.OperatorTLS != nil {
		scheme = "https"
	}
	facts := []dashboard.Fact{
		{Name: "Machines boot from", Value: m.BaseURL},
		{Name: "Operator API", Value: scheme + "://" + operator.String()},
		{Name: "DHCP", Value: s.dhcp()},
		diskFact(s.State.DataDir),
		{Name: "State", Value: s.where()},
	}
	if ca, _ := pem.Decode(m.CA); ca != nil {
		facts = append(facts, certificateFact("Certificate of the boot CA", ca.Bytes, now))
	}
	if s.OperatorTLS != nil && len(s.OperatorTLS.Certificates) > 0 {
		facts = append(facts, certificateFact("Certificate of the operator API", s.OperatorTLS.Certificates[0].Certificate[0], now))
	}
	if s.Memory > 0 {
		facts = append(facts, dashboard.Fact{Name: "Memory limit", Value: units.Bytes(s.Memory)})
	}
	return facts
}

// dhcp is what the boot network's DHCP was started as.
func (s Server) dhcp() string {
	n := s.Network
	switch {
	case n.Interface == "" || n.Mode == dhcpd.Off && !n.Auto:
		return "off"
	case n.Auto:
		return fmt.Sprintf("%v on %s, chosen by who else answers there", n.Mode, n.Interface)
	}
	return fmt.Sprintf("%v on %s", n.Mode, n.Interface)
}

// where is the database of the state.
func (s Server) where() string {
	if s.State.Etcd == nil {
		return "etcd in this process"
	}
	return "etcd at " + strings.Join(s.State.Etcd.Endpoints, ", ")
}

func diskFact(dir string) dashboard.Fact {
	f := dashboard.Fact{Name: "Data directory", Value: dir}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Blocks == 0 {
		return f
	}
	free, size := int64(st.Bavail)*st.Bsize, int64(st.Blocks)*st.Bsize
	percent := int(st.Bavail * 100 / st.Blocks)
	f.Value += fmt.Sprintf(", %s of %s free (%d %%)", units.Disk(free), units.Disk(size), percent)
	f.Odd = percent < leastFree
	return f
}

func certificateFact(name string, der []byte, now time.Time) dashboard.Fact {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return dashboard.Fact{Name: name, Value: err.Error(), Odd: true}
	}
	left := c.NotAfter.Sub(now)
	return dashboard.Fact{Name: name, Value: "valid until " + c.NotAfter.UTC().Format("2006-01-02"), Odd: left < leastValid}
}
