package cli

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/disk/mounttest"
	"github.com/gild-dev/gild/internal/initramfs/agentbin"
	"github.com/gild-dev/gild/internal/tier"
)

// tool runs a foreign program, also where an unprivileged PATH does not look.
func tool(t *testing.T, stdin, name string, args ...string) string {
	t.Helper()
	path := ""
	for _, candidate := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if p, err := exec.LookPath(candidate); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		t.Skipf("%s is not installed", name)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// sparse makes a file that is one hole.
func sparse(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sparse")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

// gptDisk is a disk of 8 MiB with one partition.
func gptDisk(t *testing.T) string {
	t.Helper()
	path := sparse(t, 8<<20)
	tool(t, "label: gpt\nstart=2048, size=8192, type=linux\n", "sfdisk", "-q", "--no-reread", "--no-tell-kernel", path)
	return path
}

// loop gives a loop device of its own over a file.
func loop(t *testing.T, file string) string {
	t.Helper()
	tier.Root(t, "a loop device needs root")
	out, err := exec.CommandContext(t.Context(), "losetup", "--find", "--show", file).Output()
	if err != nil {
		t.Skipf("no loop device here: %v", err)
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if err := exec.Command("losetup", "-d", dev).Run(); err != nil {
			t.Errorf("losetup -d %s: %v", dev, err)
		}
	})
	return dev
}

// The backup GPT moves to the end of whatever the image is written to.
func TestWriteMovesTheBackupGPT(t *testing.T) {
	data := t.TempDir()
	if got := gild(t, data, nil, "image", "add", "a", gptDisk(t)); got.code != exit.CodeOK {
		t.Fatalf("%+v", got)
	}
	targets := map[string]func(t *testing.T) string{
		"file": func(t *testing.T) string { return sparse(t, 24<<20) },
		"loop": func(t *testing.T) string { return loop(t, sparse(t, 24<<20)) },
	}
	for name, target := range targets {
		t.Run(name, func(t *testing.T) {
			target := target(t)
			got := gild(t, data, nil, "write", "a", target, "--yes", "--json")
			if got.code != exit.CodeOK {
				t.Fatalf("write: %+v", got)
			}
			if out := tool(t, "", "sgdisk", "-v", target); !strings.Contains(out, "No problems found") {
				t.Errorf("sgdisk -v:\n%s", out)
			}
			if out := tool(t, "", "sfdisk", "--verify", target); !strings.Contains(out, "No errors detected") {
				t.Errorf("sfdisk --verify:\n%s", out)
			}
			f, err := os.Open(target)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var head [8]byte
			if _, err := f.ReadAt(head[:], 24<<20-512); err != nil || string(head[:]) != "EFI PART" {
				t.Errorf("the last sector begins with %q, %v; want the backup GPT", head, err)
			}
		})
	}
}

// A disk that something uses is refused before the first write.
func TestWriteRefusesAMountedDisk(t *testing.T) {
	data := t.TempDir()
	file := sparse(t, 24<<20)
	dev := loop(t, file)
	tool(t, "", "mkfs.ext4", "-q", dev)
	dir := t.TempDir()
	if err := unix.Mount(dev, dir, "ext4", 0, ""); err != nil {
		t.Skipf("cannot mount here: %v", err)
	}
	t.Cleanup(func() { mounttest.Unmount(t, dir) })
	if got := gild(t, data, nil, "image", "add", "a", gptDisk(t)); got.code != exit.CodeOK {
		t.Fatalf("%+v", got)
	}
	got := gild(t, data, nil, "write", "a", dev, "--yes")
	if got.code != exit.CodeRefused || !strings.Contains(got.stderr, dir) {
		t.Errorf("write to a mounted disk: %+v; want exit code %d and %s", got, exit.CodeRefused, dir)
	}
	if err := os.WriteFile(filepath.Join(dir, "still"), []byte("alive"), 0o644); err != nil {
		t.Errorf("the mounted file system: %v", err)
	}
}

// An unused disk that holds something is shown, and not touched unasked.
func TestWriteShowsWhatADiskHolds(t *testing.T) {
	data := t.TempDir()
	file := sparse(t, 24<<20)
	tool(t, "", "mkfs.ext4", "-q", "-F", "-L", "holiday", file)
	if got := gild(t, data, nil, "image", "add", "a", gptDisk(t)); got.code != exit.CodeOK {
		t.Fatalf("%+v", got)
	}
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got := gild(t, data, []byte("yes\n"), "write", "a", file)
	if got.code != exit.CodeRefused || !strings.Contains(got.stderr, "ext4") || !strings.Contains(got.stderr, "--yes") {
		t.Errorf("write: %+v; want exit code %d, what is there and --yes", got, exit.CodeRefused)
	}
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the target changed, %v", err)
	}
}

// Ctrl-C in the middle, with the source still open.
func TestInterruptLeavesNothing(t *testing.T) {
	for name, args := range map[string][]string{
		"image add": {"image", "add", "b", "-"},
		"write":     {"write", "-", "target.img"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, dir := t.TempDir(), t.TempDir()
			if got := gild(t, data, testDisk(1<<20), "image", "add", "a", "-"); got.code != exit.CodeOK {
				t.Fatalf("%+v", got)
			}
			before := listing(data)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			child := exec.CommandContext(ctx, os.Args[0])
			child.Args = append([]string{"gild"}, args...) // by this name the test binary is gild, see TestMain
			child.Env = append(os.Environ(), "GILD_DATA="+data, "TMPDIR="+dir)
			child.Dir = dir
			var stderr bytes.Buffer
			child.Stderr = &stderr
			stdin, err := child.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			// A pipe holds 64 KiB: when this is written, almost all was read.
			if _, err := stdin.Write(testDisk(20 << 20)); err != nil {
				t.Fatal(err)
			}
			if err := child.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			// Wait would close the pipe first, which is an end of the source.
			state, err := child.Process.Wait()
			if err != nil || state.ExitCode() != exit.CodeInterrupted {
				t.Errorf("gild %s, interrupted = %v, %v; want exit code %d", name, state, err, exit.CodeInterrupted)
			}
			_ = child.Wait()
			if !strings.Contains(stderr.String(), "interrupted") {
				t.Errorf("stderr = %q; want it to say interrupted", &stderr)
			}
			if diff := cmp.Diff(before, listing(data)); diff != "" {
				t.Errorf("data directory (-before +after):\n%s", diff)
			}
			if left := listing(dir); strings.Count(left, "\n") != 1 {
				t.Errorf("temporary and working directory hold:\n%s", left)
			}
		})
	}
}

// A full store is not the input's fault.
func TestFullStore(t *testing.T) {
	tier.Root(t, "mounting a small tmpfs needs root")
	data := t.TempDir()
	if err := unix.Mount("tmpfs", data, "tmpfs", 0, "size=4m,mode=755"); err != nil {
		t.Skipf("no tmpfs here: %v", err)
	}
	t.Cleanup(func() { mounttest.Unmount(t, data) })
	if got := gild(t, data, testDisk(1<<20), "image", "add", "a", "-"); got.code != exit.CodeOK {
		t.Fatalf("%+v", got)
	}
	before := listing(data)
	got := gild(t, data, testDisk(20<<20), "image", "add", "b", "-")
	if got.code != exit.CodeFailed || !strings.Contains(got.stderr, "no space left") || !strings.Contains(got.stderr, "--data") {
		t.Errorf("add to a full store: %+v; want exit code %d and what to do", got, exit.CodeFailed)
	}
	if diff := cmp.Diff(before, listing(data)); diff != "" {
		t.Errorf("data directory (-before +after):\n%s", diff)
	}
	if got := gild(t, data, nil, "image", "verify", "a"); got.code != exit.CodeOK {
		t.Errorf("verify of the image before: %+v", got)
	}
}

// kernelFile is the head of an x86 kernel that tells its release
// (Documentation/arch/x86/boot.rst).
func kernelFile(t *testing.T) string {
	t.Helper()
	b := make([]byte, 4096)
	copy(b[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(b[0x206:], 0x20c)
	binary.LittleEndian.PutUint16(b[0x20e:], 0x400)
	b[0x236] = 1 // 64 bit
	copy(b[0x600:], "6.1.0-golden (builder@host) #1 SMP")
	path := filepath.Join(t.TempDir(), "kernel")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// rootDisk is a disk that is the root of a system, without a table.
func rootDisk(t *testing.T) string {
	t.Helper()
	tree, path := t.TempDir(), sparse(t, 8<<20)
	for _, name := range []string{"etc/os-release", "sbin/init"} {
		if err := errors.Join(os.MkdirAll(filepath.Join(tree, filepath.Dir(name)), 0o755), os.WriteFile(filepath.Join(tree, name), []byte("x"), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	tool(t, "", "mkfs.ext4", "-q", "-F", "-d", tree, path)
	return path
}

func TestInitramfsWithoutTheAgentSaysMake(t *testing.T) {
	if _, err := agentbin.Agent("amd64"); err == nil {
		t.Skip("this build has the agent")
	}
	data, out := t.TempDir(), filepath.Join(t.TempDir(), "initramfs")
	if got := gild(t, data, nil, "image", "add", "a", rootDisk(t), "--kernel", kernelFile(t)); got.code != exit.CodeOK || !strings.Contains(got.stdout, "6.1.0-golden") {
		t.Fatalf("add: %+v", got)
	}
	got := gild(t, data, nil, "initramfs", "a", "-o", out)
	if got.code != exit.CodeFailed || !strings.Contains(got.stderr, "`make`") {
		t.Errorf("initramfs: %+v; want exit code %d and make", got, exit.CodeFailed)
	}
	if left := listing(filepath.Dir(out)); strings.Count(left, "\n") != 1 {
		t.Errorf("left behind:\n%s", left)
	}
}

// What is supplied and cannot be used stores nothing.
func TestUselessFlagsStoreNothing(t *testing.T) {
	data, disk := t.TempDir(), rootDisk(t)
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, []byte("no kernel"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		code int
	}{
		{[]string{"--root", "7"}, exit.CodeInput},
		{[]string{"--kernel", bad}, exit.CodeInput},
		{[]string{"--kernel", kernelFile(t), "--initrd", "/none"}, exit.CodeInput},
		{[]string{"--kernel", kernelFile(t), "--modules", t.TempDir()}, exit.CodeNotFound},
	} {
		got := gild(t, data, nil, append([]string{"image", "add", "a", disk}, tt.args...)...)
		if flag := tt.args[len(tt.args)-2]; got.code != tt.code || !strings.Contains(got.stderr, flag) {
			t.Errorf("add %q: %+v; want exit code %d and %s", tt.args, got, tt.code, flag)
		}
	}
	if got := gild(t, data, nil, "image", "ls", "--json"); got.stdout != "[]\n" {
		t.Errorf("ls = %q; want none", got.stdout)
	}
}
