package lab

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/vm"
)

// TestGoldenBoots boots each image alone, as what a flashed machine is later compared with.
func TestGoldenBoots(t *testing.T) {
	if testing.Short() {
		t.Skip("builds Debian and boots it: minutes")
	}
	for _, spec := range Specs() {
		t.Run(spec.Name, func(t *testing.T) {
			image := golden(t, spec)
			judge(t, spec, image)

			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			began := time.Now()
			m, err := vm.Start(ctx, vm.Config{
				Firmware:  spec.Firmware,
				NICs:      []vm.NIC{{}},
				Disks:     []vm.Disk{{Path: image, Snapshot: true}},
				SerialLog: filepath.Join(t.ArtifactDir(), "serial.log"),
			})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if found, _, err := m.Console.Expect(ctx, "golden login:", "Kernel panic", "emergency mode", "grub rescue>"); err != nil || found != "golden login:" {
				t.Fatalf("the console showed %q, %v; want a login prompt", found, err)
			}
			t.Logf("%s: power-on to login %.1f s", spec.Name, time.Since(began).Seconds())

			var answers string
			if err := m.Console.Send("root"); err != nil {
				t.Fatal(err)
			}
			if _, _, err := m.Console.Expect(ctx, "root@golden:~# "); err != nil {
				t.Fatal(err)
			}
			for _, command := range []string{"cat /proc/cmdline; findmnt -no FSTYPE,UUID /", "systemctl --failed --no-legend | wc -l", "stat -c %a /", "tty"} {
				if err := m.Console.Send(command); err != nil {
					t.Fatal(err)
				}
				_, answer, err := m.Console.Expect(ctx, "root@golden:~# ")
				if err != nil {
					t.Fatal(err)
				}
				answers += answer
			}
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

// golden is the image from the host's cache, built when it is not there.
func golden(t *testing.T, spec Spec) string {
	t.Helper()
	cache, err := CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(cache, spec.file())
	if !isThere(path) {
		Need(t, "debootstrap", "sfdisk", "mformat", "mcopy", "tar", "zstd")
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("needs qemu-system-x86_64: scripts/deps test installs it")
	}
	path, err = Golden(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return path
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
