// Package sightings notes in the records of machines what protocols see of
// them.
package sightings

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

// Queue carries what a protocol sees to the machines' records. It must not wait
// for the disk: what does not fit is dropped, the machine will ask again.
type Queue struct {
	machines *machines.Core
	log      *slog.Logger
	queue    chan func() (fleet.Sighting, bool)
}

// New makes an empty queue.
func New(m *machines.Core, log *slog.Logger) *Queue {
	return &Queue{machines: m, log: log, queue: make(chan func() (fleet.Sighting, bool), 1024)}
}

// DHCP takes an event of dhcpd.
func (s *Queue) DHCP(e dhcpd.Event) {
	if seen, worth := sighting(e); worth && e.Client != dhcpd.Agent { // which says itself what there is to say
		s.Note(func() (fleet.Sighting, bool) { return seen, true })
	}
}

// Note has a sighting noted, which is looked up later; false: there is none.
func (s *Queue) Note(seen func() (fleet.Sighting, bool)) {
	select {
	case s.queue <- seen:
	default:
	}
}

// Refused takes an event of tftpd: a machine that asked for a file in vain. Its
// record says so, and it fails nothing: any host can ask for any name.
func (s *Queue) Refused(e tftpd.Event, who func(netip.Addr) net.HardwareAddr) {
	// Newer iPXE looks for a script of this name at each start, and needs none.
	if who == nil || strings.HasSuffix(e.File, "autoexec.ipxe") {
		return
	}
	s.Note(func() (fleet.Sighting, bool) {
		mac := who(e.Client.Addr())
		why := "not a request that is answered"
		switch {
		case errors.Is(e.Err, fs.ErrNotExist):
			why = "no such file"
		case e.Err != nil:
			why = e.Err.Error()
		}
		return fleet.Sighting{MAC: mac.String(), Step: fleet.StepTFTP, Message: fmt.Sprintf("TFTP refused %.80q: %s", e.File, why)}, mac != nil
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

// Beside runs a service and, beside it, the queue of what it saw.
func (s *Queue) Beside(ctx context.Context, run func(context.Context) error) error {
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
