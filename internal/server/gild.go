package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"path/filepath"

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/store"
	"github.com/gild-dev/gild/internal/server/bootspec"
	"github.com/gild-dev/gild/internal/server/httpd"
	"github.com/gild-dev/gild/internal/server/machines"
	"github.com/gild-dev/gild/internal/server/service"
	"github.com/gild-dev/gild/internal/server/state/etcd"
)

// Config is what an operator decides about a server.
type Config struct {
	DataDir      string
	Etcd         *etcd.Cluster // nil: an etcd in this process
	Prefix       string        // of all keys in etcd; empty is DefaultPrefix
	Store        *store.Store
	Network      Network
	BootAddr     string // host and port of boot HTTP
	OperatorAddr string
	OperatorTLS  *tls.Config       // nil: plain HTTP
	Discover     string            // name of an image that unknown machines boot the agent of, to report what they are; empty: they boot their disk
	BootKernel   string            // name of the boot kernel; empty: the newest that fits a machine
	ArmExpires   int               // seconds that an arm stands which does not say it; 0: a day, api.NeverExpires: for ever
	Busybox      *bootspec.Busybox // puts a rescue shell into every initramfs; nil: none
	Version      string
	Memory       int64 // that the process may use, bytes; 0: any amount
	Ready        func(Addrs)
	Confine      func(owned ...string) error // see Server
	Owned        []string
	Log          *slog.Logger
}

// New puts a whole server together: the store behind HTTP, DHCP and TFTP on
// the boot network, the operator API on loopback.
func New(c Config) *Server {
	log := cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	files := c.bootFiles()
	return &Server{
		DataDir:      c.DataDir,
		Etcd:         c.Etcd,
		Prefix:       c.Prefix,
		BootAddr:     c.BootAddr,
		OperatorAddr: c.OperatorAddr,
		OperatorTLS:  c.OperatorTLS,
		AskAll:       true,
		Boot: httpd.Boot{
			BaseURL: c.Network.BaseURL,
			Images:  storedImages{c.Store, log},
			Specs:   files,
			Scripts: scripts(),
			NBP:     c.Network.OpenNBP,
		},
		Pins:        c.Store,
		ImageStore:  c.Store,
		RemoveImage: c.Store.Remove,
		Boots:       boots(files),
		Discover:    c.Discover,
		ArmExpires:  c.ArmExpires,
		Protocols: append(c.Network.Protocols(),
			service.Opener[*machines.Core]{Name: "initramfs", Open: building(files, log)},
			service.Opener[*machines.Core]{Name: "images", Open: machines.OpenPins(log)}),
		Version: c.Version,
		Memory:  c.Memory,
		Ready:   c.Ready,
		Confine: c.Confine,
		Owned:   c.Owned,
		Log:     log,
	}
}

// Stored shows what is stored as a server shows it, and says why an image
// could not be booted, without a server running.
func Stored(c Config) (images httpd.Images, bootable func(golden.Digest) error) {
	log := cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	return storedImages{c.Store, log}, c.bootFiles().Bootable
}

// bootFiles are what machines boot, from what is stored.
func (c Config) bootFiles() *bootspec.Files {
	return &bootspec.Files{Store: c.Store, Busybox: c.Busybox, BootKernel: c.BootKernel, Dir: filepath.Join(c.DataDir, "initramfs")}
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
