// Demo turns empty virtual machines into running golden Debians over the
// network.
//
// First one, to show that nothing in it ever restarted, then three together,
// watched in the terminal and in the dashboard, then the first one again, which
// runs its new system before that is on the disk.
//
// It is what an operator does by hand: gild image add, gild serve, gild flash,
// then power on. Network, machines and data are its own and are gone when it
// ends, also on Ctrl-C; only the golden image and the picture of the dashboard
// are kept.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/gild-dev/gild/internal/vm"
	"github.com/gild-dev/gild/test/lab"
	"github.com/gild-dev/gild/test/lab/host"
	"github.com/gild-dev/gild/test/lab/images"
)

const (
	mac      = "52:54:00:67:69:6c"
	diskSize = 4 << 30
	login    = "golden login:"
	// Emulation on a busy host is slow; a machine that hangs says nothing.
	bootWait = 15 * time.Minute
	roomWait = 45 * time.Minute
)

func main() {
	gild := flag.String("gild", "bin/gild", "gild `binary` to show")
	image := flag.String("image", "", "golden `image` to flash instead of a Debian made for the demo")
	prompt := flag.String("login", login, "`text` that its console shows when it is up")
	picture := flag.String("screenshot", "bin/demo.png", "`file` for a picture of the dashboard while three machines flash")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	d := &demo{program: *gild, image: *image, foreign: *image != "", prompt: *prompt, picture: *picture, serverLog: prefixed("server | ")}
	if err := errors.Join(d.run(ctx), d.cleanUp()); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// demo is one run, with what it has to clean up.
type demo struct {
	program, image, prompt, picture string
	foreign                         bool // the image is not the demo's own: it may be for any processor

	dir       string
	accel     vm.Accel
	network   *lab.Network
	server    *lab.Server
	serverLog *lines
	dashboard *http.Server

	machine *vm.Machine // of the first and the third act
	disk    string
	tap     string
	alone   time.Duration // from its power-on to its login prompt
	again   time.Time     // when it got its power once more

	room []*member // of the second
	on   time.Time // when the room got its power
}

func say(format string, args ...any) { fmt.Printf("\n\x1b[1m== "+format+"\x1b[0m\n", args...) }

func (d *demo) run(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		d.prepare, d.addImage, d.serve, d.flash, d.proveNoRestart, d.bootAlone,
		d.describe, d.flashTogether, d.watch, d.proveRoom, d.oneAlone,
		d.enterEarly, d.complete, d.proveNoRestart, d.bootAlone,
	} {
		if err := step(ctx); err != nil {
			if ctx.Err() != nil {
				return errors.New("interrupted; everything is cleaned up")
			}
			return err
		}
	}
	say("done: flashed over the network, entered without a restart, alone, together and before the disk was written; they boot by themselves")
	return nil
}

func (d *demo) cleanUp() error {
	var errs []error
	if d.machine != nil {
		_ = d.machine.Close() // a machine in mid-boot has no good way to end
	}
	for _, m := range d.room {
		m.powerOff()
	}
	if d.dashboard != nil {
		_ = d.dashboard.Close() // whoever looks at it sees that it is gone
	}
	if d.server != nil {
		errs = append(errs, d.server.Stop())
	}
	if d.network != nil {
		errs = append(errs, d.network.Close())
	}
	if d.dir != "" {
		errs = append(errs, os.RemoveAll(d.dir))
	}
	return errors.Join(errs...)
}

// prepare makes what the demo stands on: the golden image, an accelerator, a
// network of its own.
func (d *demo) prepare(ctx context.Context) (err error) {
	if d.program, err = filepath.Abs(d.program); err != nil {
		return err
	}
	cache, err := host.Cache()
	if err != nil {
		return err
	}
	if d.dir, err = os.MkdirTemp("", "gild-demo-"); err != nil {
		return err
	}
	builder := &images.Builder{Cache: cache}
	if d.image == "" {
		say("a golden Debian (debootstrap, systemd, GRUB, XFS root, 2 GiB; made once, kept in %s)", cache)
		start := time.Now()
		if d.image, err = builder.Golden(ctx, images.XFSBIOS().Lean()); err != nil {
			return err
		}
		fmt.Printf("%s (%.0f s)\n", d.image, time.Since(start).Seconds())
	}
	choice, err := builder.Accel(ctx)
	if err != nil {
		return err
	}
	d.accel = choice.Accel
	fmt.Printf("the machine runs on %s: %s\n", choice.Accel, choice.Reason)
	d.network, err = lab.NewNetwork(ctx)
	return err
}

func (d *demo) addImage(ctx context.Context) error {
	say("gild image add golden %s", filepath.Base(d.image))
	d.server = &lab.Server{
		Program: d.program, Data: filepath.Join(d.dir, "data"), Net: d.network,
		Args: []string{"--dhcp", "server"}, Log: d.serverLog,
	}
	return d.gild(ctx, "image", "add", "golden", d.image)
}

// gild runs a command whose words go where an operator would see them.
func (d *demo) gild(ctx context.Context, args ...string) error {
	cmd := d.network.Command(ctx, d.program, append([]string{"--data", d.server.Data}, args...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	// A command that draws leaves the terminal in order.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("gild %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

func (d *demo) serve(ctx context.Context) error {
	say("gild serve --interface %s --dhcp server   (in a network namespace of its own)", lab.Bridge)
	return d.server.Start(ctx)
}

// makeDisk makes an empty sparse file.
func makeDisk(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Truncate(diskSize)
}
