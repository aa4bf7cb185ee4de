package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/finding"
	"github.com/gild-dev/gild/internal/cli/flags"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/store"
	"github.com/gild-dev/gild/internal/server/bootspec"
	"github.com/gild-dev/gild/internal/server/dhcpd"
	"github.com/gild-dev/gild/internal/server/stored"
)

// commands are run with what every command works with.
type commands struct{ *app.App }

// Command is `gild doctor`.
func Command(with *app.App, settings flags.ReadSettings) *cobra.Command {
	a := commands{with}
	var o flags.Serve
	cmd := &cobra.Command{
		Use:   "doctor --interface IF",
		Short: "check what would prevent machines from booting from this server",
		Long: `Check this host as a gild server: settings, data directory, disk space, state,
images, iPXE, the interface and its address, ports, firewall, other DHCP servers,
the certificate of the operator API, the clock. Beside a running server, also the
machines that do not get as far as its agent. Nothing is changed. It reads the same
configuration file and takes the same flags as gild serve, before the first start
or while it is running. Exit code 1 means that machines cannot boot.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			read, err := settings(o.Config, cmd.LocalNonPersistentFlags())
			if err != nil {
				return err
			}
			return a.run(cmd.Context(), o, read)
		},
	}
	o.Register(cmd.Flags())
	return cmd
}

func (a commands) run(ctx context.Context, o flags.Serve, read string) error {
	p, err := a.patient(o)
	if err != nil {
		return err
	}
	p.Settings = read
	all := []Finding{}
	Examine(ctx, p, func(f Finding) {
		all = append(all, f)
		if !a.JSON {
			f.Print(&a.Console)
		}
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if a.JSON {
		if err := a.PrintJSON(all); err != nil {
			return err
		}
	}
	switch problems := finding.Problems(all); problems {
	case 0:
		return nil
	case 1:
		return errors.New("1 problem: machines cannot boot from this server")
	default:
		return fmt.Errorf("%d problems: machines cannot boot from this server", problems)
	}
}

func (a commands) patient(o flags.Serve) (*Patient, error) {
	modes := map[string]dhcpd.Mode{"auto": dhcpd.Full, "server": dhcpd.Full, "proxy": dhcpd.Proxy, "off": dhcpd.Off}
	mode, ok := modes[o.DHCP]
	if !ok {
		return nil, exit.Usage(fmt.Errorf("--dhcp %.20q is not auto, server, proxy or off", o.DHCP))
	}
	address, err := o.OwnAddress()
	if err != nil {
		return nil, exit.Usage(err)
	}
	p := &Patient{
		Address: address, Discover: o.Discover, Kernel: o.Kernel, Cert: o.Cert, Key: o.Key,
		DataDir: a.Data, Interface: o.Interface, Mode: mode, Auto: o.DHCP == "auto", Port: o.Port, Operator: o.Operator, Advertise: o.Advertise,
		IPXEDirs: o.IPXEDirs,
		Images:   func() ([]api.Image, error) { return nil, nil },
		Kernels:  func() (map[string]string, error) { return nil, nil },
		Bootable: func(string) error { return nil },
		State:    a.stateUsage,
		Answers:  a.answers,
		Servers: func(ctx context.Context) ([]api.Server, error) {
			op, err := a.Operator()
			if err != nil {
				return nil, err
			}
			return op.Servers(ctx)
		},
		Machines: func(ctx context.Context) ([]api.Machine, error) {
			op, err := a.Operator()
			if err != nil {
				return nil, err
			}
			return op.Machines(ctx, "")
		},
		Events: func(ctx context.Context, id string) ([]api.Event, error) {
			op, err := a.Operator()
			if err != nil {
				return nil, err
			}
			return op.Events(ctx, id)
		},
	}
	// Opening the store would make it.
	if _, err := os.Stat(a.Data); err != nil {
		return p, nil //nolint:nilerr // no data directory is one of the findings
	}
	var st *store.Store
	open := func() (err error) {
		if st == nil {
			st, err = a.OpenStore()
		}
		return err
	}
	p.Images = func() ([]api.Image, error) {
		if err := open(); err != nil {
			return nil, err
		}
		return stored.Images{Store: st}.List(context.Background())
	}
	p.Kernels = func() (map[string]string, error) {
		if err := open(); err != nil {
			return nil, err
		}
		all, err := st.Kernels().List()
		named := map[string]string{}
		for _, k := range all {
			named[k.Name] = k.Config.Arch
		}
		return named, err
	}
	p.Bootable = func(digest string) error {
		return (&bootspec.Files{Store: st, BootKernel: o.Kernel}).Bootable(golden.Digest(digest))
	}
	return p, nil
}

// stateUsage asks the running server how full its state is.
func (a commands) stateUsage(ctx context.Context) (api.StateUsage, error) {
	op, err := a.Operator()
	if err != nil {
		return api.StateUsage{}, err
	}
	return op.StateUsage(ctx)
}

// answers asks a boot server whether it lives, and what time it has.
func (a commands) answers(ctx context.Context, url string) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/healthz", nil)
	if err != nil {
		return time.Time{}, err
	}
	resp, err := a.HTTPClient().Do(req)
	if err != nil {
		return time.Time{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 16))
	if err != nil {
		return time.Time{}, err
	}
	if string(text) != "ok\n" {
		return time.Time{}, fmt.Errorf("something that is not gild answers at %s", url)
	}
	date, err := http.ParseTime(resp.Header.Get("Date"))
	return cmp.Or(date, time.Now()), err
}
