// Package state keeps the machines in etcd.
//
// A store works on any etcd client, of the etcd that package etcd runs inside
// this process or of the operator's cluster, and so do several servers on one
// cluster. Its rooms keep what else the server knows: docs the documents of the
// operator, past what has happened, addresses the leases of DHCP, presence the
// servers that are alive; all of them by package keys. A change that was
// acknowledged is on the disk. Losing everything is safe: a machine without a
// record boots its local disk.
//
// Keys below the prefix, values are JSON; names are escaped as in a URL's path:
//
//	machine/ID              the record, without what changes every second
//	live/ID                 what changes every second: progress, when last seen
//	event/ID/NUMBER         events that came together; NUMBER of the last, 16 hex digits
//	past/ID                 events of records that were joined into this one
//	alias/LABEL/ID          the machine is known by this label too; empty
//	log/TIME-ID             {machine, number} of an event key; TIME in ns, 16 hex digits
//	doc/KIND/NAME           a document
//	lease/ADDRESS           who has leased an address by DHCP, and until when
//	server/URL              a gild serve that is alive, on a lease
//	guard/NAME              changed by each change that rests on a look at many records; empty
package state

import (
	"context"
	"errors"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/state/keys"
	"github.com/gild-dev/gild/internal/server/state/past"
	"github.com/gild-dev/gild/internal/server/turns"
)

// MaxAliases is how many labels one machine may be found by beside its ID.
// The largest transaction, a join, takes three times as many operations and a
// few more; a cluster that is configured by default takes 128.
const MaxAliases = 34

// ErrNotFound means that there is no record of the machine.
var ErrNotFound = errors.New("unknown machine")

// Store reads and changes machines. It is safe for concurrent
// use, and so are several stores on one cluster.
type Store struct {
	keys.Space
	aliasesFor func(*fleet.Record) []string // nil: none
	past       *past.Past
	turns      turns.Turns // of those who change a record
}

// New makes a store of a space. aliases returns every label by which a machine
// is to be found beside its ID: MACs as they are, others with their kind before
// them ("uuid/...", "name/..."), what counts most first, for only MaxAliases
// are kept; nil: none. kept is how many events are kept of a machine, at most
// past.KeptEvents; nil: as many of each.
func New(space keys.Space, aliases func(*fleet.Record) []string, kept func(*fleet.Record) int) *Store {
	return &Store{Space: space, aliasesFor: aliases, past: past.New(space, kept)}
}

// Events returns what is kept of a machine's past, oldest first.
func (s *Store) Events(ctx context.Context, id string) ([]api.Event, error) {
	return s.past.Events(ctx, id)
}

// Note enters into the log what was done that is of no one machine.
func (s *Store) Note(ctx context.Context, e api.Event) error { return s.past.Note(ctx, e) }

// Recent is [past.Past.Recent].
func (s *Store) Recent(ctx context.Context, limit int, audit bool) ([]api.LogEntry, error) {
	return s.past.Recent(ctx, limit, audit)
}
