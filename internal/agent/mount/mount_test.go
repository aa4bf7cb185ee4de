package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/tier"
)

// inNamespace runs do on a thread with a mount namespace of its own, which
// goes when the thread does: nothing is left mounted, whatever happens.
func inNamespace(t *testing.T, do func() error) {
	t.Helper()
	tier.Root(t, "mounting needs root")
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = do()
		}
		done <- err
	}()
	switch err := <-done; {
	case errors.Is(err, errors.ErrUnsupported):
		t.Skip(err)
	case err != nil:
		t.Error(err)
	}
}

func TestOptions(t *testing.T) {
	for _, tt := range []struct {
		in    string
		flags uintptr
		data  string
	}{
		{"", 0, ""},
		{"defaults", 0, ""},
		{"errors=remount-ro", 0, "errors=remount-ro"},
		{"ro,noatime,rw", unix.MS_NOATIME, ""},
		{"defaults, discard ,x-systemd.growfs,_netdev,pquota", 0, "discard,pquota"},
		{"nosuid,nodev,noexec", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
	} {
		if flags, data := Options(tt.in); flags != tt.flags || data != tt.data {
			t.Errorf("Options(%q) = %#x, %q; want %#x, %q", tt.in, flags, data, tt.flags, tt.data)
		}
	}
}

func tmpfs(dir string) error { return Point{"tmpfs", dir, "tmpfs", 0, "size=4m"}.Mount() }

func TestGuards(t *testing.T) {
	base := t.TempDir()
	inNamespace(t, func() error {
		root, newRoot := filepath.Join(base, "root"), filepath.Join(base, "root/new")
		if err := errors.Join(tmpfs(root), tmpfs(newRoot)); err != nil {
			return err
		}
		init := filepath.Join(root, "init")
		for path, text := range map[string]string{init: "us", filepath.Join(root, "other"): "not us"} {
			if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
				return err
			}
		}
		if err := errors.Join(os.Mkdir(filepath.Join(root, "plain"), 0o755), os.Mkdir(filepath.Join(newRoot, "sub"), 0o755)); err != nil {
			return err
		}
		good := Guards{Pid: 1, Root: root, NewRoot: newRoot, Init: init, Self: init}
		if err := good.Check(); err != nil {
			t.Errorf("Check() = %v; want nil", err)
		}
		for want, spoil := range map[string]func(*Guards){
			"PID 1":              func(g *Guards) { g.Pid = 2 },
			"nothing is mounted": func(g *Guards) { g.NewRoot = filepath.Join(root, "plain") },
			"not the top":        func(g *Guards) { g.NewRoot = filepath.Join(newRoot, "sub") },
			"another program":    func(g *Guards) { g.Init = filepath.Join(root, "other") },
			"not gild's":         func(g *Guards) { g.Init = filepath.Join(root, "absent") },
			"running program":    func(g *Guards) { g.Self = filepath.Join(root, "absent") },
			"new root":           func(g *Guards) { g.NewRoot = filepath.Join(root, "absent") },
			"not ramfs or tmpfs": func(g *Guards) { g.Root = base },
		} {
			bad := good
			spoil(&bad)
			if err := bad.Check(); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Check() = %v; want %q in it", err, want)
			}
		}
		return nil
	})
}

func TestEmptyStaysOnItsDevice(t *testing.T) {
	base := t.TempDir()
	outside := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(outside, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	inNamespace(t, func() error {
		root := filepath.Join(base, "root")
		kept := filepath.Join(root, "a/mounted/kept")
		err := errors.Join(
			tmpfs(root), os.MkdirAll(filepath.Join(root, "a/b/c"), 0o755), tmpfs(filepath.Join(root, "a/mounted")),
			os.WriteFile(kept, nil, 0o644), os.WriteFile(filepath.Join(root, "a/b/c/file"), nil, 0o600),
			os.Symlink(filepath.Dir(outside), filepath.Join(root, "link")), unix.Mkfifo(filepath.Join(root, "fifo"), 0o600))
		if err != nil {
			return err
		}
		dir, err := os.Open(root)
		if err != nil {
			return err
		}
		defer dir.Close()
		// "a" itself cannot go, as something is mounted below it.
		if err := Empty(dir); err == nil {
			t.Error("Empty() = nil; want an error that names what stayed")
		}
		left, err := os.ReadDir(root)
		if len(left) != 1 || left[0].Name() != "a" {
			t.Errorf("left in the root: %v; want only a", left)
		}
		for _, path := range []string{kept, outside} {
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s is gone", path)
			}
		}
		return err
	})
}

func TestMountTwiceAndUnmountTwice(t *testing.T) {
	base := t.TempDir()
	inNamespace(t, func() error {
		dir := filepath.Join(base, "x/y")
		p := Point{"tmpfs", dir, "tmpfs", unix.MS_RDONLY, ""}
		if err := errors.Join(p.Mount(), p.Mount()); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o644); !errors.Is(err, unix.EROFS) {
			t.Errorf("writing to a read-only mount = %v; want EROFS", err)
		}
		return errors.Join(Unmount(dir), Unmount(dir), Unmount(dir))
	})
}

// The kernel grows what mkfs made smaller than its device; fsck judges.
func TestGrow(t *testing.T) {
	const small, large = 320 << 20, 512 << 20
	for _, tt := range []struct {
		fsType string
		mkfs   []string
		fsck   []string
	}{
		{"xfs", []string{"mkfs.xfs", "-q", "-d", fmt.Sprintf("size=%d", small)}, []string{"xfs_repair", "-n"}},
		{"ext4", []string{"mkfs.ext4", "-q", "-F", "-b", "4096", "@", fmt.Sprint(small / 4096)}, []string{"e2fsck", "-fn"}},
	} {
		t.Run(tt.fsType, func(t *testing.T) {
			for _, tool := range []string{tt.mkfs[0], tt.fsck[0], "mount"} {
				if _, err := exec.LookPath(tool); err != nil {
					t.Skip(err)
				}
			}
			image := filepath.Join(t.TempDir(), "image")
			if err := errors.Join(os.WriteFile(image, nil, 0o644), os.Truncate(image, large)); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			inNamespace(t, func() error {
				if out, err := exec.Command(tt.mkfs[0], place(tt.mkfs[1:], image)...).CombinedOutput(); err != nil {
					return fmt.Errorf("%w: %s", err, out)
				}
				if out, err := exec.Command("mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
					return fmt.Errorf("%w: %s", err, out)
				}
				if out, err := exec.Command("mount", "-o", "remount,ro", dir).CombinedOutput(); err != nil {
					return fmt.Errorf("%w: %s", err, out)
				}
				ctx := context.Background()
				_, _, err := GrowWhenWritable(ctx, dir, tt.fsType, large, 3*writableEvery)
				if errors.Is(err, unix.EPERM) {
					return fmt.Errorf("this host does not let root grow %s: %w", tt.fsType, errors.ErrUnsupported)
				}
				if !errors.Is(err, unix.EROFS) {
					t.Errorf("GrowWhenWritable() of what stays read-only = %v; want %v", err, unix.EROFS)
				}
				later := exec.Command("sh", "-c", `sleep 0.5; mount -o remount,rw "$0"`, dir)
				if err := later.Start(); err != nil {
					return err
				}
				before, after, err := GrowWhenWritable(ctx, dir, tt.fsType, large, time.Minute)
				err = errors.Join(err, later.Wait())
				again, same, err2 := Grow(dir, tt.fsType, large)
				if err := errors.Join(err, err2, Unmount(dir)); err != nil {
					return err
				}
				if before > small || before < small/2 || after < large-(16<<20) || after > large {
					t.Errorf("GrowWhenWritable() = %d, %d; want about %d, %d", before, after, small, large)
				}
				if same < again || same > large {
					t.Errorf("Grow() again = %d, %d; want no change", again, same)
				}
				if out, err := exec.Command(tt.fsck[0], place(tt.fsck[1:], image)...).CombinedOutput(); err != nil {
					return fmt.Errorf("%s: %w: %s", tt.fsck[0], err, out)
				}
				return nil
			})
		})
	}
}

// place puts the file's name where "@" stands, or at the end.
func place(args []string, file string) []string {
	var out []string
	for _, a := range args {
		switch a {
		case "@":
			out, file = append(out, file), ""
		default:
			out = append(out, a)
		}
	}
	if file != "" {
		out = append(out, file)
	}
	return out
}
