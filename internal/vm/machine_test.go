package vm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/tier"
)

const bootMessage = "gild boot sector"

// bootDisk makes a disk whose boot sector prints bootMessage on the first
// serial port and halts.
func bootDisk(t *testing.T) string {
	t.Helper()
	code := []byte{
		// cli: SeaBIOS prints what it still holds on the same port, from its timer
		// interrupt
		0xfa,
		0xfc,       // cld
		0x31, 0xc0, // xor ax, ax
		0x8e, 0xd8, // mov ds, ax
		0xbe, 0x00, 0x00, // mov si, message
		0xba, 0xf8, 0x03, // mov dx, 0x3f8: the first serial port
		0xac,       // next: lodsb
		0x84, 0xc0, // test al, al
		0x74, 0x03, // jz end
		0xee,       // out dx, al
		0xeb, 0xf8, // jmp next
		0xf4,       // end: hlt
		0xeb, 0xfd, // jmp end
	}
	binary.LittleEndian.PutUint16(code[7:], 0x7c00+uint16(len(code))) // BIOS loads the sector at 0x7c00
	disk := make([]byte, 1<<20)
	copy(disk, append(append(code, bootMessage+"\r\n"...), 0))
	disk[510], disk[511] = 0x55, 0xaa
	path := filepath.Join(t.TempDir(), "boot.raw")
	if err := os.WriteFile(path, disk, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// boot starts a machine that the test's end closes, and gives the test's
// deadline for waiting on it.
func boot(t *testing.T, cfg Config) (context.Context, *Machine) {
	t.Helper()
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("needs qemu-system-x86_64: scripts/deps test installs it")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	if cfg.Memory == 0 {
		cfg.Memory = 64
	}
	m, err := Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		if err := syscall.Kill(m.Pid(), 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("QEMU still runs after Close: %v", err)
		}
	})
	return ctx, m
}

func TestBoot(t *testing.T) {
	for _, bus := range []Bus{Virtio, SATA, NVMe, SCSI} {
		t.Run(string(bus), func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "serial.log")
			var raw bytes.Buffer
			ctx, m := boot(t, Config{Disks: []Disk{{Path: bootDisk(t), Bus: bus}}, SerialLog: log, Serial: &raw})
			if _, _, err := m.Console.Expect(ctx, bootMessage+"\n"); err != nil {
				t.Fatal(err)
			}
			if status, err := m.Monitor.Status(ctx); status != "running" || err != nil {
				t.Errorf("Status = %q, %v; want running", status, err)
			}
			if n := m.Monitor.Count("RESET"); n != 0 {
				t.Errorf("a machine that never restarted counts %d resets", n)
			}
			if err := m.Close(); err != nil {
				t.Error(err)
			}
			if text, err := os.ReadFile(log); err != nil || !strings.Contains(string(text), bootMessage) {
				t.Errorf("log = %q, %v; want the console's text", text, err)
			}
			if !strings.Contains(raw.String(), bootMessage+"\r\n") {
				t.Errorf("raw console = %q; want what the guest sent", raw.String())
			}
		})
	}
}

func TestReset(t *testing.T) {
	ctx, m := boot(t, Config{Disks: []Disk{{Path: bootDisk(t)}}})
	for i := range 2 {
		if _, _, err := m.Console.Expect(ctx, bootMessage); err != nil {
			t.Fatal(err)
		}
		// At least: SeaBIOS may answer one reset by another, to get its memory back as
		// at power-on.
		if n := m.Monitor.Count("RESET"); n < i || (n > 0) != (i > 0) {
			t.Errorf("Count(RESET) = %d after %d resets", n, i)
		}
		if err := m.Monitor.Reset(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Monitor.WaitEvent(ctx, "RESET"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNoReboot(t *testing.T) {
	ctx, m := boot(t, Config{Disks: []Disk{{Path: bootDisk(t)}}, NoReboot: true})
	if _, _, err := m.Console.Expect(ctx, bootMessage); err != nil {
		t.Fatal(err)
	}
	if err := m.Monitor.Reset(ctx); err != nil {
		t.Fatal(err)
	}
	if err := m.Wait(ctx); err != nil {
		t.Errorf("Wait = %v; want a reset to end the machine in order", err)
	}
	if _, err := m.Monitor.WaitEvent(ctx, "SHUTDOWN"); err != nil {
		t.Error(err)
	}
}

func TestKill(t *testing.T) {
	ctx, m := boot(t, Config{Disks: []Disk{{Path: bootDisk(t)}}})
	m.Kill()
	m.Kill()
	if err := m.Wait(ctx); err != nil {
		t.Errorf("Wait after Kill = %v; want nil", err)
	}
	if _, _, err := m.Console.Expect(ctx, "never"); !errors.Is(err, errConsoleEnded) {
		t.Errorf("Expect after Kill = %v; want %v", err, errConsoleEnded)
	}
}

func TestContextCutsPower(t *testing.T) {
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("needs qemu-system-x86_64: scripts/deps test installs it")
	}
	ctx, cancel := context.WithCancel(t.Context())
	m, err := Start(ctx, Config{Memory: 64})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	cancel()
	waiting, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if err := m.Wait(waiting); err != nil {
		t.Error(err)
	}
}

func TestSetLink(t *testing.T) {
	ctx, m := boot(t, Config{NICs: []NIC{{Model: "e1000", Netdev: "user,restrict=on"}}})
	for _, up := range []bool{false, true} {
		if err := m.Monitor.SetLink(ctx, "nic0", up); err != nil {
			t.Errorf("SetLink(%v) = %v", up, err)
		}
	}
	if err := m.Monitor.SetLink(ctx, "nic1", false); err == nil {
		t.Error("SetLink of an absent card succeeded")
	}
}

func TestSnapshotKeepsTheImage(t *testing.T) {
	disk := bootDisk(t)
	if err := os.Chmod(disk, 0o444); err != nil {
		t.Fatal(err)
	}
	ctx, m := boot(t, Config{Disks: []Disk{{Path: disk, Snapshot: true}}})
	if _, _, err := m.Console.Expect(ctx, bootMessage); err != nil {
		t.Fatal(err)
	}
}

func TestNamespace(t *testing.T) {
	tier.Root(t, "needs root, to make a network namespace")
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs ip: scripts/deps test installs it")
	}
	name := fmt.Sprintf("gild-vm-test-%d", os.Getpid())
	if out, err := exec.CommandContext(t.Context(), "ip", "netns", "add", name).CombinedOutput(); err != nil {
		t.Fatalf("ip netns add: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.CommandContext(context.Background(), "ip", "netns", "delete", name).Run() })

	_, m := boot(t, Config{Namespace: name})
	var here, there, want syscall.Stat_t
	for path, st := range map[string]*syscall.Stat_t{
		"/proc/self/ns/net":                     &here,
		fmt.Sprintf("/proc/%d/ns/net", m.Pid()): &there,
		"/run/netns/" + name:                    &want,
	} {
		if err := syscall.Stat(path, st); err != nil {
			t.Fatal(err)
		}
	}
	if there.Ino != want.Ino || here.Ino == want.Ino {
		t.Errorf("QEMU is in namespace %d, the test in %d; want QEMU alone in %d", there.Ino, here.Ino, want.Ino)
	}
}

func TestStartExplains(t *testing.T) {
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("needs qemu-system-x86_64: scripts/deps test installs it")
	}
	tests := []struct {
		name string
		cfg  Config
		want string
	}{
		{"absent disk", Config{Disks: []Disk{{Path: "/nonexistent/disk"}}}, "No such file"},
		{"bad option", Config{Extra: []string{"-no-such-option"}}, "no-such-option"},
		{"absent program", Config{Binary: "qemu-nonexistent"}, "apt install"},
		{"absent namespace", Config{Namespace: "gild-nonexistent"}, "network namespace gild-nonexistent"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := Start(t.Context(), tt.cfg)
			if err == nil {
				m.Close()
				t.Fatal("Start succeeded")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Start = %v; want an error with %q", err, tt.want)
			}
		})
	}
}

func TestStartRefusesAMissingTap(t *testing.T) {
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("needs qemu-system-x86_64: scripts/deps test installs it")
	}
	m, err := Start(t.Context(), Config{NICs: []NIC{{Tap: "gild-absent0"}}})
	if err == nil {
		m.Close()
		t.Fatal("Start with a tap that does not exist succeeded")
	}
	if !strings.Contains(err.Error(), "gild-absent0") {
		t.Errorf("Start = %v; want the tap's name in it", err)
	}
}
