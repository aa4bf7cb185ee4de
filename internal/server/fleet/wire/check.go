// Package wire checks what comes from the boot network before any rule sees it.
package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/printable"
	"github.com/gild-dev/gild/internal/server/budget"
)

// Bounds on what an agent may say. What only people read is cut to fit, what
// rules depend on is refused.
const (
	maxSession = 64
	maxDisks   = 512
	maxNICs    = 256
	maxList    = 64 // entries of small lists

	maxRetry      = 60 * 60 // seconds that a next try is away
	maxPartitions = 128     // of one disk
	maxSamples    = 120     // of one receipt
)

// CheckHello checks a hello from the wire and brings it into the form that
// the rules expect: addresses in one spelling, text without control
// characters. An error is the fault of the sender.
func CheckHello(h *api.Hello) error {
	if err := checkSession(h.Session); err != nil {
		return err
	}
	if h.Ticket != "" && !IsToken(h.Ticket) {
		return errors.New("ticket: not one of this server")
	}
	inv := &h.Inventory
	mac, err := ParseMAC(inv.MAC)
	if err != nil {
		return fmt.Errorf("inventory: %w", err)
	}
	inv.MAC = mac
	if inv.CPUs < 0 || inv.Memory < 0 {
		return errors.New("inventory: negative number of CPUs or bytes of memory")
	}
	for _, s := range []*string{&h.Build, &inv.UUID, &inv.Serial, &inv.Vendor, &inv.Product, &inv.Firmware, &inv.Kernel, &inv.Arch, &inv.CPU} {
		*s = word(*s)
	}
	inv.Disks = inv.Disks[:min(len(inv.Disks), maxDisks)]
	for i := range inv.Disks {
		if err := checkDisk(&inv.Disks[i]); err != nil {
			return fmt.Errorf("inventory: %w", err)
		}
	}
	inv.NICs = inv.NICs[:min(len(inv.NICs), maxNICs)]
	for i := range inv.NICs {
		n := &inv.NICs[i]
		n.Name, n.Driver = word(n.Name), word(n.Driver)
		// Not every interface has an Ethernet address; one without recognises nothing.
		n.MAC, _ = ParseMAC(n.MAC)
	}
	fit(inv)
	return nil
}

// fit leaves out of an inventory what is over its budget: what is on the disks
// before the disks, the last of them first. The agent goes by its own look.
func fit(inv *api.Inventory) {
	over := jsonSize(inv) - budget.Inventory
	for i := len(inv.Disks) - 1; i >= 0 && over > 0; i-- {
		d := &inv.Disks[i]
		whole := jsonSize(d)
		d.Partitions = nil
		over -= whole - jsonSize(d)
	}
	for over > 0 && len(inv.Disks) > 0 {
		last := len(inv.Disks) - 1
		over -= jsonSize(&inv.Disks[last]) + 1
		inv.Disks = inv.Disks[:last]
	}
}

// jsonSize is how many bytes a value takes where it is stored.
func jsonSize(v any) int {
	p, err := json.Marshal(v)
	if err != nil {
		return 0 // plain data: it can be written
	}
	return len(p)
}

// CheckReport does for a report what CheckHello does for a hello. now takes
// the place of times that a machine without a clock made up.
func CheckReport(r *api.Report, now time.Time) error {
	if err := checkSession(r.Session); err != nil {
		return err
	}
	mac, err := ParseMAC(r.MAC)
	if err != nil {
		return err
	}
	r.MAC = mac
	if len(r.Plan) > maxSession {
		return errors.New("plan: too long")
	}
	if len(r.Events) > budget.ReportEvents {
		return fmt.Errorf("%d events, at most %d are accepted in one report", len(r.Events), budget.ReportEvents)
	}
	var last uint64
	for i := range r.Events {
		e := &r.Events[i]
		if e.Seq <= last {
			return fmt.Errorf("event %d: seq %d, want more than %d: they ascend from 1", i, e.Seq, last)
		}
		last = e.Seq
		if err := checkEvent(e, now); err != nil {
			return fmt.Errorf("event %d: %w", e.Seq, err)
		}
	}
	return nil
}

// CheckIdentityRequest does the same for a request for an identity.
func CheckIdentityRequest(r *api.IdentityRequest) error {
	if err := checkSession(r.Session); err != nil {
		return err
	}
	if !IsToken(r.Plan) {
		return errors.New("plan: not one of this server")
	}
	mac, err := ParseMAC(r.MAC)
	r.MAC = mac
	return err
}

// IsToken reports whether s has the form of what the server makes at random:
// letters and digits, at most 64.
func IsToken(s string) bool {
	return checkSession(s) == nil
}

func checkSession(s string) error {
	if s == "" || len(s) > maxSession {
		return fmt.Errorf("session: %d characters, want 1 to %d", len(s), maxSession)
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return fmt.Errorf("session %.40q: want letters, digits, hyphens", s)
		}
	}
	return nil
}

func checkEvent(e *api.Event, now time.Time) error {
	// Its own clock may be wrong, and anybody can send any time.
	e.Sent, e.Time = e.Time, now
	if e.Sent.Year() < 2020 || e.Sent.After(now.Add(24*time.Hour)) {
		e.Sent = time.Time{} // no battery behind the clock
	}
	if !finite(e.Uptime) {
		return errors.New("uptime is not a positive number")
	}
	e.Retry = min(max(e.Retry, 0), maxRetry)
	e.Step, e.Message, e.Cause = word(e.Step), Clean(e.Message), word(e.Cause)
	// These are the server's to say.
	e.Actor, e.To, e.Plan, e.Image, e.Identity, e.Number = api.ActorAgent, "", "", nil, "", 0
	switch e.State {
	case api.StateStart, api.StateProgress, api.StateDone, api.StateFailed:
	default:
		return fmt.Errorf("unknown state %.40q: want start, progress, done or failed", e.State)
	}
	if p := e.Progress; p != nil {
		p.Phase = Clean(p.Phase)
		if p.Done < 0 || p.Total < p.Done || p.Wire < 0 || p.Unanswered < 0 || !finite(p.Rate) || p.Work != nil && !p.Work.Valid() {
			return fmt.Errorf("progress of %d in %d bytes", p.Done, p.Total)
		}
	}
	if e.Receipt != nil {
		return checkReceipt(e.Receipt)
	}
	return nil
}

func checkReceipt(r *api.Receipt) error {
	if r.Written < 0 || r.Zeroed < 0 || r.Kept < 0 || r.Wire < 0 || r.Repaired < 0 || r.Memory < 0 || r.Demanded < 0 || !finite(r.Waited) {
		return errors.New("receipt with a negative figure")
	}
	if len(r.PhaseTimes) > maxList || len(r.Reasons) > maxList {
		return fmt.Errorf("receipt with more than %d phases or reasons", maxList)
	}
	for phase, seconds := range r.PhaseTimes {
		if !finite(seconds) || Clean(phase) != phase {
			return fmt.Errorf("receipt: phase %.40q has no proper name or time", phase)
		}
	}
	r.ReadBack, r.Handoff = Clean(r.ReadBack), Clean(r.Handoff)
	cleanAll(r.Reasons)
	if len(r.Preserved) > maxPartitions || len(r.Samples) > maxSamples {
		return fmt.Errorf("receipt with more than %d preserved partitions or %d samples", maxPartitions, maxSamples)
	}
	cleanAll(r.Preserved)
	for i := range r.Samples {
		s := &r.Samples[i]
		if s.Phase = Clean(s.Phase); s.Done < 0 || s.Wire < 0 || !finite(s.Rate) {
			return errors.New("receipt with a sample of a negative figure")
		}
	}
	r.Plan, r.Image, r.Identity = Clean(r.Plan), Clean(r.Image), Clean(r.Identity)
	return checkDisk(&r.Disk)
}

func checkDisk(d *api.Disk) error {
	if d.Size < 0 || d.SectorSize < 0 {
		return fmt.Errorf("disk %.40q has a negative size", d.Name)
	}
	for _, s := range []*string{&d.Name, &d.Model, &d.Serial, &d.WWN, &d.Path, &d.Transport, &d.TableID, &d.FileSystem, &d.FSLabel} {
		*s = word(*s)
	}
	d.Damaged = Clean(d.Damaged)
	d.Holds = d.Holds[:min(len(d.Holds), maxList)]
	d.Claims = d.Claims[:min(len(d.Claims), maxList)]
	cleanAll(d.Holds)
	cleanAll(d.Claims)
	d.Partitions = d.Partitions[:min(len(d.Partitions), maxPartitions)]
	for i := range d.Partitions {
		p := &d.Partitions[i]
		if p.Number < 0 || p.Start < 0 || p.Size < 0 || p.Size > math.MaxInt64-p.Start {
			return fmt.Errorf("disk %.40q has a partition of %d bytes at %d", d.Name, p.Size, p.Start)
		}
		for _, s := range []*string{&p.Type, &p.Label, &p.FileSystem, &p.FSLabel, &p.UUID} {
			*s = word(*s)
		}
		p.Claims = p.Claims[:min(len(p.Claims), maxList)]
		cleanAll(p.Claims)
	}
	return nil
}

func cleanAll(list []string) {
	for i := range list {
		list[i] = Clean(list[i])
	}
}

// finite reports whether f is a number that a duration or rate can have.
func finite(f float64) bool { return f >= 0 && !math.IsInf(f, 1) }

// Clean makes text from a machine fit to be shown: bounded, and without the
// characters that drive a terminal or turn the direction of writing.
func Clean(s string) string { return clean(s, budget.Text) }

// word is Clean for what names something: a serial number, a model, a step.
func word(s string) string { return clean(s, budget.Label) }

func clean(s string, most int) string {
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return strings.TrimSpace(printable.Mark(s))
}
