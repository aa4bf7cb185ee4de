package bmc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/apply"
	"github.com/gild-dev/gild/internal/server/fleet/differ"
	"github.com/gild-dev/gild/internal/server/machines"
	"github.com/gild-dev/gild/internal/server/sealed"
)

// Operators are those of the machines, whose passwords are sealed before
// anything else sees them.
type Operators struct {
	machines.Operators
	Secrets *sealed.Box
}

// account is what a password is kept under: whoever changes the address of a
// power control does not get the password sent there.
func account(p api.Power) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{p.Driver, strings.ToLower(p.Address), p.User}, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// needsSecret reports whether a driver cannot do without a password.
func needsSecret(p api.Power) bool { return p.Driver == api.PowerIPMI || p.Driver == api.PowerRedfish }

// take takes the password out of a spec. Where there is none, one has to be
// kept already.
func (o Operators) take(ctx context.Context, p *api.Power) (secret string, err error) {
	secret, p.Secret = trimmed(p.Secret), ""
	switch {
	case strings.ContainsAny(secret, "\r\n\x00"):
		return "", &fleet.InvalidError{Problem: "power: the password has several lines", Help: "give a file with one line"}
	case secret != "" && p.Driver == "":
		return "", &fleet.InvalidError{Problem: "power: a password, and no driver", Help: "the drivers are ipmi, redfish, wol and command"}
	case secret != "" && p.Driver == api.PowerWOL:
		return "", &fleet.InvalidError{Problem: "power: Wake-on-LAN has no password", Help: "leave it out"}
	case secret != "" || !needsSecret(*p):
		return secret, nil
	}
	has, err := o.Secrets.Has(ctx, account(*p))
	if err == nil && !has {
		err = &fleet.InvalidError{
			Problem: fmt.Sprintf("power: no password is kept for user %q of the BMC %s", p.User, p.Address),
			Help: "give it: --power-secret FILE, or secret: !file FILE. It is kept by driver, address and user, and has to be given again " +
				"when one of them changes",
		}
	}
	return "", err
}

// differs reports whether a password is another than the one that is kept.
func (o Operators) differs(ctx context.Context, p api.Power, secret string) (bool, error) {
	if secret == "" {
		return false, nil
	}
	now, found, err := o.Secrets.Get(ctx, account(p))
	if _, unopened := errors.AsType[*sealed.UnopenedError](err); unopened {
		return true, nil
	}
	return !found || now != secret, err
}

// keep seals a password that differs from the one that is kept.
func (o Operators) keep(ctx context.Context, p api.Power, secret string) error {
	differs, err := o.differs(ctx, p, secret)
	if err == nil && differs {
		err = o.Secrets.Put(ctx, account(p), secret)
	}
	if err != nil {
		err = fmt.Errorf("the machine is stored, and the password of its power control is not: %w", err)
	}
	return err
}

// Register is that of the machines.
func (o Operators) Register(ctx context.Context, actor string, spec api.Spec) (api.Machine, error) {
	secret, err := o.take(ctx, &spec.Power)
	if err != nil {
		return api.Machine{}, err
	}
	m, err := o.Operators.Register(ctx, actor, spec)
	if err != nil {
		return m, err
	}
	return m, o.keep(ctx, spec.Power, secret)
}

// Edit is that of the machines.
func (o Operators) Edit(ctx context.Context, actor, name, revision string, spec api.Spec) (api.Machine, error) {
	secret, err := o.take(ctx, &spec.Power)
	if err != nil {
		return api.Machine{}, err
	}
	m, err := o.Operators.Edit(ctx, actor, name, revision, spec)
	if err != nil {
		return m, err
	}
	return m, o.keep(ctx, spec.Power, secret)
}

// Apply is that of the machines. A password that differs is a change of its
// machine, and is not shown.
func (o Operators) Apply(ctx context.Context, actor string, f api.Fleet, dryRun bool) (api.FleetDiff, error) {
	f.Machines = slices.Clone(f.Machines) // the caller's keep their passwords
	given, err := o.takeAll(ctx, f.Machines)
	if err != nil {
		return api.FleetDiff{}, err
	}
	diff, err := o.Operators.Apply(ctx, actor, f, dryRun)
	if err != nil {
		return diff, err
	}
	for i, spec := range f.Machines {
		differs, err := o.differs(ctx, spec.Power, given[i])
		if err != nil {
			return diff, err
		}
		if !differs {
			continue
		}
		name := nameOf(spec)
		if !slices.ContainsFunc(diff.Changes, func(c api.FleetChange) bool {
			return c.Kind == differ.Machine && c.Name == name && c.Do != differ.Change
		}) {
			diff.Changes = append(diff.Changes, api.FleetChange{
				Kind: differ.Machine, Name: name, Do: differ.Change, Field: "power.secret", Old: "not shown", New: "not shown",
			})
		}
		if dryRun {
			continue
		}
		if err := o.Secrets.Put(ctx, account(spec.Power), given[i]); err != nil {
			return diff, err
		}
	}
	return diff, nil
}

// takeAll takes the passwords out of the machines of a fleet. One account has
// one password, which any of its machines may give.
func (o Operators) takeAll(ctx context.Context, specs []api.Spec) (given []string, err error) {
	var wrong apply.BadFilesError
	given = make([]string, len(specs))
	by := map[string]string{}
	for i := range specs {
		if p := specs[i].Power; p.Secret != "" {
			by[account(p)] = trimmed(p.Secret)
		}
	}
	for i := range specs {
		p := &specs[i].Power
		known := by[account(*p)]
		given[i], err = o.take(ctx, p)
		bad, invalid := errors.AsType[*fleet.InvalidError](err)
		switch {
		case err != nil && !invalid:
			return nil, err
		case invalid && (known == "" || !needsSecret(*p)):
			wrong.Fields = append(wrong.Fields, fieldError(i, bad))
		case given[i] != "" && given[i] != known:
			wrong.Fields = append(wrong.Fields, fieldError(i,
				errors.New("another machine of these files gives another password for the same user of the same power control")))
		}
	}
	if len(wrong.Fields) > 0 {
		return nil, &wrong
	}
	return given, nil
}

func fieldError(i int, err error) *apply.FieldError {
	return &apply.FieldError{Path: fmt.Sprintf("machines[%d].power", i), Err: err}
}

// trimmed is a password as it is meant: a file ends with a newline.
func trimmed(text string) string { return strings.TrimRight(text, "\r\n") }

// nameOf is what a machine is called in a difference.
func nameOf(s api.Spec) string {
	if s.Name != "" {
		return s.Name
	}
	for _, mac := range s.MACs {
		return mac
	}
	return s.UUID + s.Serial
}
