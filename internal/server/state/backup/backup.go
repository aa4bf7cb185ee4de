// Package backup writes a state into one file, checks such a file, brings it
// back.
package backup

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/keys"
	"github.com/gild-dev/gild/internal/server/state/past"
)

// A backup is lines of JSON: a head, one line a key, an end with the SHA-256
// of all bytes before it. It is what the keys were at one revision, so it goes
// from an embedded etcd to a cluster and back, and it holds secrets.
type (
	head struct {
		Gild     string    `json:"gild"` // "state"
		Version  int       `json:"version"`
		Time     time.Time `json:"time"`
		Revision int64     `json:"revision"`
	}
	entry struct {
		Key   string `json:"key"` // without the prefix
		Value []byte `json:"value"`
	}
	end struct {
		Keys   int    `json:"keys"`
		SHA256 string `json:"sha256"`
	}
)

const (
	version = 1
	// maxLine bounds a line in bytes: base64 of the largest value.
	maxLine = 8 << 20
	// pageKeys is how many keys are asked for at a time.
	pageKeys = 200
)

// passing are the kinds of keys that mean nothing in another life: they are
// between processes that run now.
func passing(key string) bool {
	kind, _, _ := strings.Cut(key, "/")
	return kind == "server" || kind == "lease" || kind == "guard"
}

// Write writes everything below the prefix as it is at one moment, while
// others keep changing it.
func Write(ctx context.Context, s keys.Space, w io.Writer) (keys int, err error) {
	sum := sha256.New()
	out := json.NewEncoder(io.MultiWriter(w, sum))
	next, last := s.Prefix, clientv3.GetPrefixRangeEnd(s.Prefix)
	rev := int64(0)
	for {
		// Revision 0 is now; the further pages are of the first one's.
		resp, err := s.Read(ctx, next, clientv3.WithRange(last), clientv3.WithLimit(pageKeys), clientv3.WithRev(rev))
		if err != nil {
			return keys, fmt.Errorf("backing up: %w", err)
		}
		if rev == 0 {
			rev = resp.Header.Revision
			if err := out.Encode(head{"state", version, time.Now().UTC(), rev}); err != nil {
				return keys, err
			}
		}
		for _, kv := range resp.Kvs {
			key := strings.TrimPrefix(string(kv.Key), s.Prefix)
			if passing(key) {
				continue
			}
			if err := out.Encode(entry{key, kv.Value}); err != nil {
				return keys, err
			}
			keys++
		}
		if !resp.More {
			break
		}
		next = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
	return keys, json.NewEncoder(w).Encode(end{keys, hex.EncodeToString(sum.Sum(nil))})
}

// Error says what is wrong with a backup or with a state.
type Error struct{ What string }

func (e *Error) Error() string { return e.What }

// read calls each for every key and returns the head. A backup that is
// not whole is an error, but only at its end.
func read(r io.Reader, each func(key string, value []byte) error) (head, error) {
	var head head
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	sum := sha256.New()
	begun := lines.Scan()
	if err := lines.Err(); err != nil && !errors.Is(err, bufio.ErrTooLong) {
		return head, fmt.Errorf("reading the state: %w", err)
	}
	if !begun || json.Unmarshal(lines.Bytes(), &head) != nil || head.Gild != "state" {
		return head, &Error{"this is no backup of gild's state"}
	}
	if head.Version != version {
		return head, &Error{fmt.Sprintf("the backup has format %d, this gild reads %d", head.Version, version)}
	}
	addLine(sum, lines.Bytes())
	for n := 0; lines.Scan(); n++ {
		var line struct {
			entry
			end
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return head, &Error{fmt.Sprintf("line %d of the backup is damaged", n+2)}
		}
		if line.SHA256 != "" {
			if line.SHA256 != hex.EncodeToString(sum.Sum(nil)) || line.Keys != n || lines.Scan() {
				return head, &Error{"the backup is damaged: its checksum is wrong"}
			}
			return head, nil
		}
		addLine(sum, lines.Bytes())
		if err := each(line.Key, line.Value); err != nil {
			return head, err
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, bufio.ErrTooLong) {
		return head, fmt.Errorf("reading the backup: %w", err)
	}
	return head, &Error{"the backup is cut short: its end is missing"}
}

func addLine(sum hash.Hash, line []byte) {
	sum.Write(line)
	sum.Write([]byte{'\n'})
}

// Restored is what a restore did.
type Restored struct {
	Taken    time.Time // when the backup was
	Machines int
	Disarmed []string // IDs of machines that were armed
}

// Restore brings a backup into a store without any keys. No machine is armed
// afterwards, whatever the backup says: what happened since is not known, and
// a machine that has been flashed must not be flashed again by surprise. On an
// error keys may be left behind.
func Restore(ctx context.Context, s *state.Store, r io.Reader) (Restored, error) {
	var done Restored
	resp, err := s.Read(ctx, s.Prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return done, fmt.Errorf("restoring: %w", err)
	}
	if resp.Count > 0 {
		return done, &Error{fmt.Sprintf("there is a state already, of %d keys: a restore wants an empty one", resp.Count)}
	}
	head, err := read(r, func(key string, value []byte) error {
		if passing(key) {
			return nil
		}
		if strings.HasPrefix(key, "machine/") {
			done.Machines++
			id, disarmed, armed, err := disarm(value)
			if err != nil {
				return &Error{fmt.Sprintf("%.200q cannot be read", key)}
			}
			if value = disarmed; armed {
				done.Disarmed = append(done.Disarmed, id)
			}
		}
		_, err := s.Txn(ctx, nil, clientv3.OpPut(s.Prefix+key, string(value)))
		return err
	})
	if err != nil {
		return done, fmt.Errorf("restoring: %w", err)
	}
	done.Taken = head.Time
	for _, id := range done.Disarmed {
		if _, err := s.Update(ctx, id, noteRestore(head.Time)); err != nil {
			return done, err
		}
	}
	return done, nil
}

// disarm takes the permission to write out of a record. The session goes too,
// so that an agent that still runs finds its plan lost and stops.
func disarm(value []byte) (id string, out []byte, armed bool, err error) {
	var m fleet.Record
	if err := json.Unmarshal(value, &m); err != nil {
		return "", nil, false, err
	}
	m.Upgrade()
	armed = m.Armed != nil
	if armed {
		if m.State, m.Trouble = api.MachineRegistered, nil; m.Writing {
			m.State, m.Trouble = api.MachineFailed, &fleet.Trouble{Cause: api.CauseRestored}
		}
	}
	m.Armed, m.Awaited, m.Progress = nil, nil, nil
	m.Writing, m.Waiting, m.Session = false, false, ""
	text, err := keys.Encode(m)
	return m.ID, []byte(text), armed, err
}

func noteRestore(taken time.Time) func(*fleet.Record) ([]api.Event, error) {
	return func(m *fleet.Record) ([]api.Event, error) {
		now := time.Now()
		m.Since, m.Progress = now, nil
		cause := ""
		if m.Trouble != nil {
			own := *m.Trouble
			own.Since, cause = now, own.Cause
			m.Trouble = &own
		}
		m.Message = "disarmed: the state was restored from a backup of " + taken.UTC().Format(time.RFC3339)
		return []api.Event{{
			Time: now, Step: "restore", State: api.StateDone, Message: m.Message,
			Cause: cause, Actor: api.ActorOperator, To: m.State,
		}}, nil
	}
}

// Check reads a backup and reports everything that does not fit together.
func Check(r io.Reader) (machines int, problems []string, err error) {
	known := map[string]bool{}
	var refer [][2]string // key, ID that it speaks of
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	_, err = read(r, func(key string, value []byte) error {
		kind, rest, _ := strings.Cut(key, "/")
		id := keys.LastPart([]byte(key))
		var v any
		switch kind {
		case "machine":
			m := &fleet.Record{}
			v = m
			known[id] = true
			if json.Unmarshal(value, m) == nil && m.ID != "" && m.ID != id {
				bad("%s is the record of %q", key, m.ID)
			}
		case "live":
			v = &state.Live{}
			refer = append(refer, [2]string{key, id})
		case "alias":
			refer = append(refer, [2]string{key, id})
		case "past":
			v = &[]api.Event{}
			refer = append(refer, [2]string{key, id})
		case "doc":
			v = new(any)
		default:
			switch {
			case slices.Contains(past.Kinds[:], kind):
				v = &[]api.Event{}
				refer = append(refer, [2]string{key, past.EventMachine(rest)})
			case slices.Contains(past.Logs[:], kind):
				v = new(any)
			default:
				bad("%.200q is not one of gild's keys", key)
			}
		}
		if v != nil && json.Unmarshal(bytes.TrimSpace(value), v) != nil {
			bad("%s cannot be read", key)
		}
		return nil
	})
	for _, x := range refer {
		if !known[x[1]] {
			bad("%s speaks of a machine that has no record", x[0])
		}
	}
	return len(known), problems, err
}
