// Package evidence weighs what a machine shows of itself: SMBIOS UUID, serial
// number, addresses of its cards, serial numbers of its disks.
//
// None of them is proof; each can agree with what is known, contradict it, or
// say nothing.
//
// A contradiction by anything strong (UUID, serial, the disk that was agreed
// to) is never outvoted by an address. Server and agent weigh by the same
// functions, so that the one foresees what the other will refuse.
package evidence

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/api"
)

// Verdict is what one piece of evidence says of two machines.
type Verdict int

// The verdicts. Silent is also what a worthless value says.
const (
	Silent      Verdict = iota // missing on one side or both
	Agrees                     // the same on both
	Contradicts                // another on each
)

// String gives the word of the table in docs/operations.md.
func (v Verdict) String() string { return [...]string{"silent", "agrees", "contradicts"}[v] }

// UUIDs compares two SMBIOS UUIDs in any spelling and byte order.
func UUIDs(a, b string) Verdict { return compare(UUID(a), UUID(b)) }

// Serials compares two serial numbers of machines.
func Serials(a, b string) Verdict { return compare(Serial(a), Serial(b)) }

func compare(a, b string) Verdict {
	switch {
	case a == "" || b == "":
		return Silent
	case a == b:
		return Agrees
	}
	return Contradicts
}

// Contradiction says that a machine or its disk is not the one that was agreed
// to. Nothing is to be written to it.
type Contradiction struct {
	Cause  string // api.CauseOtherMachine or api.CauseOtherDisk
	What   string // "UUID", "serial", "size", ...
	Agreed string // as it was shown to the operator
	Found  string // as it is; empty: none
}

func (e *Contradiction) Error() string {
	thing := "machine"
	if e.Cause == api.CauseOtherDisk {
		thing = "disk"
	}
	return fmt.Sprintf("this is not the %s that was agreed to: its %s is %s, agreed was %s", thing, e.What, cmp.Or(e.Found, "not known"),
		e.Agreed)
}

// Hint says what the operator can do.
func (e *Contradiction) Hint() string {
	return "cancel it, look at what is shown now, and arm the intended machine"
}

// OtherMachine holds what a machine shows against what was agreed to. Only
// labels of inv are looked at. What was known when the machine was armed must
// be shown again: a UUID or serial that is missing now is made good by the
// other of the two alone, and an address counts where neither was known. The
// error is a *Contradiction; nil: it is the machine, as far as labels tell.
func OtherMachine(agreed api.Agreed, inv *api.Inventory) error {
	uuid, serial := UUIDs(agreed.UUID, inv.UUID), Serials(agreed.Serial, inv.Serial)
	other := func(what, agreed, found string) error {
		return &Contradiction{Cause: api.CauseOtherMachine, What: what, Agreed: agreed, Found: found}
	}
	knowsUUID, knowsSerial := UUID(agreed.UUID) != "", Serial(agreed.Serial) != ""
	switch {
	case uuid == Contradicts:
		return other("UUID", agreed.UUID, inv.UUID)
	case serial == Contradicts:
		return other("serial", agreed.Serial, inv.Serial)
	case uuid == Agrees || serial == Agrees:
		return nil
	case knowsUUID:
		return other("UUID", agreed.UUID, "")
	case knowsSerial:
		return other("serial", agreed.Serial, "")
	case len(agreed.MACs) == 0 || slices.ContainsFunc(addresses(inv), func(mac string) bool { return slices.Contains(agreed.MACs, mac) }):
		return nil
	}
	return other("address", strings.Join(agreed.MACs, ", "), strings.Join(addresses(inv), ", "))
}

// addresses are those of every card, the one in use first.
func addresses(inv *api.Inventory) []string {
	macs := []string{inv.MAC}
	for _, n := range inv.NICs {
		if n.MAC != "" && !slices.Contains(macs, n.MAC) {
			macs = append(macs, n.MAC)
		}
	}
	return macs
}

// OtherDisk holds the disk that is about to be written against the one that
// was agreed to; nil for that: none was seen then, so none is refused. Serial
// and WWN that were known must not differ and one of them must be shown again;
// the size must be the same. Where a disk has neither, its place and model
// count. Its kernel name does not. The error is a *Contradiction.
func OtherDisk(agreed *api.AgreedDisk, d *api.Disk) error {
	if agreed == nil {
		return nil
	}
	other := func(what, agreed, found string) error {
		return &Contradiction{Cause: api.CauseOtherDisk, What: what, Agreed: agreed, Found: found}
	}
	// The rules for a machine's serial number are also those for a disk's: USB
	// bridges and cheap drives have fillers too.
	serial, wwn := Serials(agreed.Serial, d.Serial), compare(WWN(agreed.WWN), WWN(d.WWN))
	path, model := compare(agreed.Path, d.Path), Serials(agreed.Model, d.Model)
	hadSerial, hadWWN := Serial(agreed.Serial) != "", WWN(agreed.WWN) != ""
	named := hadSerial || hadWWN
	switch lost := serial == Silent && wwn == Silent; {
	case serial == Contradicts:
		return other("serial", agreed.Serial, d.Serial)
	case wwn == Contradicts:
		return other("WWN", agreed.WWN, d.WWN)
	case hadSerial && lost:
		return other("serial", agreed.Serial, "")
	case hadWWN && lost:
		return other("WWN", agreed.WWN, "")
	case agreed.Size != d.Size:
		return other("size", fmt.Sprintf("%d bytes", agreed.Size), fmt.Sprintf("%d bytes", d.Size))
	case !named && path == Contradicts:
		return other("place", agreed.Path, d.Path)
	case !named && model == Contradicts:
		return other("model", agreed.Model, d.Model)
	}
	return nil
}
