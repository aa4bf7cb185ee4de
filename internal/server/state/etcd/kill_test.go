package etcd

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/child"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/keys"
	"github.com/gild-dev/gild/internal/server/state/past"
	"github.com/gild-dev/gild/internal/server/state/storetest"
)

const killDir = "GILD_TEST_STATE_DIR"

// TestMain lets the test binary be the server that TestKill kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		writeForEver(dir)
	}
	os.Exit(m.Run())
}

// writeForEver counts a machine up and prints each number when it is
// acknowledged.
func writeForEver(dir string) {
	ctx := context.Background()
	e, err := Start(ctx, dir, nil)
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	s := state.New(keys.Space{Client: e.Client(), Prefix: "/gild/"}, nil, nil)
	for {
		m, err := s.Update(ctx, storetest.MAC, func(m *fleet.Record) ([]api.Event, error) {
			m.Seq++
			return []api.Event{{Seq: m.Seq}}, nil
		})
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		fmt.Println(m.Seq)
	}
}

// TestKill kills a server in the middle of writing, several times, and looks
// for every change that it had acknowledged.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	var acked uint64
	for round := range 5 {
		acked = killOnce(t, dir, 40+37*round)
	}
	e, err := Start(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	s := state.New(keys.Space{Client: e.Client(), Prefix: "/gild/"}, nil, nil)
	m, err := s.Get(t.Context(), storetest.MAC)
	if err != nil || m.Seq < acked || m.Seq > acked+1 {
		t.Fatalf("after the last kill: count %d, %v; want %d, or one more that was not acknowledged", m.Seq, err, acked)
	}
	events, err := s.Events(t.Context(), storetest.MAC)
	if err != nil || uint64(len(events)) != min(m.Seq, past.KeptEvents) {
		t.Fatalf("%d events, %v; want %d", len(events), err, m.Seq)
	}
	for i, e := range events {
		if want := m.Seq - uint64(len(events)-1-i); e.Seq != want {
			t.Fatalf("event %d is %d; want %d", i, e.Seq, want)
		}
	}
}

// killOnce runs the server until it acknowledged n changes and kills it. It
// returns the last number acknowledged.
func killOnce(t *testing.T, dir string, n int) uint64 {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), killDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := child.For(t, cmd)
	defer func() { _ = p.Wait() }()
	var last uint64
	lines := bufio.NewScanner(out)
	for i := 0; lines.Scan(); i++ {
		var v uint64
		if _, err := fmt.Sscan(lines.Text(), &v); err != nil {
			t.Fatalf("server said %s", strings.TrimSpace(lines.Text()))
		}
		if last != 0 && v != last+1 {
			t.Fatalf("server counted %d after %d", v, last)
		}
		last = v
		if i == n {
			// What it prints between this line and its death counts too.
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return last
}
