package server

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/server/bootnet"
	"github.com/gild-dev/gild/internal/server/dhcpd"
	"github.com/gild-dev/gild/internal/server/machines"
	"github.com/gild-dev/gild/internal/server/service"
)

// An error names its protocol once.
func TestProtocolErrorsAreNamedOnce(t *testing.T) {
	n := bootnet.Network{Interface: "none", Address: netip.MustParsePrefix("192.0.2.77/24"), Mode: dhcpd.Full}
	for _, o := range n.Protocols() {
		s := newServer(t, t.TempDir())
		s.protocols = []service.Opener[*machines.Core]{o}
		err := s.Run(t.Context())
		if err == nil || !strings.HasPrefix(err.Error(), o.Name+": ") || strings.Count(err.Error(), o.Name+": ") != 1 {
			t.Errorf("%s: Run = %v; want %q once, at the start", o.Name, err, o.Name)
		}
	}
}

// What the operator did wrong is not to be looked for among etcd's words about
// its own end.
func TestFailedStartLogsNothingOfEtcd(t *testing.T) {
	var log bytes.Buffer
	s := newServer(t, t.TempDir())
	s.Log = slog.New(slog.NewTextHandler(&log, nil))
	s.protocols = bootnet.Network{Interface: "none", Mode: dhcpd.Full}.Protocols()
	if err := s.Run(t.Context()); err == nil {
		t.Fatal("Run = nil; want an error")
	}
	if log.Len() > 0 {
		t.Errorf("a failed start logs\n%s\nwant nothing beside its error", &log)
	}
}
