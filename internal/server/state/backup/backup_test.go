package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/docs"
	"github.com/gild-dev/gild/internal/server/state/etcd"
	"github.com/gild-dev/gild/internal/server/state/keys"
	"github.com/gild-dev/gild/internal/server/state/storetest"
)

// A backup of a running state, restored elsewhere: everything is there, and
// nothing is armed.
func TestBackup(t *testing.T) {
	s := begin(t)
	const armed, writing, idle = "52:54:00:00:0a:01", "52:54:00:00:0a:02", "uuid/0a-03"
	for _, id := range []string{armed, writing, idle} {
		storetest.Update(t, s, id, func(m *fleet.Record) ([]api.Event, error) {
			m.State, m.Seq = api.MachineRegistered, 3
			if id != idle {
				m.State, m.Session = api.MachineFlashing, "session"
				m.Armed = &fleet.Armed{Plan: api.Plan{ID: "p"}}
				m.Writing = id == writing
			}
			return []api.Event{{Message: "was here"}}, nil
		})
	}
	for i := range 300 { // more than a page
		if err := docs.Put(t.Context(), s.Space, "note", strings.Repeat("n", i+1), "text"); err != nil {
			t.Fatal(err)
		}
	}
	var backup bytes.Buffer
	if _, err := Write(t.Context(), s.Space, &backup); err != nil {
		t.Fatal(err)
	}
	if n, problems, err := Check(bytes.NewReader(backup.Bytes())); n != 3 || len(problems) > 0 || err != nil {
		t.Errorf("Check = %d, %q, %v; want 3 machines without problems", n, problems, err)
	}

	dir := t.TempDir()
	done, err := RestoreDir(t.Context(), dir, s.Prefix, bytes.NewReader(backup.Bytes()))
	if err != nil || done.Machines != 3 {
		t.Fatalf("RestoreDir = %+v, %v; want 3 machines", done, err)
	}
	if diff := cmp.Diff([]string{armed, writing}, done.Disarmed); diff != "" {
		t.Errorf("Disarmed (-want +got):\n%s", diff)
	}
	if _, err := RestoreDir(t.Context(), dir, s.Prefix, bytes.NewReader(backup.Bytes())); err == nil {
		t.Error("a second RestoreDir = nil; want a refusal")
	}
	e, err := etcd.Start(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	got := state.New(keys.Space{Client: e.Client(), Prefix: s.Prefix}, nil, nil)
	for id, state := range map[string]string{armed: api.MachineRegistered, writing: api.MachineFailed, idle: api.MachineRegistered} {
		m, err := got.Get(t.Context(), id)
		if err != nil || m.Armed != nil || m.Session != "" || m.Writing || m.State != state || m.Seq != 3 {
			t.Errorf("restored %s = %+v, %v; want it %s and disarmed", id, m, err, state)
		}
		events, err := got.Events(t.Context(), id)
		if want := 2; err != nil || id != idle && (len(events) != want || events[1].To != state) || events[0].Message != "was here" {
			t.Errorf("events of %s = %+v, %v", id, events, err)
		}
	}
	if docs, err := docs.List[string](t.Context(), got.Space, "note"); len(docs) != 300 || err != nil {
		t.Errorf("%d documents, %v; want 300", len(docs), err)
	}
}

// A directory gives the same backup with and without a server on it: the one
// by its store, the other by its path.
func TestBackupDir(t *testing.T) {
	dir := t.TempDir()
	if err := WriteDir(t.Context(), dir, "/gild/", &bytes.Buffer{}); err == nil {
		t.Error("BackupDir of an empty directory = nil; want an error")
	}
	e, err := etcd.Start(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := state.New(keys.Space{Client: e.Client(), Prefix: "/gild/"}, nil, nil)
	storetest.Update(t, s, storetest.MAC, storetest.Say("hello"))
	var running, stopped bytes.Buffer
	if _, err := Write(t.Context(), s.Space, &running); err != nil {
		t.Fatal(err)
	}
	err = WriteDir(t.Context(), dir, "/gild/", &stopped)
	if _, ok := errors.AsType[*etcd.LockedError](err); !ok {
		t.Errorf("BackupDir beside a server = %v; want a LockedError", err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := WriteDir(t.Context(), dir, "/gild/", &stopped); err != nil {
		t.Fatal(err)
	}
	keys := func(b bytes.Buffer) (all []string) {
		if _, err := read(&b, func(k string, v []byte) error { all = append(all, k+string(v)); return nil }); err != nil {
			t.Error(err)
		}
		return all
	}
	if diff := cmp.Diff(keys(stopped), keys(running)); diff != "" {
		t.Errorf("backup while serving (-stopped +serving):\n%s", diff)
	}
}

// Any byte that is missing or other is found.
func TestDamagedBackup(t *testing.T) {
	const good = `{"gild":"state","version":1,"time":"2026-01-01T00:00:00Z","revision":7}
{"key":"machine/a","value":"e30="}
`
	end := `{"keys":1,"sha256":"` + sumOf(good) + "\"}\n"
	if _, err := read(strings.NewReader(good+end), func(string, []byte) error { return nil }); err != nil {
		t.Fatalf("readBackup of a good one = %v", err)
	}
	for _, bad := range []string{
		"", "x", good, good + end + "x", strings.Replace(good, "e30", "e31", 1) + end, good[:40],
		strings.Replace(good, `"version":1`, `"version":2`, 1) + end,
	} {
		_, err := read(strings.NewReader(bad), func(string, []byte) error { return nil })
		if _, ok := errors.AsType[*Error](err); !ok {
			t.Errorf("readBackup(%.60q) = %v; want a BackupError", bad, err)
		}
	}
}

func FuzzReadBackup(f *testing.F) {
	const head = `{"gild":"state","version":1,"time":"2026-01-01T00:00:00Z","revision":7}` + "\n"
	f.Add([]byte(head + `{"keys":0,"sha256":"` + sumOf(head) + "\"}\n"))
	f.Add([]byte(head + `{"key":"event/a/0000000000000001","value":"W10="}` + "\n"))
	f.Add([]byte(`{"key":"machine/a","value":"e30="}` + "\n" + `{"key":"past/a","value":"W10="}` + "\n"))
	f.Fuzz(func(t *testing.T, p []byte) {
		_, _, _ = Check(bytes.NewReader(p))
		// The same between a head and an end that fit it: what the checksum
		// vouches for is still foreign.
		sealed := head + string(p)
		if len(p) > 0 && p[len(p)-1] != '\n' {
			sealed += "\n"
		}
		n := strings.Count(sealed, "\n") - 1
		sealed += fmt.Sprintf(`{"keys":%d,"sha256":"%s"}`, n, sumOf(sealed)) + "\n"
		keys := 0
		_, err := read(strings.NewReader(sealed), func(key string, value []byte) error {
			keys++
			if strings.HasPrefix(key, "machine/") {
				checkDisarmed(t, value)
			}
			return nil
		})
		if _, told := errors.AsType[*Error](err); err != nil && !told || err == nil && keys != n {
			t.Errorf("readBackup(%q) = %d keys, %v; want %d, or a BackupError", sealed, keys, err, n)
		}
		_, _, _ = Check(strings.NewReader(sealed))
	})
}

// checkDisarmed holds for whatever a record in a backup says.
func checkDisarmed(t *testing.T, value []byte) {
	t.Helper()
	_, out, _, err := disarm(value)
	var m fleet.Record
	if err == nil && (json.Unmarshal(out, &m) != nil || m.Armed != nil || m.Session != "") {
		t.Errorf("disarm(%q) = %q; want a record without an arm", value, out)
	}
}

// begin starts an etcd for the test.
func begin(t *testing.T) *state.Store {
	t.Helper()
	e, err := etcd.Start(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return state.New(keys.Space{Client: e.Client(), Prefix: "/gild/"}, nil, nil)
}

func sumOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
