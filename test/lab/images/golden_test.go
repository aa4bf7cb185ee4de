package images

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/tier"
	"github.com/gild-dev/gild/internal/vm"
	"github.com/gild-dev/gild/test/lab/host"
)

// TestLongGoldenBoots boots each image alone, as what a flashed machine is
// later compared with.
func TestLongGoldenBoots(t *testing.T) {
	tier.Slow(t, "builds Debian and boots it: minutes")
	b := builder(t)
	accel, err := b.Accel(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range Specs() {
		spec = spec.Lean()
		t.Run(spec.Name, func(t *testing.T) {
			image, err := b.Golden(t.Context(), spec)
			if err != nil {
				t.Fatal(err)
			}
			judge(t, spec, image)

			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			began := time.Now()
			m, err := vm.Start(ctx, vm.Config{
				Accel:     accel.Accel,
				Firmware:  spec.Firmware,
				NICs:      []vm.NIC{{}},
				Disks:     []vm.Disk{{Path: image, Snapshot: true}},
				SerialLog: filepath.Join(t.ArtifactDir(), "serial.log"),
			})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if found, _, err := m.Console.Expect(ctx, "golden login:", "Kernel panic", "emergency mode", "grub rescue>"); err != nil ||
				found != "golden login:" {
				t.Fatalf("the console showed %q, %v; want a login prompt", found, err)
			}
			t.Logf("%s: power-on to login %.1f s", spec.Name, time.Since(began).Seconds())

			answers := ask(ctx, t, m.Console, "cat /proc/cmdline; findmnt -no FSTYPE,UUID /", "systemctl --failed --no-legend | wc -l",
				"stat -c %a /", "tty")
			for _, want := range []string{
				"root=UUID=" + spec.RootUUID + " ro console=tty0 console=ttyS0,115200",
				string(spec.RootFS), spec.RootUUID, "/dev/ttyS0", "\n0\n", "\n755\n",
			} {
				if !strings.Contains(answers, want) {
					t.Errorf("the system says %q; want %q in it", answers, want)
				}
			}
		})
	}
}

// ask logs in, runs commands one after another and returns what the console
// showed.
func ask(ctx context.Context, t *testing.T, console *vm.Console, commands ...string) string {
	t.Helper()
	const prompt = "root@golden:~# "
	var shown strings.Builder
	for _, line := range append([]string{"root"}, commands...) {
		if err := console.Send(line); err != nil {
			t.Fatal(err)
		}
		_, before, err := console.Expect(ctx, prompt)
		if err != nil {
			t.Fatal(err)
		}
		shown.WriteString(before)
	}
	return shown.String()
}

// TestAccel runs the golden kernel, with nothing to boot from, under what was
// chosen.
func TestAccel(t *testing.T) {
	tier.Slow(t, "builds Debian: minutes")
	b := builder(t)
	kernel, _, err := b.Kernel(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	choice, err := b.Accel(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %s", choice.Accel, choice.Reason)
	m, err := vm.Start(ctx, vm.Config{
		Accel: choice.Accel, Memory: 512, NoReboot: true, Kernel: kernel,
		Cmdline: "console=ttyS0 panic=-1 " + vm.Steady,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, _, err := m.Console.Expect(ctx, "Unable to mount root fs"); err != nil {
		t.Error(err)
	}
	if err := m.Wait(ctx); err != nil {
		t.Errorf("Wait after the panic's reset = %v; want nil", err)
	}
}

// builder works in the host's cache; it skips the test where neither finished
// images nor the means to make them are there.
func builder(t *testing.T) *Builder {
	t.Helper()
	cache, err := host.Cache()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.LookAll([]string{"qemu-system-x86_64"}); err != nil {
		t.Skip(err)
	}
	b := &Builder{Cache: cache}
	for _, spec := range Specs() {
		if !host.IsThere(filepath.Join(cache, spec.file())) {
			if err := canBuild(); err != nil {
				t.Skip(err)
			}
		}
	}
	return b
}

// judge has the tools that own the formats look at an image.
func judge(t *testing.T, spec Spec, image string) {
	t.Helper()
	judges := [][]string{{"sfdisk", "--verify", image}}
	if spec.Scheme == GPT {
		judges = append(judges, []string{"sgdisk", "-v", image})
	}
	if os.Geteuid() == 0 {
		loop, err := AttachLoop(image, spec.rootStart(), spec.rootSize())
		if err != nil {
			t.Fatal(err)
		}
		defer loop.Close()
		if spec.RootFS == XFS {
			judges = append(judges, []string{"xfs_repair", "-n", loop.Path})
		} else {
			judges = append(judges, []string{"e2fsck", "-fn", loop.Path})
		}
	}
	for _, j := range judges {
		if _, err := exec.LookPath(j[0]); err != nil {
			t.Logf("no %s to judge with", j[0])
			continue
		}
		out, err := exec.CommandContext(t.Context(), j[0], j[1:]...).CombinedOutput()
		if err != nil || strings.Contains(string(out), "Caution:") {
			t.Errorf("%s: %v: %s", strings.Join(j, " "), err, out)
		}
	}
}
