package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/store"
	"github.com/gild-dev/gild/internal/server/bootnet"
	"github.com/gild-dev/gild/internal/server/bootspec"
	"github.com/gild-dev/gild/internal/server/door/firmware"
	"github.com/gild-dev/gild/internal/server/door/operators"
	"github.com/gild-dev/gild/internal/server/door/registry"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/view"
	"github.com/gild-dev/gild/internal/server/machines"
	"github.com/gild-dev/gild/internal/server/service"
	"github.com/gild-dev/gild/internal/server/stored"
)

// images are the stored ones, as every room of the server sees them.
type images interface {
	machines.Images
	operators.Images
	registry.Images
}

// parts are what a server is made of, before its state is open.
type parts struct {
	images images
	// pins keeps the images that machines are armed with; nil: nothing does.
	pins machines.Pins
	// removeImage takes the name of a stored image away; what is pinned stays.
	removeImage func(ctx context.Context, name string) error
	// uploads is where images that operators send go; nil: none are taken.
	uploads *store.Store
	// boots tells what machines boot: see machines.Core.
	boots func(view.Proposal) (*api.Boots, error)
	// firmware is its door; run fills in the machines, and the base URL when
	// that is empty.
	firmware firmware.Door
	// protocols are opened and run beside HTTP: DHCP, TFTP.
	protocols []service.Opener[*machines.Core]
	// open lets whoever comes by loopback in without the admin token.
	open bool
}

// parts puts them together: the store behind HTTP, DHCP and TFTP on the boot
// network.
func (s Server) parts() parts {
	log := cmp.Or(s.Log, slog.New(slog.DiscardHandler))
	files := &bootspec.Files{
		Store: s.Store, Busybox: s.Busybox, BootKernel: s.BootKernel, Dir: filepath.Join(s.State.DataDir, "initramfs"),
	}
	return parts{
		images:      stored.Images{Store: s.Store, Log: log},
		pins:        s.Store,
		removeImage: s.Store.Remove,
		uploads:     s.Store,
		boots:       boots(files),
		firmware:    firmware.Door{BaseURL: s.Network.BaseURL, Specs: files, Scripts: bootnet.Scripts(), NBP: s.Network.OpenNBP},
		protocols: append(s.Network.Protocols(),
			service.Opener[*machines.Core]{Name: "initramfs", Open: building(files, log)},
			service.Opener[*machines.Core]{Name: "images", Open: machines.OpenPins(log)}),
	}
}

// building makes building ahead one of the server's services: it ends with the
// server. A missing agent, which nothing can mend while the server runs, is an
// error.
func building(files *bootspec.Files, log *slog.Logger) func(context.Context, *machines.Core) (service.Service, func() error, error) {
	return func(_ context.Context, m *machines.Core) (service.Service, func() error, error) {
		files.CA = m.CA
		if err := files.Check(); err != nil {
			return nil, nil, err
		}
		run := func(ctx context.Context) error {
			files.Run(ctx, log)
			<-ctx.Done()
			return nil
		}
		return service.Func(run), func() error { return nil }, nil
	}
}

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
