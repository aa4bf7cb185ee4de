package machines

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/probe"
)

const (
	probeEvery = 5 * time.Second
	// probeAfter is how long the agent may take to leave the machine: until
	// then it is the agent's own kernel that would answer.
	probeAfter = 10 * time.Second
	// probesAtOnce bounds the sockets.
	probesAtOnce = 64
)

// probes asks the new systems of machines that are to be confirmed by it.
func (s Upkeep) probes(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	slots := make(chan struct{}, probesAtOnce)
	var cannot sync.Once
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var all sync.WaitGroup
		for _, m := range s.room.all() {
			if !probeDue(m, s.now()) {
				continue
			}
			slots <- struct{}{}
			all.Go(func() {
				defer func() { <-slots }()
				s.probeOne(ctx, m, log, &cannot)
			})
		}
		all.Wait()
	}
}

// probeDue reports whether the machine waits for an answer to a probe.
func probeDue(m fleet.Record, now time.Time) bool {
	w := m.Awaited
	return w != nil && w.Probe != "" && m.Armed == nil && now.Sub(m.AgentSeen) >= probeAfter && len(probedAt(m)) > 0 &&
		(m.State == api.MachineHandingOff || m.State == api.MachineUnconfirmed)
}

// reach says where a system with an identity can be asked.
func reach(id api.Identity) (r fleet.Reach) {
	for _, l := range id.Network {
		r.Leased = r.Leased || l.DHCP
		for _, text := range l.Addresses {
			if p, err := netip.ParsePrefix(text); err == nil && !p.Addr().IsLinkLocalUnicast() && len(r.Addresses) < maxProbed {
				r.Addresses = append(r.Addresses, p.Addr().String())
			}
		}
	}
	return r
}

// maxProbed bounds the addresses that one machine is asked at.
const maxProbed = 8

// probedAt lists where to ask the new system of a machine. What the agent had
// is somebody else's by now when the system does not ask for it.
func probedAt(m fleet.Record) []string {
	all := m.Awaited.Reach.Addresses
	if m.Address != "" && (len(all) == 0 || m.Awaited.Reach.Leased) {
		all = append(all[:len(all):len(all)], m.Address)
	}
	return all
}

// probeOne asks one machine once, at each of its addresses.
func (s Upkeep) probeOne(ctx context.Context, m fleet.Record, log *slog.Logger, cannot *sync.Once) {
	var err error
	for _, address := range probedAt(m) {
		if err = probe.Ask(ctx, m.Awaited.Probe, address); err == nil {
			break
		}
		log.Debug("probe", "machine", m.ID, "probe", m.Awaited.Probe, "address", address, "err", err)
	}
	if errors.Is(err, fs.ErrPermission) {
		cannot.Do(func() {
			log.Warn("this server may not send pings: machines to be confirmed by one stay unconfirmed", "err", err,
				"hint", "run it as root, or widen net.ipv4.ping_group_range")
		})
	}
	if err != nil {
		return
	}
	plan := m.Awaited.Plan
	_, err = s.change(ctx, m.ID, func(m *fleet.Record) ([]api.Event, error) {
		if m.State == "" {
			return nil, errGone
		}
		return fleet.Probed(m, plan, s.now()), nil
	})
	if err != nil && ctx.Err() == nil && !errors.Is(err, errGone) {
		log.Warn("noting an answer to a probe", "machine", m.ID, "err", err)
	}
}
