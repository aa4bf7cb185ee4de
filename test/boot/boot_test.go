// Package boot is whole boots in virtual machines: a real server, real
// firmware, a real Debian. Each test is one machine's story and makes all it
// needs; console and server logs are kept by go test -artifacts.
package boot

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/vm"
	"github.com/gild-dev/gild/test/lab"
	"github.com/gild-dev/gild/test/lab/images"
)

const (
	mac      = "52:54:00:67:69:6c"
	diskSize = 3 << 30 // the images have 2 GiB: there is something to grow
	flashing = 10 * time.Minute
)

// arm gives the permission for one flash, as an operator who knows the address
// does.
func arm(room *lab.Room, more ...string) {
	room.Gild(append([]string{"flash", mac, "--image", lab.Image, "--unseen", "--yes"}, more...)...)
}

// netBoot is a machine that boots from its network card only.
func netBoot(room *lab.Room, disks ...vm.Disk) vm.Config {
	return vm.Config{
		Disks:     disks,
		NICs:      []vm.NIC{{MAC: mac, Tap: room.Tap("machine"), BootROM: true}},
		BootOrder: []string{"nic0"},
	}
}

// directBoot is a machine whose kernel starts without firmware and boot loader,
// for what does not test those: with what the server would have given to them.
func directBoot(t *testing.T, room *lab.Room, disks ...vm.Disk) vm.Config {
	t.Helper()
	kernel, _, err := images.Kernel(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	initrd := filepath.Join(room.Dir, "initrd")
	room.Gild("initramfs", lab.Image, "--output", initrd)
	return vm.Config{
		Kernel: kernel, Initrd: initrd,
		Cmdline: fmt.Sprintf("gild.server=http://%s:8080 %s", room.Net.Addr.Addr(), image(t, room).Config.Boot.Cmdline),
		Disks:   disks,
		NICs:    []vm.NIC{{MAC: mac, Tap: room.Tap("machine")}},
	}
}

func isState(state string) func(lab.Machine) bool {
	return func(m lab.Machine) bool { return m.State == state }
}

// fetched reports whether a flash is in the middle of its writing and has this
// many bytes of the image.
func fetched(size int64) func(lab.Machine) bool {
	return func(m lab.Machine) bool {
		return m.Progress != nil && m.Progress.Phase == "write" && m.Progress.Wire > size
	}
}

// fullPace is that of a common network.
const fullPace = "1gbit"

// pace limits what a machine gets from the network, in words of tc(8).
func pace(t *testing.T, room *lab.Room, machine vm.Config, rate string) {
	t.Helper()
	if err := room.Net.Pace(t.Context(), machine.NICs[0].Tap, rate); err != nil {
		t.Fatal(err)
	}
}

// failedWith reports whether the machine's past has a failure of this cause.
func failedWith(cause string) func(lab.Machine) bool {
	return func(m lab.Machine) bool { return failure(m, cause) != nil }
}

func failure(m lab.Machine, cause string) *api.Event {
	for _, e := range m.Events {
		if e.State == api.StateFailed && e.Cause == cause {
			return &e
		}
	}
	return nil
}

// handedOff waits for the receipt of a switch_root and checks what every
// receipt must say.
func handedOff(t *testing.T, room *lab.Room) *api.Receipt {
	t.Helper()
	return handedOffBy(t, room, "switch_root")
}

func handedOffBy(t *testing.T, room *lab.Room, way string) *api.Receipt {
	t.Helper()
	m := room.WaitFor(mac, "flash", flashing, isState(api.MachineHandingOff))
	if m.Receipt == nil {
		t.Fatal("handed off without a receipt")
	}
	if m.Receipt.Handoff != way {
		t.Errorf("handoff by %s (%q); want %s", m.Receipt.Handoff, m.Receipt.Reasons, way)
	}
	t.Logf("phases, seconds: %v", m.Receipt.PhaseTimes)
	return m.Receipt
}
