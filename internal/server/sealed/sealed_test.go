package sealed

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/server/machines"
	"github.com/gild-dev/gild/internal/server/state/backup"
	"github.com/gild-dev/gild/internal/server/state/docs"
	"github.com/gild-dev/gild/internal/server/state/etcd"
	"github.com/gild-dev/gild/internal/server/state/keys"
)

const canary = "CANARY-pw-4A7E"

func space(t *testing.T) keys.Space {
	t.Helper()
	db, err := etcd.Start(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return machines.NewStore(db.Client(), "").Space
}

func open(t *testing.T, s keys.Space, dir string) *Box {
	t.Helper()
	b, err := Open(t.Context(), s, dir)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func want(t *testing.T, b *Box, name, secret string) {
	t.Helper()
	if got, found, err := b.Get(t.Context(), name); err != nil || found != (secret != "") || got != secret {
		t.Errorf("Get(%s) = %q, %v, %v; want %q", name, got, found, err, secret)
	}
}

func TestSealed(t *testing.T) {
	s, dir := space(t), t.TempDir()
	b := open(t, s, dir)
	want(t, b, "one", "")
	for name, secret := range map[string]string{"one": canary, "two": "other"} {
		if err := b.Put(t.Context(), name, secret); err != nil {
			t.Fatal(err)
		}
	}
	want(t, b, "one", canary)
	want(t, open(t, s, dir), "one", canary) // after a restart
	if info, err := os.Stat(KeyFile(dir)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v; want mode 0600", info.Mode(), err)
	}

	// A backup holds nothing to read, and neither does another server's key open
	// it.
	var all bytes.Buffer
	if _, err := backup.Write(t.Context(), s, &all); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(all.String(), canary) {
		t.Error("a backup shows the password")
	}
	later := open(t, s, t.TempDir())
	_, found, err := later.Get(t.Context(), "one")
	if e, ok := errors.AsType[*UnopenedError](err); !ok || !found || e.Hint() == "" || strings.Contains(err.Error(), canary) {
		t.Errorf("a server that came later: Get = %v, %v; want that it cannot open it, and what to do", found, err)
	}
	// What is given from now on is for both.
	if err := b.Put(t.Context(), "one", canary+"2"); err != nil {
		t.Fatal(err)
	}
	want(t, later, "one", canary+"2")
	want(t, b, "one", canary+"2")
}

// A secret that somebody puts in the place of another is not opened as that.
func TestSecretsAreNotExchanged(t *testing.T) {
	s := space(t)
	b := open(t, s, t.TempDir())
	if err := b.Put(t.Context(), "mine", canary); err != nil {
		t.Fatal(err)
	}
	var k kept
	if _, err := docs.Get(t.Context(), s, kindSecret, "mine", &k); err != nil {
		t.Fatal(err)
	}
	if err := docs.Put(t.Context(), s, kindSecret, "yours", k); err != nil {
		t.Fatal(err)
	}
	if got, _, err := b.Get(t.Context(), "yours"); err == nil {
		t.Errorf("Get = %q; want it refused", got)
	}
}

func TestSweep(t *testing.T) {
	b := open(t, space(t), t.TempDir())
	now := time.Now()
	b.now = func() time.Time { return now }
	for _, name := range []string{"used", "unused", "young"} {
		if name == "young" {
			now = now.Add(2 * graceful)
		}
		if err := b.Put(t.Context(), name, canary); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Sweep(t.Context(), func(name string) bool { return name == "used" }); err != nil {
		t.Fatal(err)
	}
	want(t, b, "used", canary)
	want(t, b, "unused", "")
	want(t, b, "young", canary)
}

func TestDamagedKey(t *testing.T) {
	s, dir := space(t), t.TempDir()
	if err := os.WriteFile(KeyFile(dir), []byte(canary), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), s, dir); err == nil || strings.Contains(err.Error(), canary) {
		t.Errorf("Open = %v; want an error that does not show the file", err)
	}
}
