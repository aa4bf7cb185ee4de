package fleet

import (
	"cmp"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/evidence"
)

// joins reports whether from was made when the machine was first seen that the
// operator has registered as into: both say one UUID that identifies, or where
// neither has one, one serial.
func joins(into, from *Record) bool {
	if !Registered(into) || Registered(from) || from.Joined != "" || into.Joined != "" {
		return false
	}
	a, b := Knows(into), Knows(from)
	uuid, serial := evidence.UUIDs(a.UUID, b.UUID), evidence.Serials(a.Serial, b.Serial)
	if uuid == evidence.Contradicts || serial == evidence.Contradicts {
		return false
	}
	return uuid == evidence.Agrees || evidence.UUID(a.UUID) == "" && evidence.UUID(b.UUID) == "" && serial == evidence.Agrees
}

// seenAs is the record that was made of a machine for the address that it has
// now, before its boot ticket told that it is the one registered as into;
// empty: there is none.
func seenAs(candidates []Record, into *Record, mac string) string {
	for i := range candidates {
		if c := &candidates[i]; c.ID != into.ID && Owns(c, mac) > OwnsNot && joins(into, c) {
			return c.ID
		}
	}
	return ""
}

// Join marks a record that was made when the machine was first seen as one
// with that which the operator registered for it. It stays, with its past. It
// refuses when that is no longer what they are.
func Join(into, from *Record, now time.Time) ([]api.Event, error) {
	if !joins(into, from) {
		return nil, &ConflictError{Problem: "the records " + into.ID + " and " + from.ID + " are not of one machine any more"}
	}
	t := Begin(into, api.ActorServer, now)
	if into.FirstSeen.IsZero() || !from.FirstSeen.IsZero() && from.FirstSeen.Before(into.FirstSeen) {
		into.FirstSeen = from.FirstSeen
	}
	if from.LastSeen.After(into.LastSeen) {
		into.LastSeen, into.MAC, into.Address = from.LastSeen, cmp.Or(from.MAC, into.MAC), cmp.Or(from.Address, into.Address)
	}
	if from.FirmwareSeen.After(into.FirmwareSeen) {
		into.FirmwareSeen = from.FirmwareSeen
	}
	into.Firmware = cmp.Or(into.Firmware, from.Firmware)
	if into.Inventory == nil || into.Inventory.Kernel == "" {
		into.Inventory = cmp.Or(from.Inventory, into.Inventory)
	}
	if into.Session == "" {
		into.Session, into.Seq, into.AgentSeen, into.Waiting = from.Session, from.Seq, from.AgentSeen, from.Waiting
	}
	from.Joined, from.Session, from.Waiting = into.ID, "", false
	t.Note(Did(StepJoin, "joined with the machine seen as "+cmp.Or(from.MAC, from.ID)))
	return t.Events, nil
}
