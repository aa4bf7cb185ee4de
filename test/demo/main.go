// Demo turns an empty virtual machine into a running golden Debian over the
// network, and shows that nothing in it ever restarted.
//
// It is what an operator does by hand: gild image add, gild serve, gild flash,
// then power on. Network, machine and data are its own and are gone when it
// ends, also on Ctrl-C; only the golden image is kept for the next time.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/gild-dev/gild/internal/vm"
	"github.com/gild-dev/gild/test/lab"
)

const (
	mac      = "52:54:00:67:69:6c"
	diskSize = 4 << 30
	login    = "golden login:"
	// Emulation on a busy host is slow; a machine that hangs says nothing.
	bootWait = 15 * time.Minute
)

func main() {
	gild := flag.String("gild", "bin/gild", "gild `binary` to show")
	image := flag.String("image", "", "golden `image` to flash instead of a Debian made for the demo")
	prompt := flag.String("login", login, "`text` that its console shows when it is up")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	d := &demo{program: *gild, image: *image, prompt: *prompt}
	if err := errors.Join(d.run(ctx), d.cleanUp()); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// demo is one run, with what it has to clean up.
type demo struct {
	program, image, prompt string

	dir     string
	accel   vm.Accel
	network *lab.Network
	server  *lab.Server
	machine *vm.Machine
	disk    string
}

func say(format string, args ...any) { fmt.Printf("\n\x1b[1m== "+format+"\x1b[0m\n", args...) }

func (d *demo) run(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		d.prepare, d.addImage, d.serve, d.flash, d.proveNoRestart, d.bootAlone,
	} {
		if err := step(ctx); err != nil {
			if ctx.Err() != nil {
				return errors.New("interrupted; everything is cleaned up")
			}
			return err
		}
	}
	say("done: flashed over the network, entered without a restart, and it boots by itself")
	return nil
}

func (d *demo) cleanUp() error {
	var errs []error
	if d.machine != nil {
		_ = d.machine.Close() // a machine in mid-boot has no good way to end
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
	cache, err := lab.CacheDir()
	if err != nil {
		return err
	}
	if d.dir, err = os.MkdirTemp("", "gild-demo-"); err != nil {
		return err
	}
	builder := &lab.Builder{Cache: cache}
	if d.image == "" {
		say("a golden Debian (debootstrap, systemd, GRUB, XFS root, 2 GiB; made once, kept in %s)", cache)
		start := time.Now()
		if d.image, err = builder.Golden(ctx, lab.XFSBIOS()); err != nil {
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
		Args: []string{"--dhcp", "server"}, Log: prefixed("server | "),
	}
	return d.gild(ctx, "image", "add", "golden", d.image)
}

func (d *demo) gild(ctx context.Context, args ...string) error {
	out, err := d.server.Gild(ctx, args...)
	fmt.Print(out)
	return err
}

func (d *demo) serve(ctx context.Context) error {
	say("gild serve --interface %s --dhcp server   (in a network namespace of its own)", lab.Bridge)
	return d.server.Start(ctx)
}

// flash arms the machine and powers it on with an empty disk.
func (d *demo) flash(ctx context.Context) error {
	say("gild flash %s --image golden --unseen", mac)
	if err := d.gild(ctx, "flash", mac, "--image", "golden", "--unseen", "--yes"); err != nil {
		return err
	}
	d.disk = filepath.Join(d.dir, "disk.raw")
	if err := makeDisk(d.disk); err != nil {
		return err
	}
	tap, err := d.network.Tap(ctx, "demo0")
	if err != nil {
		return err
	}
	say("power on: an empty disk of %d GiB, a network card with its boot ROM, nothing else", diskSize>>30)
	start := time.Now()
	d.machine, err = vm.Start(ctx, vm.Config{
		Accel: d.accel, Memory: 1024, CPUs: 2,
		Disks:     []vm.Disk{{Path: d.disk, Serial: "gild-demo"}},
		NICs:      []vm.NIC{{MAC: mac, Tap: tap, BootROM: true}},
		BootOrder: []string{"nic0"},
		Namespace: d.network.Namespace,
		Serial:    prefixed("machine | "),
	})
	if err != nil {
		return err
	}
	if err := d.expectLogin(ctx); err != nil {
		return err
	}
	return d.printPhases(ctx, start)
}

func (d *demo) expectLogin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootWait)
	defer cancel()
	found, _, err := d.machine.Console.Expect(ctx, d.prompt, "Kernel panic")
	if err == nil && found != d.prompt {
		err = fmt.Errorf("the machine said %q", found)
	}
	return err
}

// proveNoRestart counts what a restart could not hide.
func (d *demo) proveNoRestart(context.Context) error {
	resets := d.machine.Monitor.Count("RESET")
	kernels := strings.Count(d.machine.Console.Transcript(), "Linux version ")
	say("the machine was reset %d times; its console shows %d kernel start", resets, kernels)
	if resets != 0 || kernels != 1 {
		return errors.New("the machine restarted on its way")
	}
	return nil
}

// bootAlone powers the machine off and on without a network card.
func (d *demo) bootAlone(ctx context.Context) (err error) {
	say("power off and on again, without a network: the disk boots by itself")
	if err := d.machine.Close(); err != nil {
		return err
	}
	d.machine, err = vm.Start(ctx, vm.Config{
		Accel: d.accel, Memory: 1024, CPUs: 2,
		Disks:  []vm.Disk{{Path: d.disk, Serial: "gild-demo"}},
		Serial: prefixed("machine | "),
	})
	if err != nil {
		return err
	}
	return d.expectLogin(ctx)
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
