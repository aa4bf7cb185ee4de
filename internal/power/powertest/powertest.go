// Package powertest is the contract of a power driver, for the tests of each.
package powertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/power"
	"github.com/gild-dev/gild/internal/printable"
)

// Secret is the password that a Rig gives its drivers: no error may show it.
const Secret = "CANARY-pw-4A7E"

// Rig is one machine, its power control, and a driver for it.
type Rig struct {
	// Driver speaks to the power control, which is reachable and lets it in.
	Driver power.Driver
	// Can are the verbs that the driver has; every other one MUST be
	// Unsupported and change nothing.
	Can []power.Verb
	// Boots are the devices that BootOnce knows; none: every one.
	Boots []power.Device
	// Set brings the machine into a state, and State reads it, both past the
	// driver; nil: nobody knows it.
	Set   func(power.State)
	State func() power.State
	// Did are the commands that the machine has seen, in the order of their
	// coming, without those that only read: "on", "off", "shutdown", "cycle",
	// "reset", "boot network", "identify". A cycle may show as off and on.
	Did func() []string
	// Wrong is a driver with another password, Dead one whose power control
	// does not answer; nil: there is no such thing.
	Wrong, Dead power.Driver
}

// Run checks that a driver keeps its contract. start makes a new Rig, whose
// machine is on where it has a state.
func Run(t *testing.T, start func(t *testing.T) Rig) {
	t.Run("verbs", func(t *testing.T) { verbs(t, start) })
	t.Run("unsupported", func(t *testing.T) { unsupported(t, start(t)) })
	t.Run("orderly", func(t *testing.T) { orderly(t, start(t)) })
	t.Run("boot once", func(t *testing.T) { bootOnce(t, start(t)) })
	t.Run("ended context", func(t *testing.T) { ended(t, start(t)) })
	t.Run("denied", func(t *testing.T) { denied(t, start(t)) })
	t.Run("dead", func(t *testing.T) { dead(t, start(t)) })
}

// limit bounds each request: far more than any takes.
const limit = time.Minute

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// all are the verbs, with a way to ask a driver for each.
var all = []struct {
	verb power.Verb
	call func(context.Context, power.Driver) error
}{
	{power.VerbStatus, func(ctx context.Context, d power.Driver) error { _, err := d.Status(ctx); return err }},
	{power.VerbOn, func(ctx context.Context, d power.Driver) error { return d.On(ctx) }},
	{power.VerbOff, func(ctx context.Context, d power.Driver) error { return d.Off(ctx, false) }},
	{power.VerbCycle, func(ctx context.Context, d power.Driver) error { return d.Cycle(ctx) }},
	{power.VerbReset, func(ctx context.Context, d power.Driver) error { return d.Reset(ctx) }},
	{power.VerbBootOnce, func(ctx context.Context, d power.Driver) error {
		return d.BootOnce(ctx, power.Boot{Device: power.Network})
	}},
	{power.VerbIdentify, func(ctx context.Context, d power.Driver) error { return d.Identify(ctx, 15*time.Second) }},
}

// verbs asks for each verb that there is, and looks at what the machine saw.
func verbs(t *testing.T, start func(t *testing.T) Rig) {
	for _, tt := range []struct {
		request power.Request
		from    power.State // of the machine, before
		want    power.State // after
		did     string      // the first command that it saw; empty: none
	}{
		{power.Request{Verb: power.VerbStatus}, power.On, power.On, ""},
		{power.Request{Verb: power.VerbStatus}, power.Off, power.Off, ""},
		{power.Request{Verb: power.VerbOn}, power.Off, power.On, "on"},
		{power.Request{Verb: power.VerbOff}, power.On, power.Off, "off"},
		{power.Request{Verb: power.VerbCycle}, power.On, power.On, "cycle"},
		{power.Request{Verb: power.VerbCycle}, power.Off, power.On, "on"},
		{power.Request{Verb: power.VerbReset}, power.On, power.On, "reset"},
		{power.Request{Verb: power.VerbIdentify, Lasting: 15 * time.Second}, power.On, power.On, "identify"},
	} {
		t.Run(fmt.Sprintf("%s from %s", tt.request.Verb, tt.from), func(t *testing.T) {
			r := start(t)
			if !slices.Contains(r.Can, tt.request.Verb) {
				t.Skip("this driver has no such verb")
			}
			if r.Set == nil && tt.from == power.On && tt.request.Verb == power.VerbOff {
				t.Skip("nobody knows the state")
			}
			if r.Set != nil {
				r.Set(tt.from)
			}
			got, err := power.Do(within(t), r.Driver, tt.request)
			if err != nil {
				t.Fatalf("Do(%s) = %v", tt.request.Verb, err)
			}
			if r.Set != nil && (got != tt.want || r.State() != tt.want) {
				t.Errorf("Do(%s) = %s, and the machine is %s; want %s", tt.request.Verb, got, r.State(), tt.want)
			}
			did := r.Did()
			first := ""
			if len(did) > 0 {
				first = did[0]
			}
			if cut := tt.did == "cycle" && first == "off"; first != tt.did && !cut {
				t.Errorf("Do(%s): the machine saw %q; want %q first", tt.request.Verb, did, tt.did)
			}
		})
	}
}

func unsupported(t *testing.T, r Rig) {
	for _, v := range all {
		err := v.call(within(t), r.Driver)
		if can := slices.Contains(r.Can, v.verb); can == errors.Is(err, power.Unsupported) {
			// A reset or cycle may be refused by the state that an earlier verb left.
			if !can || v.verb != power.VerbCycle && v.verb != power.VerbReset {
				t.Errorf("%s = %v; the driver has it: %v", v.verb, err, can)
			}
		}
		checkText(t, err)
	}
	for _, did := range r.Did() {
		if !slices.ContainsFunc(verbsOf(did), func(v power.Verb) bool { return slices.Contains(r.Can, v) }) {
			t.Errorf("the machine saw %q, which the driver has not", did)
		}
	}
}

// verbsOf are the verbs that a command can come of.
func verbsOf(did string) []power.Verb {
	switch command, _, _ := strings.Cut(did, " "); command {
	case "boot":
		return []power.Verb{power.VerbBootOnce}
	case "shutdown":
		return []power.Verb{power.VerbOff}
	case "on", "off":
		return []power.Verb{power.Verb(command), power.VerbCycle}
	default:
		return []power.Verb{power.Verb(command)}
	}
}

func orderly(t *testing.T, r Rig) {
	if !slices.Contains(r.Can, power.VerbOff) {
		t.Skip("this driver has no such verb")
	}
	if err := r.Driver.Off(within(t), true); err != nil {
		t.Fatalf("Off(orderly) = %v", err)
	}
	if did := r.Did(); len(did) == 0 || did[0] != "shutdown" {
		t.Errorf("Off(orderly): the machine saw %q; want a shutdown", did)
	}
}

func bootOnce(t *testing.T, r Rig) {
	if !slices.Contains(r.Can, power.VerbBootOnce) {
		t.Skip("this driver has no such verb")
	}
	for _, legacy := range []bool{false, true} {
		for _, d := range []power.Device{power.Network, power.Disk, power.CD, power.HTTP} {
			before := len(r.Did())
			err := r.Driver.BootOnce(within(t), power.Boot{Device: d, Legacy: legacy})
			if has := len(r.Boots) == 0 || slices.Contains(r.Boots, d); !has {
				if !errors.Is(err, power.Unsupported) || len(r.Did()) != before {
					t.Errorf("BootOnce(%s) = %v, and the machine saw %q; want Unsupported, and nothing", d, err, r.Did()[before:])
				}
				continue
			}
			did := r.Did()
			if err != nil || len(did) == 0 || did[len(did)-1] != "boot "+string(d) {
				t.Errorf("BootOnce(%s) = %v, and the machine saw %q", d, err, did)
			}
		}
	}
	if r.State != nil && r.State() != power.On {
		t.Errorf("setting what the next boot is from has switched the machine %s", r.State())
	}
}

// ended asks with a context that is over: nothing is sent that changes
// anything.
func ended(t *testing.T, r Rig) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, v := range all {
		if err := v.call(ctx, r.Driver); err == nil {
			t.Errorf("%s with a context that is over = nil; want an error", v.verb)
		}
	}
	if did := r.Did(); len(did) > 0 {
		t.Errorf("the machine saw %q; want nothing", did)
	}
}

func denied(t *testing.T, r Rig) {
	if r.Wrong == nil {
		t.Skip("this driver has no password")
	}
	_, err := power.Do(within(t), r.Wrong, power.Request{Verb: power.VerbOn})
	if !errors.Is(err, power.Denied) {
		t.Errorf("Do with a wrong password = %v; want Denied", err)
	}
	checkText(t, err)
	if did := r.Did(); len(did) > 0 {
		t.Errorf("the machine saw %q; want nothing", did)
	}
}

func dead(t *testing.T, r Rig) {
	if r.Dead == nil {
		t.Skip("nobody can tell")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := power.Do(ctx, r.Dead, power.Request{Verb: power.VerbOn})
	if !errors.Is(err, power.Unreachable) {
		t.Errorf("Do without an answer = %v; want Unreachable", err)
	}
	checkText(t, err)
}

// checkText looks at what an operator would be shown.
func checkText(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	text := err.Error()
	if strings.Contains(text, Secret) {
		t.Errorf("an error shows the password: %s", text)
	}
	if printable.Mark(text) != text {
		t.Errorf("an error holds what may not be shown: %q", text)
	}
	if _, typed := errors.AsType[*power.Error](err); !typed {
		t.Errorf("%v is no *power.Error", err)
	}
}
