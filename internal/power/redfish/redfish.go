// Package redfish controls power by DMTF Redfish over HTTPS.
//
// Each command logs in, finds the system, does one thing, and logs out: BMCs
// have few sessions. What BMCs do differently stands in a table, see quirks.go.
package redfish

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/power"
)

// Driver speaks to one BMC about one system.
type Driver struct {
	// Address is the BMC's: HOST, HOST:PORT, or a URL. http:// has to be said:
	// the password then goes over the network in the clear.
	Address        string
	User, Password string
	// System is the ID of the system, for a BMC that has several; empty: the
	// one that UUID or Serial is of, else the only one that can be reset.
	System       string
	UUID, Serial string
	Trust        Trust
}

// resetAction is the action that every power command is.
const resetAction = "#ComputerSystem.Reset"

// with logs in, finds the system, does something with it and logs out.
func (d *Driver) with(ctx context.Context, op string, do func(context.Context, *system) error) error {
	c, err := d.client()
	if err != nil {
		return power.Fail(power.Failed, op, err)
	}
	err = c.login(ctx)
	defer c.logout(context.WithoutCancel(ctx))
	if err == nil {
		var s *system
		if s, err = d.find(ctx, c); err == nil {
			err = do(ctx, s)
		}
	}
	return c.failure(op, err)
}

// system is a ComputerSystem as it was read.
type system struct {
	c     *client
	path  string
	data  object
	quirk quirk
}

// maxSystems bounds how many systems of a BMC are looked at.
const maxSystems = 16

// find finds the machine's system.
func (d *Driver) find(ctx context.Context, c *client) (*system, error) {
	list, err := c.get(ctx, c.root.at("Systems").link())
	if err != nil {
		return nil, err
	}
	var all []*system
	for _, m := range list.list("Members") {
		if len(all) == maxSystems {
			break
		}
		path := m.link()
		data, err := c.get(ctx, path)
		if err != nil {
			return nil, err
		}
		all = append(all, &system{c: c, path: path, data: data, quirk: quirkOf(c.root, data)})
	}
	for _, is := range []func(*system) bool{
		func(s *system) bool { return d.System != "" && s.data.text("Id") == d.System },
		func(s *system) bool { return d.UUID != "" && strings.EqualFold(s.data.text("UUID"), d.UUID) },
		func(s *system) bool {
			return d.Serial != "" && slices.Contains([]string{s.data.text("SerialNumber"), s.data.text("SKU")}, d.Serial)
		},
		func(s *system) bool { return d.System == "" && len(all) == 1 },
		// A baseboard of accelerators is listed too, and is no host.
		func(s *system) bool {
			return d.System == "" && s.data.at("Actions").has(resetAction) &&
				(s.data.has("EthernetInterfaces") || s.data.at("Boot").has("BootOptions"))
		},
	} {
		var found []*system
		for _, s := range all {
			if is(s) {
				found = append(found, s)
			}
		}
		if len(found) == 1 {
			return found[0], nil
		}
	}
	var ids []string
	for _, s := range all {
		ids = append(ids, s.data.text("Id"))
	}
	return nil, &power.Error{
		Kind: power.Failed, Op: "finding the system",
		Err:  fmt.Errorf("the BMC has %d systems (%s), and none of them is surely the machine", len(all), shown(strings.Join(ids, ", "))),
		Help: "name one of them: the power setting `system`",
	}
}

func (s *system) state() power.State { return power.ParseState(s.data.text("PowerState")) }

// reset sends the first of some reset types that the system offers.
func (s *system) reset(ctx context.Context, verb power.Verb, types ...string) error {
	action := s.data.at("Actions").at(resetAction)
	target := action.text("target")
	if target == "" {
		return power.Cannot("this BMC", verb)
	}
	offered, err := s.c.allowed(ctx, action, "ResetType")
	if err != nil {
		return err
	}
	for _, t := range types {
		if len(offered) > 0 && !slices.Contains(offered, t) {
			continue
		}
		_, err := s.c.do(ctx, "POST", target, map[string]any{"ResetType": t}, nil)
		return err
	}
	return power.Cannot("this BMC", verb)
}

// bring is a reset whose effect is a state: several BMCs refuse it when the
// state is there already.
func (s *system) bring(ctx context.Context, want power.State, verb power.Verb, types ...string) error {
	err := s.reset(ctx, verb, types...)
	answer, refused := errors.AsType[*answerError](err)
	if !refused || answer.status != 400 && answer.status != 409 {
		return err
	}
	if now, again := s.c.get(ctx, s.path); again == nil && power.ParseState(now.text("PowerState")) == want {
		return nil
	}
	return err
}

// Status reads PowerState.
func (d *Driver) Status(ctx context.Context) (power.State, error) {
	state := power.Unknown
	err := d.with(ctx, "reading the power state", func(_ context.Context, s *system) error {
		state = s.state()
		return nil
	})
	return state, err
}

// On switches the machine on.
func (d *Driver) On(ctx context.Context) error {
	return d.with(ctx, "switching on", func(ctx context.Context, s *system) error {
		return s.bring(ctx, power.On, power.VerbOn, "On", "ForceOn")
	})
}

// Off cuts the power; orderly: asks the operating system to shut down.
func (d *Driver) Off(ctx context.Context, orderly bool) error {
	reset := "ForceOff"
	if orderly {
		reset = "GracefulShutdown"
	}
	return d.with(ctx, "switching off", func(ctx context.Context, s *system) error {
		return s.bring(ctx, power.Off, power.VerbOff, reset)
	})
}

// Cycle cuts the power and restores it.
func (d *Driver) Cycle(ctx context.Context) error {
	return d.with(ctx, "cycling the power", func(ctx context.Context, s *system) error {
		return s.reset(ctx, power.VerbCycle, "PowerCycle")
	})
}

// Reset resets the machine.
func (d *Driver) Reset(ctx context.Context) error {
	return d.with(ctx, "resetting", func(ctx context.Context, s *system) error {
		return s.reset(ctx, power.VerbReset, "ForceRestart")
	})
}

// BootOnce sets BootSourceOverride for the next boot.
func (d *Driver) BootOnce(ctx context.Context, from power.Boot) error {
	return d.with(ctx, "setting the boot override", func(ctx context.Context, s *system) error {
		return s.bootOnce(ctx, from)
	})
}

// Identify lights the lamp. Redfish has no timer: it blinks until it is asked
// to identify for 0 seconds.
func (d *Driver) Identify(ctx context.Context, lasting time.Duration) error {
	return d.with(ctx, "lighting the lamp", func(ctx context.Context, s *system) error {
		switch {
		case s.data.has("LocationIndicatorActive"):
			return s.c.patch(ctx, s.path, map[string]any{"LocationIndicatorActive": lasting > 0})
		case s.data.has("IndicatorLED"):
			return s.c.patch(ctx, s.path, map[string]any{"IndicatorLED": map[bool]string{true: "Blinking", false: "Off"}[lasting > 0]})
		}
		return power.Cannot("this BMC", power.VerbIdentify)
	})
}
