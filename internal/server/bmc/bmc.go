// Package bmc has the power of machines controlled as operators ask.
package bmc

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/power"
	"github.com/gild-dev/gild/internal/power/command"
	"github.com/gild-dev/gild/internal/power/ipmi"
	"github.com/gild-dev/gild/internal/power/redfish"
	"github.com/gild-dev/gild/internal/power/wol"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/sealed"
	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/docs"
	"github.com/gild-dev/gild/internal/server/turns"
)

// Room controls the power of the machines of a state.
type Room struct {
	Store *state.Store
	// Find finds the ID of the machine that a spelling means.
	Find    func(ctx context.Context, spelling string) (id string, err error)
	Secrets *sealed.Box
	// Programs is the directory of those that the driver command runs.
	Programs string
	// CA verifies the certificates of BMCs; nil: each is pinned at first sight.
	CA *x509.CertPool
	// Open makes the driver of a machine; nil: by its spec.
	Open func(ctx context.Context, m *fleet.Record) (power.Driver, error)
	Now  func() time.Time // nil: time.Now
	Log  *slog.Logger     // nil: discard

	suites ipmi.Suites
	turns  turns.Turns // one command at a time for each power control
}

func (r *Room) now() time.Time {
	if r.Now != nil {
		return r.Now()
	}
	return time.Now()
}

func (r *Room) log() *slog.Logger {
	if r.Log != nil {
		return r.Log
	}
	return slog.New(slog.DiscardHandler)
}

// control is what tells one power control, or one of its outlets, from
// another; empty: several machines may well have the same.
func control(p api.Power) string {
	switch p.Driver {
	case api.PowerIPMI, api.PowerRedfish:
		return strings.Join([]string{"bmc", strings.ToLower(p.Address), p.System}, "\x00")
	case api.PowerCommand:
		return strings.Join(append([]string{"command", p.Address}, p.Command...), "\x00")
	}
	return ""
}

// driver makes the driver of a machine. By what a machine is known there is
// what the operator says of it alone: what it has claimed of itself could be
// another's.
func (r *Room) driver(ctx context.Context, m *fleet.Record) (power.Driver, error) {
	if r.Open != nil {
		return r.Open(ctx, m)
	}
	p := m.Spec.Power
	secret, _, err := r.Secrets.Get(ctx, account(p))
	if err != nil {
		return nil, err
	}
	switch p.Driver {
	case api.PowerIPMI:
		return &ipmi.Driver{Address: p.Address, User: p.User, Password: secret, Suites: &r.suites}, nil
	case api.PowerRedfish:
		trust, err := r.trust(ctx, p)
		if err != nil {
			return nil, err
		}
		return &redfish.Driver{
			Address: p.Address, User: p.User, Password: secret, System: p.System, UUID: m.Spec.UUID, Serial: m.Spec.Serial, Trust: trust,
		}, nil
	case api.PowerWOL:
		d := &wol.Driver{Address: p.Address}
		for _, text := range m.Spec.MACs {
			if mac, err := net.ParseMAC(text); err == nil {
				d.MACs = append(d.MACs, mac)
			}
		}
		return d, nil
	case api.PowerCommand:
		return &command.Driver{
			Dir: r.Programs, Argv: p.Command, Address: p.Address, User: p.User, Password: secret, Machine: fleet.Called(m), MACs: m.Spec.MACs,
		}, nil
	}
	return nil, &fleet.ConflictError{
		Problem: fleet.Called(m) + " has no power control",
		Help: "say how its power is controlled: gild machine edit " + fleet.Called(m) + " --power-driver ipmi --power-address BMC " +
			"--power-user USER --power-secret FILE",
	}
}

// kindPin is of the documents with the certificates that BMCs were first seen
// with, by their addresses.
const kindPin = "power-pin"

func pinName(p api.Power) string { return account(api.Power{Driver: p.Driver, Address: p.Address}) }

// trust is how a BMC is known: by the CA, by the pin of its machine, or by the
// one that is kept since it was first seen.
func (r *Room) trust(ctx context.Context, p api.Power) (redfish.Trust, error) {
	t := redfish.Trust{CA: r.CA, Pin: p.Pin}
	if t.Pin != "" {
		t.CA = nil // it says more
		return t, nil
	}
	if t.CA != nil {
		return t, nil
	}
	if _, err := docs.Get(ctx, r.Store.Space, kindPin, pinName(p), &t.Pin); err != nil {
		return t, err
	}
	t.First = func(pin string) error {
		created, err := docs.Create(ctx, r.Store.Space, kindPin, pinName(p), pin)
		if err == nil && !created { // somebody was faster, and may have seen another
			var now string
			if _, err = docs.Get(ctx, r.Store.Space, kindPin, pinName(p), &now); err == nil && now != pin {
				err = errors.New("two certificates were seen at the same time")
			}
		}
		if err != nil {
			return power.Fail(power.Untrusted, "pinning the certificate of the BMC", err)
		}
		r.log().Info("the certificate of a BMC is pinned", "bmc", p.Address, "pin", pin)
		return nil
	}
	return t, nil
}

// sweepEvery is how often what nothing uses any more is removed.
const sweepEvery = time.Hour

// Run removes passwords and pins that no machine uses any more, until ctx ends.
func (r *Room) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := r.sweep(ctx); err != nil && ctx.Err() == nil {
			r.log().Warn("passwords that no machine uses stay for now", "err", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *Room) sweep(ctx context.Context) error {
	all, _, err := r.Store.List(ctx)
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for i := range all {
		p := all[i].Spec.Power
		used[account(p)], used[pinName(p)] = true, true
		if all[i].Damaged() {
			return fmt.Errorf("machine %s cannot be read", all[i].ID) // it may use any
		}
	}
	if err := r.Secrets.Sweep(ctx, func(name string) bool { return used[name] }); err != nil {
		return err
	}
	pins, err := docs.List[string](ctx, r.Store.Space, kindPin)
	if err != nil {
		return err
	}
	for name := range pins {
		if !used[name] {
			if err := docs.Delete(ctx, r.Store.Space, kindPin, name); err != nil {
				return err
			}
		}
	}
	return nil
}
