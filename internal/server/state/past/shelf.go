// Package past keeps what has happened to the machines, each with its own
// events in a bound, all of them in a log.
package past

import (
	"fmt"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/budget"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/state/keys"
)

// Past is what has happened to the machines of a space. It is safe for
// concurrent use.
type Past struct {
	keys.Space
	kept  func(*fleet.Record) int
	trims logTrim
}

// New is the past in a space. kept is how many events are kept of a machine,
// at most KeptEvents; nil: as many of each.
func New(space keys.Space, kept func(*fleet.Record) int) *Past {
	return &Past{Space: space, kept: kept}
}

// Shelf is one part of a machine's past, each with a bound of its own, so that
// who talks without end crowds out only what was said like it. Anybody on
// the boot network can fill the first, and can make the server note this and
// that; nobody there makes an operator's deed, or the receipt of a flash that
// no operator armed.
type Shelf int

// The shelves, by who said what is on them.
const (
	Told     Shelf = iota // by agents, firmware and systems
	notes                 // of the server
	deeds                 // of operators
	receipts              // of flashes
	shelves               // how many there are
)

var (
	// Kinds are the kinds of their keys.
	Kinds = [shelves]string{"event", "note", "deed", "receipt"}
	// Logs are the kinds of the logs of all machines.
	Logs = [shelves]string{"log", "log-note", "log-deed", "log-deed"}
	// keptOn is how many events are kept of one machine at most.
	keptOn = [shelves]uint64{budget.Events, budget.Notes, budget.Deeds, budget.Receipts}
)

// shelfOf says where an event belongs.
func shelfOf(e *api.Event) Shelf {
	switch {
	case e.Receipt != nil:
		return receipts
	case e.ByOperator():
		return deeds
	case e.Actor == api.ActorServer:
		return notes
	}
	return Told
}

// Counts are how many events each shelf of a machine had so far.
type Counts [shelves]uint64

func (c *Counts) sum() (n uint64) {
	for _, x := range c {
		n += x
	}
	return n
}

func (s *Past) shelfKey(on Shelf, id string, n uint64) string {
	return fmt.Sprintf("%s%016x", s.Under(Kinds[on], id), n)
}

// Append appends events to a machine's past and to the log, and drops what is
// too much. They are numbered in the order in which they are given.
func (s *Past) Append(id string, m *fleet.Record, so *Counts, events []api.Event) ([]clientv3.Op, error) {
	var by [shelves][]api.Event
	number := so.sum()
	for _, e := range events {
		number++
		e.Number = number
		on := shelfOf(&e)
		by[on] = append(by[on], e)
	}
	var ops []clientv3.Op
	for on := range shelves {
		if len(by[on]) == 0 {
			continue
		}
		p, err := keys.Encode(by[on])
		if err != nil {
			return nil, err
		}
		// Named by the last of them, so that none is dropped before its time.
		so[on] += uint64(len(by[on]))
		last := so[on]
		ops = append(ops, clientv3.OpPut(s.shelfKey(on, id, last), p))
		if kept := s.keptOf(on, m); last > kept {
			ops = append(ops, clientv3.OpDelete(s.shelfKey(on, id, 0), clientv3.WithRange(s.shelfKey(on, id, last-kept))))
		}
		entry, err := s.logOp(on, id, m.Spec.Name, last, by[on])
		if err != nil {
			return nil, err
		}
		ops = append(ops, entry)
	}
	return ops, nil
}

// Forget drops the past of a machine.
func (s *Past) Forget(id string) []clientv3.Op {
	ops := []clientv3.Op{clientv3.OpDelete(s.Key("past", id))}
	for _, kind := range Kinds {
		ops = append(ops, clientv3.OpDelete(s.Under(kind, id), clientv3.WithPrefix()))
	}
	return ops
}

// keptOf is how much is kept of a machine: less where nobody but the network
// speaks of it, and has made the server note things.
func (s *Past) keptOf(on Shelf, m *fleet.Record) uint64 {
	if s.kept == nil || on != Told && on != notes {
		return keptOn[on]
	}
	return min(uint64(max(s.kept(m), 1)), keptOn[on])
}

// shelved reads all shelves of a machine, in the order of its events.
func shelved(all [shelves][]api.Event) []api.Event {
	var events []api.Event
	for on, some := range all {
		events = append(events, some[max(0, len(some)-int(keptOn[on])):]...)
	}
	slices.SortStableFunc(events, func(a, b api.Event) int {
		switch {
		case a.Number < b.Number:
			return -1
		case a.Number > b.Number:
			return 1
		}
		return 0
	})
	return events
}
