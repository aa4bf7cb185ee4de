package serve

import (
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gild-dev/gild/internal/server/netlab"
	"github.com/gild-dev/gild/test/lab/host"
)

// The service runs as a user of its own: it says to the service manager when it
// serves, and what root's commands leave in its data directory, while it runs
// and while it does not, is its own.
func TestService(t *testing.T) {
	t.Parallel()
	const user = 65534
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // so that the user gets there
		t.Fatal(err)
	}
	gild := filepath.Join(dir, "gild")
	if out, err := exec.CommandContext(t.Context(), "cp", host.Program(t), gild).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(data, user, user); err != nil {
		t.Fatal(err)
	}
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: filepath.Join(dir, "notify")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = manager.Close() }()
	if err := os.Chmod(manager.LocalAddr().String(), 0o777); err != nil {
		t.Fatal(err)
	}
	const caps = "+net_bind_service,+net_raw"
	as := []string{
		"env", "NOTIFY_SOCKET=" + manager.LocalAddr().String(), "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
		"--bounding-set=-all," + caps, "--inh-caps=-all," + caps, "--ambient-caps=-all," + caps, "--no-new-privs", gild,
	}
	s := startBy(t, netlab.New(t), as, data, "--dhcp", "server")
	said := make([]byte, 100)
	n, err := manager.Read(said) // waits for it
	if err != nil || string(said[:n]) != "READY=1" {
		t.Errorf("the service manager hears %q, %v; want READY=1", said[:n], err)
	}
	confined(t, s, "0000000000002400")
	s.gild("machine", "add", "a", "--mac", "52:54:00:77:00:02")
	if err := os.WriteFile(filepath.Join(dir, "disk.img"), make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	s.gild("image", "add", "empty", filepath.Join(dir, "disk.img"))
	s.gild("state", "backup", filepath.Join(data, "backup"))
	ownedBy(t, data, user)
}

func ownedBy(t *testing.T, dir string, user uint32) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return nil //nolint:nilerr // a file of the server's that has gone
		}
		if of := info.Sys().(*syscall.Stat_t).Uid; of != user {
			t.Errorf("%s is user %d's", strings.TrimPrefix(path, dir), of)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
