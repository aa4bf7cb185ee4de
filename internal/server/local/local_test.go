package local

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func serve(t *testing.T, dir string, c Control) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Serve(ctx, dir) }()
	for range 200 {
		if conn, err := (Client{dir}).dial(ctx, "", ""); err == nil {
			conn.Close()
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	stop = func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Serve = %v; want its context's error", err)
		}
		done <- context.Canceled
	}
	t.Cleanup(stop)
	return stop
}

// What a server does comes back over the socket, also in a directory whose
// path is too long for one.
func TestControl(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep", 40))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	client := Client{dir}
	if _, err := client.NewToken(t.Context()); !errors.Is(err, ErrNoServer) {
		t.Errorf("NewToken without a server = %v; want ErrNoServer", err)
	}
	big := bytes.Repeat([]byte("backup"), 1<<20)
	fail := false
	stop := serve(t, dir, Control{
		Backup: func(_ context.Context, w io.Writer) error {
			if _, err := w.Write(big); err != nil || !fail {
				return err
			}
			return errors.New("the state is gone")
		},
		NewToken: func(context.Context) (string, error) {
			if fail {
				return "", errors.New("etcd does not answer")
			}
			return "gild-new", nil
		},
	})
	if st, err := os.Stat(filepath.Join(dir, socketName)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("socket = %v, %v; want mode 0600", st.Mode(), err)
	}
	var got bytes.Buffer
	if err := client.Backup(t.Context(), &got); err != nil || !bytes.Equal(got.Bytes(), big) {
		t.Errorf("Backup = %d bytes, %v; want %d", got.Len(), err, len(big))
	}
	if token, err := client.NewToken(t.Context()); token != "gild-new" || err != nil {
		t.Errorf("NewToken = %q, %v; want gild-new", token, err)
	}
	fail = true
	if err := client.Backup(t.Context(), io.Discard); err == nil {
		t.Error("Backup that broke off = nil; want an error")
	}
	if _, err := client.NewToken(t.Context()); err == nil || !strings.Contains(err.Error(), "etcd does not answer") {
		t.Errorf("NewToken that failed = %v; want the server's words", err)
	}
	stop()
	// A socket without a server is left behind: that is no server either, and
	// no hindrance for the next one.
	if err := client.Backup(t.Context(), io.Discard); !errors.Is(err, ErrNoServer) {
		t.Errorf("Backup of a server that has ended = %v; want ErrNoServer", err)
	}
	fail = false
	serve(t, dir, Control{NewToken: func(context.Context) (string, error) { return "gild-next", nil }})
	if token, err := client.NewToken(t.Context()); token != "gild-next" || err != nil {
		t.Errorf("NewToken of the next server = %q, %v; want gild-next", token, err)
	}
}
