package etcd

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/disk/mounttest"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/docs"
	"github.com/gild-dev/gild/internal/server/state/keys"
	"github.com/gild-dev/gild/internal/server/state/storetest"
	"github.com/gild-dev/gild/internal/tier"
)

// A disk that is filled by others, at once and under changes, closes the state
// and does not end it; what was acknowledged is there, what makes room is
// taken, and with room it opens again.
func TestDiskThatFills(t *testing.T) {
	tier.Root(t, "mounting a file system needs root")
	for name, mount := range map[string]func(t *testing.T, dir string){
		"tmpfs": func(t *testing.T, dir string) {
			if err := syscall.Mount("gild-test", dir, "tmpfs", 0, "size=512m"); err != nil {
				t.Skipf("cannot mount a tmpfs: %v", err)
			}
		},
		"ext4": func(t *testing.T, dir string) {
			image := filepath.Join(t.TempDir(), "image")
			for _, args := range [][]string{
				{"truncate", "-s", "512M", image},
				{"mkfs.ext4", "-q", "-m", "0", image},
				{"mount", "-o", "loop", image, dir},
			} {
				if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
					t.Skipf("%v: %v: %s", args, err, out)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			mount(t, dir)
			defer mounttest.Unmount(t, dir)
			e, err := Start(t.Context(), dir, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			s := state.New(keys.Space{Client: e.Client(), Prefix: "/gild/"}, nil, nil)
			storetest.Update(t, s, storetest.MAC, func(m *fleet.Record) ([]api.Event, error) { m.Spec.Name = "kept"; return nil, nil })
			for range 2 { // it opens as often as it closes
				mounttest.Fill(t, filepath.Join(dir, "filler"))
				putUntilClosed(t, s)
				if usage, err := s.Usage(t.Context()); err != nil || !usage.Full {
					t.Errorf("Usage on a full disk = %+v, %v; want Full", usage, err)
				}
				if err := docs.Delete(t.Context(), s.Space, "kind", "doc"); err != nil {
					t.Errorf("what makes room on a full disk = %v", err)
				}
				if m, err := s.Get(t.Context(), storetest.MAC); err != nil || m.Spec.Name != "kept" {
					t.Errorf("the machine on a full disk = %+v, %v", m, err)
				}
				if err := os.Remove(filepath.Join(dir, "filler")); err != nil {
					t.Fatal(err)
				}
				awaitRoom(t, s)
			}
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			if err := e.Stopped(ended); !errors.Is(err, context.Canceled) {
				t.Errorf("etcd has ended: %v", err)
			}
		})
	}
}

// putUntilClosed changes the state, without rest, until it takes no more.
func putUntilClosed(t *testing.T, s *state.Store) {
	t.Helper()
	for i := range 100_000 {
		err := docs.Put(t.Context(), s.Space, "kind", "doc", strings.Repeat("x", 1000+i%1000))
		if _, full := errors.AsType[*keys.FullError](err); full {
			return
		}
		if err != nil {
			t.Fatalf("change %d on a full disk = %v; want a *FullError", i, err)
		}
	}
	t.Fatal("the state takes changes on a full disk for ever")
}

func awaitRoom(t *testing.T, s *state.Store) {
	t.Helper()
	var err error
	for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err = docs.Put(t.Context(), s.Space, "kind", "doc", "y"); err == nil {
			return
		}
	}
	t.Fatalf("a change when there is room again = %v", err)
}
