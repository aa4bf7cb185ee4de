package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/server/bootspec"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/view"
)

// boots puts the answer of bootspec into the words of operators. It refuses
// what a machine would only be told at its next boot.
func boots(files *bootspec.Files) func(view.Proposal) (*api.Boots, error) {
	return func(p view.Proposal) (*api.Boots, error) {
		q := bootspec.Question{Image: golden.Digest(p.Image.Digest), Handoff: p.Request.Handoff}
		if inv := p.Machine.Inventory; inv != nil {
			q.Arch = inv.Arch
		}
		s, err := files.Spec(context.Background(), q)
		if err == nil {
			return &api.Boots{Kernel: s.BootKernel, Release: s.Release, Arch: s.Arch, Handoff: s.Handoff, Why: s.Why}, nil
		}
		if hinted, ok := errors.AsType[interface {
			error
			Hint() string
		}](err); ok {
			err = &fleet.InvalidError{Problem: fmt.Sprintf("no machine can be flashed with image %s: %v", q.Image.Short(), err), Help: hinted.Hint()}
		}
		return nil, err
	}
}
