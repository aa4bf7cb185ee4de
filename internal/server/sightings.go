package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"strings"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/dhcpd"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/ipxe"
	"github.com/gild-dev/gild/internal/server/machines"
	"github.com/gild-dev/gild/internal/server/tftpd"
)

// sightings carries what DHCP and TFTP see to the machines' records. They must
// not wait for the disk: what does not fit is dropped, the machine will ask again.
type sightings struct {
	machines *machines.Core
	log      *slog.Logger
	queue    chan func() (fleet.Sighting, bool)
}

func newSightings(m *machines.Core, log *slog.Logger) *sightings {
	return &sightings{machines: m, log: log, queue: make(chan func() (fleet.Sighting, bool), 1024)}
}

// dhcp takes an event of dhcpd.
func (s *sightings) dhcp(e dhcpd.Event) {
	if seen, worth := sighting(e); worth && e.Client != dhcpd.Agent { // which says itself what there is to say
		s.note(func() (fleet.Sighting, bool) { return seen, true })
	}
}

func (s *sightings) note(seen func() (fleet.Sighting, bool)) {
	select {
	case s.queue <- seen:
	default:
	}
}

// refused takes an event of tftpd: a machine that asked for a file in vain. Its
// record says so, and it fails nothing: any host can ask for any name.
func (s *sightings) refused(e tftpd.Event, who func(netip.Addr) net.HardwareAddr) {
	// Newer iPXE looks for a script of this name at each start, and needs none.
	if who == nil || strings.HasSuffix(e.File, "autoexec.ipxe") {
		return
	}
	s.note(func() (fleet.Sighting, bool) {
		mac := who(e.Client.Addr())
		why := "not a request that is answered"
		switch {
		case errors.Is(e.Err, fs.ErrNotExist):
			why = "no such file"
		case e.Err != nil:
			why = e.Err.Error()
		}
		return fleet.Sighting{MAC: mac.String(), Message: fmt.Sprintf("TFTP refused %.80q: %s", e.File, why)}, mac != nil
	})
}

// sighting says what a DHCP exchange tells of a machine, and whether it is
// worth a record: the first packet of a boot, and a refusal.
func sighting(e dhcpd.Event) (fleet.Sighting, bool) {
	s := fleet.Sighting{MAC: e.MAC.String(), UUID: e.UUID}
	switch e.Client {
	case dhcpd.PXE, dhcpd.HTTP:
		s.Source = fleet.FromFirmware
	case dhcpd.IPXE:
		s.Source = fleet.FromIPXE
	}
	if e.Client != dhcpd.System {
		s.Firmware = ipxe.Arch(e.Arch).String()
	}
	switch {
	case e.Client != dhcpd.System && e.File == "" && e.Why != "":
		s.Message, s.Cause = "no boot file: "+e.Why, api.CauseNoBootFile
	case e.File != "":
		s.Message = fmt.Sprintf("DHCP %v: %s", e.Answer, e.File)
	}
	return s, s.MAC != "" && (s.Message != "" || s.Source != fleet.FromOther)
}

// withSightings runs a service and, beside it, the queue of what it saw.
func withSightings(ctx context.Context, s *sightings, run func(context.Context) error) error {
	done := make(chan struct{})
	stop, cancel := context.WithCancel(ctx)
	go func() {
		defer close(done)
		for {
			select {
			case look := <-s.queue:
				seen, ok := look()
				if !ok {
					continue
				}
				if err := s.machines.Agents().Seen(stop, seen); err != nil && stop.Err() == nil {
					s.log.Warn("noting a machine", "mac", seen.MAC, "err", err)
				}
			case <-stop.Done():
				return
			}
		}
	}()
	err := run(ctx)
	cancel()
	<-done
	return err
}
