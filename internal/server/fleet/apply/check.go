package apply

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/server/clone"
	"github.com/gild-dev/gild/internal/server/fleet/selector"
	"github.com/gild-dev/gild/internal/server/fleet/specs"
)

// FieldError is what is wrong with one part of a fleet.
type FieldError struct {
	Path string // as in its JSON: "machines[3]"
	Err  error
}

func (e *FieldError) Error() string { return e.Path + ": " + e.Err.Error() }
func (e *FieldError) Unwrap() error { return e.Err }

// BadFilesError is everything that is wrong with a fleet; nothing of it was
// applied.
type BadFilesError struct{ Fields []*FieldError }

func (e *BadFilesError) Error() string {
	lines := make([]string, len(e.Fields))
	for i, f := range e.Fields {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// Check checks everything that files say, alone and of each other, and brings
// its machines into the form of [fleet.CheckSpec]. stored are the identities
// that the server has already. An error is a *BadFilesError with all that is
// wrong.
func Check(f api.Fleet, stored map[string]api.Identity) error {
	c := checker{fleet: f, stored: stored}
	c.machines()
	c.groups()
	for _, name := range slices.Sorted(maps.Keys(f.Identities)) {
		at := fmt.Sprintf("identities.%.63s", name)
		c.add(at, specs.CheckName(name))
		if name == specs.NoIdentity {
			c.add(at, errors.New(`"none" means no identity and cannot name one`))
		}
		c.add(at, clone.Check(f.Identities[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(f.Images)) {
		if _, err := golden.ParseDigest(f.Images[name]); err != nil {
			c.add(fmt.Sprintf("images.%.128s", name), fmt.Errorf("%.80q is no digest: it looks like sha256: and 64 hex digits", f.Images[name]))
		}
	}
	return c.err()
}

type checker struct {
	fleet  api.Fleet
	stored map[string]api.Identity
	errs   []*FieldError
}

func (c *checker) err() error {
	if len(c.errs) == 0 {
		return nil
	}
	return &BadFilesError{c.errs}
}

func (c *checker) add(at string, err error) {
	if err != nil {
		c.errs = append(c.errs, &FieldError{at, err})
	}
}

func (c *checker) machines() {
	first := map[string]int{} // name or label -> index of the machine that has it
	for i := range c.fleet.Machines {
		s, at := &c.fleet.Machines[i], fmt.Sprintf("machines[%d]", i)
		if err := specs.Check(s); err != nil {
			c.add(at, err)
			continue
		}
		c.identity(at, s.Flash.Identity)
		for _, l := range specs.Labels(*s) {
			if j, ok := first[l]; ok && j != i {
				c.add(at, fmt.Errorf("%s is that of machines[%d] already", l, j))
				continue
			}
			first[l] = i
		}
	}
}

func (c *checker) groups() {
	first := map[string]int{}
	for i, g := range c.fleet.Groups {
		at := fmt.Sprintf("groups[%d]", i)
		c.add(at, specs.CheckName(g.Name))
		if j, ok := first[g.Name]; ok {
			c.add(at, fmt.Errorf("the name %.63q is that of groups[%d] already", g.Name, j))
		} else {
			first[g.Name] = i
		}
		_, err := selector.ForGroup(g.Selector)
		c.add(at+".selector", err)
		c.add(at+".flash", specs.CheckSettings(g.Flash))
		c.add(at+".values", specs.CheckPairs("values", g.Values))
		c.identity(at, g.Flash.Identity)
	}
}

func (c *checker) identity(at, name string) {
	_, said := c.fleet.Identities[name]
	if _, stored := c.stored[name]; !said && !stored && name != "" && name != specs.NoIdentity {
		c.add(at+".flash.identity", fmt.Errorf("there is no identity %.63q, neither here nor on the server", name))
	}
}
