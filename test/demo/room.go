package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/vm"
)

// rack is the label that the machines of the second act have in common.
const rack = "rack=a1"

// member is one machine of the room.
type member struct {
	name, mac, disk string
	prompt          string // that its console shows when it is up

	machine *vm.Machine
	login   time.Duration // from power-on to that prompt
}

func (m *member) powerOff() {
	if m.machine != nil {
		_ = m.machine.Close() // a machine in mid-boot has no good way to end
	}
}

// fleetHead is what the machines of the room have in common. The identity
// gives each its name, and has it call the server once it runs.
const fleetHead = `identities:
  node: {hostname: "{{ .Name }}"}
groups:
  - {name: web, selector: ` + rack + `, flash: {image: golden, identity: node}}
machines:
`

// describe tells the server of three machines that it has never seen.
func (d *demo) describe(ctx context.Context) error {
	fleet := fleetHead
	for i := range 3 {
		name := fmt.Sprintf("web%d", i+1)
		m := &member{name: name, mac: fmt.Sprintf("52:54:00:67:69:%02x", i+1), prompt: d.prompt, disk: filepath.Join(d.dir, name+".raw")}
		if strings.HasSuffix(d.prompt, " login:") { // with the hostname before it
			m.prompt = name + " login:"
		}
		d.room = append(d.room, m)
		fleet += fmt.Sprintf("  - {name: %s, macs: %q, labels: {rack: a1}}\n", m.name, m.mac)
	}
	file := filepath.Join(d.dir, "fleet.yaml")
	say("three machines that have never been powered on: gild apply -f %s", filepath.Base(file))
	fmt.Print(fleet)
	if err := os.WriteFile(file, []byte(fleet), 0o644); err != nil {
		return err
	}
	return d.gild(ctx, "apply", "-f", file)
}

// flashTogether arms all that have the label and powers them on at once.
func (d *demo) flashTogether(ctx context.Context) error {
	say("gild flash -l %s --unseen --yes", rack)
	if err := d.gild(ctx, "flash", "-l", rack, "--unseen", "--yes"); err != nil {
		return err
	}
	say("power on all three: empty disks of %d GiB", diskSize>>30)
	d.on = time.Now()
	for _, m := range d.room {
		if err := makeDisk(m.disk); err != nil {
			return err
		}
		tap, err := d.network.Tap(ctx, m.name)
		if err != nil {
			return err
		}
		m.machine, err = vm.Start(ctx, vm.Config{
			Accel: d.accel, AllInstructions: d.foreign, Memory: 768, CPUs: 1,
			Disks:     []vm.Disk{{Path: m.disk, Serial: "gild-" + m.name}},
			NICs:      []vm.NIC{{MAC: m.mac, Tap: tap, BootROM: true}},
			BootOrder: []string{"nic0"},
			Namespace: d.network.Namespace,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// watch shows the room by the program that an operator would use, which draws
// bars on a terminal, until each machine runs its new system. Meanwhile a
// browser takes a picture of the dashboard.
func (d *demo) watch(ctx context.Context) error {
	page, err := d.openDashboard(ctx)
	if err != nil {
		return err
	}
	say("gild watch -l %s   (and the dashboard, while this runs: %s)", rack, page)
	ctx, cancel := context.WithTimeoutCause(ctx, roomWait, fmt.Errorf("the room is not up after %v", roomWait))
	defer cancel()
	// One machine that dies ends the wait for all.
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var logins, pictures sync.WaitGroup
	for _, m := range d.room {
		logins.Go(func() {
			if err := expectPrompt(ctx, m.machine, m.prompt); err != nil {
				fail(fmt.Errorf("%s: %w", m.name, err))
				return
			}
			m.login = time.Since(d.on)
		})
	}
	var note string
	shooting, stop := context.WithCancel(ctx)
	pictures.Go(func() { note = d.takePicture(shooting, page) })

	// The server's own lines would tear the bars.
	d.serverLog.mute(true)
	err = d.gild(ctx, "watch", "-l", rack)
	d.serverLog.mute(false)
	stop()
	pictures.Wait()
	fmt.Println("\n" + note)
	if err != nil {
		fail(err)
	}
	// The call to the server may come before the prompt.
	logins.Wait()
	return context.Cause(ctx)
}

// proveRoom shows the room as the server has it in the end, and its times.
func (d *demo) proveRoom(ctx context.Context) error {
	say("gild machine ls -l %s", rack)
	if err := d.gild(ctx, "machine", "ls", "-l", rack); err != nil {
		return err
	}
	say("three together, in seconds since power-on")
	fmt.Printf("%-8s %8s %8s %8s %8s %8s\n", "machine", "flashed", "running", "login", "resets", "kernels")
	var last time.Duration
	restarted := false
	for _, m := range d.room {
		seen, err := d.server.Machine(ctx, m.name)
		if err != nil {
			return err
		}
		if seen.State != api.MachineRunning {
			return fmt.Errorf("%s is %s: %s", m.name, seen.State, seen.Message)
		}
		resets, kernels := m.machine.Starts()
		restarted = restarted || resets != 0 || kernels != 1
		fmt.Printf("%-8s %8s %8s %8.1f %8d %8d\n", m.name,
			d.since(seen.Events, "flash"), d.since(seen.Events, "confirm"), m.login.Seconds(), resets, kernels)
		last = max(last, m.login)
	}
	if restarted {
		return errors.New("a machine restarted on its way")
	}
	fmt.Printf("\none alone: %.0f s to its login prompt. Three together on the same host: %.0f s, %.0f s a machine.\n",
		d.alone.Seconds(), last.Seconds(), last.Seconds()/float64(len(d.room)))
	return nil
}

// since is when the last step of that name was done, in seconds.
func (d *demo) since(events []api.Event, step string) string {
	at := "-"
	for _, e := range events {
		if t := when(&e); e.Step == step && e.State == api.StateDone && t.After(d.on) {
			at = fmt.Sprintf("%.1f", t.Sub(d.on).Seconds())
		}
	}
	return at
}

// oneAlone powers the room off and one of its machines on again, without a
// network card.
func (d *demo) oneAlone(ctx context.Context) (err error) {
	m := d.room[len(d.room)/2]
	say("power all three off, and %s on again without a network: the disk boots by itself", m.name)
	for _, m := range d.room {
		if err := m.machine.Close(); err != nil {
			return err
		}
	}
	start := time.Now()
	m.machine, err = vm.Start(ctx, vm.Config{
		Accel: d.accel, AllInstructions: d.foreign, Memory: 768, CPUs: 2,
		Disks: []vm.Disk{{Path: m.disk, Serial: "gild-" + m.name}},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, bootWait)
	defer cancel()
	if err := expectPrompt(ctx, m.machine, m.prompt); err != nil {
		return fmt.Errorf("%s: %w", m.name, err)
	}
	fmt.Printf("%s after %.0f s\n", m.prompt, time.Since(start).Seconds())
	return nil
}
