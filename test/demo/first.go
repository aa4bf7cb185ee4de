package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/gild-dev/gild/internal/vm"
)

// flash arms the machine and powers it on with an empty disk.
func (d *demo) flash(ctx context.Context) error {
	say("gild flash %s --image golden --unseen --yes", mac)
	if err := d.gild(ctx, "flash", mac, "--image", "golden", "--unseen", "--yes"); err != nil {
		return err
	}
	say("power on: an empty disk of %d GiB, a network card with its boot ROM, nothing else", diskSize>>30)
	start := time.Now()
	if err := d.powerOnEmpty(ctx); err != nil {
		return err
	}
	if err := d.expectLogin(ctx); err != nil {
		return err
	}
	d.alone = time.Since(start)
	return d.printPhases(ctx, start)
}

// powerOnEmpty starts the machine with a new disk, from the network.
func (d *demo) powerOnEmpty(ctx context.Context) (err error) {
	d.disk = filepath.Join(d.dir, "disk.raw")
	if err := makeDisk(d.disk); err != nil {
		return err
	}
	if d.tap == "" {
		if d.tap, err = d.network.Tap(ctx, "demo0"); err != nil {
			return err
		}
	}
	d.machine, err = vm.Start(ctx, vm.Config{
		Accel: d.accel, AllInstructions: d.foreign, Memory: 1024, CPUs: 2,
		Disks:     []vm.Disk{{Path: d.disk, Serial: "gild-demo"}},
		NICs:      []vm.NIC{{MAC: mac, Tap: d.tap, BootROM: true}},
		BootOrder: []string{"nic0"},
		Namespace: d.network.Namespace,
		Serial:    prefixed("machine | "),
	})
	return err
}

func (d *demo) expectLogin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootWait)
	defer cancel()
	return expectPrompt(ctx, d.machine, d.prompt)
}

// expectPrompt waits for the text that a console shows when its system is up.
func expectPrompt(ctx context.Context, m *vm.Machine, prompt string) error {
	found, _, err := m.Console.Expect(ctx, prompt, "Kernel panic")
	if err == nil && found != prompt {
		err = fmt.Errorf("the machine said %q", found)
	}
	return err
}

// proveNoRestart counts what a restart could not hide.
func (d *demo) proveNoRestart(context.Context) error {
	resets, kernels := d.machine.Starts()
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
		Accel: d.accel, AllInstructions: d.foreign, Memory: 1024, CPUs: 2,
		Disks:  []vm.Disk{{Path: d.disk, Serial: "gild-demo"}},
		Serial: prefixed("machine | "),
	})
	if err != nil {
		return err
	}
	if err := d.expectLogin(ctx); err != nil {
		return err
	}
	return d.machine.Close()
}
