package fleet

import (
	"slices"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

// foreign are the addresses that an inventory of the machine with the ID claims
// and that are another record's: first seen with it, registered for it, or last
// used by it.
func foreign(candidates []Record, id string, s Shown) []string {
	return slices.DeleteFunc(slices.Clone(s.MACs[1:]), func(mac string) bool {
		return !slices.ContainsFunc(candidates, func(m Record) bool {
			return m.ID != id && m.Joined != id && Owns(&m, mac) > OwnsNot
		})
	})
}

// Disclaim takes addresses of others out of what a machine is known by. Who
// claims them may be lying, or have borrowed an adapter.
func Disclaim(m *Record, foreign []string, now time.Time) []api.Event {
	claims := func(n api.NIC) bool { return slices.Contains(foreign, n.MAC) }
	if m.Inventory == nil || !slices.ContainsFunc(m.Inventory.NICs, claims) {
		return nil
	}
	inv := *m.Inventory
	inv.NICs = slices.DeleteFunc(slices.Clone(inv.NICs), claims)
	m.Inventory = &inv
	t := Begin(m, api.ActorServer, now)
	why := "claims to have " + strings.Join(foreign, ", ") + ", which is known to be of another machine"
	if m.NotBooted != why || now.Sub(m.NotBootedSeen) >= toldEvery {
		t.notBooted(api.CauseOtherMachine, why)
	}
	return t.Events
}
