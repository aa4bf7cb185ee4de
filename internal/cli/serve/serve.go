// Package serve is the command that runs a server.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/busybox"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/flags"
	"github.com/gild-dev/gild/internal/cli/term"
	"github.com/gild-dev/gild/internal/server"
	"github.com/gild-dev/gild/internal/server/bootspec"
	"github.com/gild-dev/gild/internal/server/memory"
	"github.com/gild-dev/gild/internal/server/segment"
	"github.com/gild-dev/gild/internal/version"
)

const long = `Serve network boots: DHCP, TFTP and HTTP.

A machine boots from its local disk unless it is armed with gild flash. With
--dhcp auto the server first looks for another DHCP server: if there is one, it
only adds boot files to that server's leases (proxy); otherwise it leases
addresses itself.

Every flag below can also be set in a configuration file, by its name; the
command line takes precedence. The file is parsed strictly:

  interface: eth1
  dhcp: server
  range: 10.0.7.100-10.0.7.199
  dns: [10.0.0.53]
  discover: web`

// options are the flags of gild serve.
type options struct{ flags.Serve }

// commands are run with what every command works with.
type commands struct{ *app.App }

// Command is `gild serve`.
func Command(with *app.App, settings flags.ReadSettings) *cobra.Command {
	a := commands{with}
	var o options
	cmd := &cobra.Command{
		Use:   "serve --interface IF",
		Short: "serve machines that boot from the network",
		Long:  long,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := settings(o.Config, cmd.LocalNonPersistentFlags()); err != nil {
				return err
			}
			return a.run(cmd.Context(), o)
		},
	}
	o.Register(cmd.Flags())
	return cmd
}

func (a commands) run(ctx context.Context, o options) error {
	if o.Interface == "" {
		return exit.Usage(exit.Hint(errors.New("--interface is missing"),
			"give the network interface that faces the machines; `ip -br address` lists them"))
	}
	log := a.logger(o.Verbose)
	limit, from := memory.Set()
	log.Info("memory", "limit", limit>>20, "unit", "MiB", "from", from)
	for {
		err := a.serve(ctx, o, log, limit)
		if !errors.Is(err, segment.ErrMoved) || ctx.Err() != nil {
			return err
		}
		// The interface has another address now, which everything names.
	}
}

// serve runs the server until ctx ends or its address has changed.
func (a commands) serve(ctx context.Context, o options, log *slog.Logger, limit int64) error {
	network, why, err := o.network(ctx, log)
	if err != nil {
		return err
	}
	var shell *bootspec.Busybox
	if o.Rescue {
		if shell, err = busybox.Find(); err != nil {
			return err
		}
	}
	st, err := a.OpenStore()
	if err != nil {
		return err
	}
	if o.Discover != "" {
		if _, err := st.Resolve(o.Discover); err != nil {
			fmt.Fprintf(a.Stderr,
				"warning: unknown machines will boot from their disks, because --discover names an image that is not here: %s\n         add "+
					"it with `gild image add %s FILE`\n",
				term.Printable(err.Error()), term.Printable(o.Discover))
		}
	}
	if o.Kernel != "" {
		if _, err := st.Kernels().Get(o.Kernel); err != nil {
			fmt.Fprintf(a.Stderr,
				"warning: the newest boot kernel is used, because --boot-kernel names one that is not here: %s\n         add it with `gild "+
					"kernel add %s FILE.deb`\n",
				term.Printable(err.Error()), term.Printable(o.Kernel))
		}
	}
	certificate, err := o.certificate()
	if err != nil {
		return err
	}
	bmcs, err := o.bmcCA()
	if err != nil {
		return err
	}
	cluster, err := o.Etcd.Cluster(a.EtcdPassword)
	if err != nil {
		return err
	}
	return server.Server{
		State:        server.State{DataDir: a.Data, Etcd: cluster, Prefix: o.Etcd.Prefix},
		Store:        st,
		Network:      network,
		BootAddr:     net.JoinHostPort(network.Address.Addr().String(), strconv.Itoa(o.Port)),
		OperatorAddr: o.Operator,
		OperatorTLS:  certificate,
		BMCCA:        bmcs,
		Busybox:      shell,
		Discover:     o.Discover,
		BootKernel:   o.Kernel,
		ArmExpires:   int(o.ArmsLast),
		Version:      version.String(),
		Memory:       limit,
		Log:          log,
		Confine:      a.Confine,
		Owned:        slices.Concat([]string{o.Cert, o.Key, o.BMCCA}, o.Etcd.Files(), o.IPXEDirs),
		Ready: func(addrs server.Addrs) {
			fmt.Fprintln(a.Stderr, why)
			scheme := "http"
			if certificate != nil {
				scheme = "https"
			}
			fmt.Fprintf(a.Stderr, "machines boot from %s, the operator API and the dashboard are at %s://%s\n", addrs.BaseURL, scheme,
				addrs.Operator)
			if addrs.NewToken != "" {
				fmt.Fprintf(a.Stderr, "admin token (shown only once; the dashboard and --server require it): %s\n", addrs.NewToken)
			}
			if a.Ready != nil {
				if err := a.Ready(); err != nil {
					log.Warn("cannot notify the service manager", "err", err)
				}
			}
			fmt.Fprintln(a.Stderr, "ready: `gild flash MAC --image NAME` arms a machine, `gild machine ls` lists machines")
		},
	}.Run(ctx)
}

// logger writes what happens to standard error, for people or, with --json,
// for machines.
func (a commands) logger(verbose bool) *slog.Logger {
	o := &slog.HandlerOptions{Level: slog.LevelInfo}
	if verbose {
		o.Level = slog.LevelDebug
	}
	if a.JSON {
		return slog.New(slog.NewJSONHandler(a.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(a.Stderr, o))
}
