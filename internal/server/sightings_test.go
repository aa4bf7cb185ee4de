package server

import (
	"context"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/sightings"
	"github.com/gild-dev/gild/internal/server/tftpd"
)

// What TFTP refuses to a machine is in its past, but for what newer iPXE asks
// for in passing.
func TestRefusalIsInThePast(t *testing.T) {
	m := newMachines(t)
	if _, err := m.Operators().Register(t.Context(), "", api.Spec{Name: "b7", MACs: []string{mac}}); err != nil {
		t.Fatal(err)
	}
	s := sightings.New(m, slog.New(slog.DiscardHandler))
	who := func(netip.Addr) net.HardwareAddr {
		hw, err := net.ParseMAC(mac)
		if err != nil {
			t.Fatal(err)
		}
		return hw
	}
	for _, file := range []string{"autoexec.ipxe", "pxelinux.0"} {
		s.Refused(tftpd.Event{File: file, Client: netip.MustParseAddrPort("192.0.2.7:2070"), Outcome: tftpd.Refused, Err: fs.ErrNotExist}, who)
	}
	changed := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.Note(func() (fleet.Sighting, bool) { // the queue is in order: the refusals are noted by now
		close(changed)
		return fleet.Sighting{}, false
	})
	if err := s.Beside(ctx, func(context.Context) error { <-changed; return nil }); err != nil {
		t.Fatal(err)
	}
	events, err := m.Operators().Events(t.Context(), "b7")
	if err != nil {
		t.Fatal(err)
	}
	events = slices.DeleteFunc(events, func(e api.Event) bool { return e.Step != fleet.StepTFTP })
	if len(events) != 1 || events[0].Message != `TFTP refused "pxelinux.0": no such file` {
		t.Errorf("events: %+v; want one refusal", events)
	}
	if got, err := m.Operators().Machine(t.Context(), "b7"); err != nil || got.State != api.MachineRegistered || got.Trouble != nil {
		t.Errorf("machine: %+v, %v; a refusal fails nothing", got, err)
	}
}
