package past

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/budget"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/state/keys"
)

// keptLog is how many entries each log keeps at least; each is of one or more
// events.
const keptLog = budget.LogEntries

// logged is an entry of the log of what operators and the server did. It is
// whole, so that it outlives the machine.
type logged struct {
	Machine string      `json:"machine"`
	Name    string      `json:"name,omitempty"`
	Events  []api.Event `json:"events"`
}

// place is an entry of the log of what machines told: where their past has it.
type place struct {
	Machine string `json:"machine"`
	Number  uint64 `json:"number"`
}

// logOp enters the events of one shelf into its log; number is that of the last
// on the shelf.
func (s *Past) logOp(on Shelf, id, name string, number uint64, events []api.Event) (clientv3.Op, error) {
	at := fmt.Sprintf("%016x-%s", time.Now().UnixNano(), id)
	var entry any = place{Machine: id, Number: number}
	if on != Told {
		at += "-" + Kinds[on]
		entry = logged{id, name, withoutSamples(events)}
	}
	p, err := keys.Encode(entry)
	return clientv3.OpPut(s.Key(Logs[on], at), p), err
}

// LastWords enters what is told of a machine that goes.
func (s *Past) LastWords(id, name string, so *Counts, events []api.Event) (ops []clientv3.Op, err error) {
	if len(events) == 0 {
		return nil, nil
	}
	for i := range events {
		events[i].Number = so.sum() + uint64(i) + 1
	}
	entry, err := s.logOp(shelfOf(&events[0]), id, name, 0, events)
	return []clientv3.Op{entry}, err
}

// Note enters into the log what was done that is of no one machine.
func (s *Past) Note(ctx context.Context, e api.Event) error {
	op, err := s.logOp(shelfOf(&e), "", "", 0, []api.Event{e})
	if err == nil {
		_, err = s.Txn(ctx, nil, op)
	}
	if keys.Unsure(err) && s.Holds(ctx, string(op.KeyBytes()), string(op.ValueBytes())) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("entering %q into the log: %w", e.Message, err)
	}
	s.Trim(ctx, []api.Event{e})
	return nil
}

// withoutSamples leaves the throughput over time to the machine's own past.
func withoutSamples(events []api.Event) []api.Event {
	events = slices.Clone(events)
	for i := range events {
		if r := events[i].Receipt; r != nil {
			short := *r
			short.Samples = nil
			events[i].Receipt = &short
		}
	}
	return events
}

// stamped is an event of a log with the moment of its entry, which sorts as
// text.
type stamped struct {
	at string
	api.LogEntry
}

// Recent returns the newest events of all machines, newest first, at most
// limit. What machines told takes no more than half of it where operators and
// the server did as much; audit leaves it out. What was told by machines that
// were deleted or joined since is left out, too.
func (s *Past) Recent(ctx context.Context, limit int, audit bool) ([]api.LogEntry, error) {
	limit = min(limit, keptLog)
	if limit <= 0 {
		return nil, nil
	}
	done, err := s.recentWhole(ctx, Logs[deeds], limit)
	if err != nil {
		return nil, err
	}
	noted, err := s.recentWhole(ctx, Logs[notes], limit)
	if err != nil {
		return nil, err
	}
	all := fair(done, noted, limit)
	if !audit {
		said, err := s.recentTold(ctx, limit)
		if err != nil {
			return nil, err
		}
		all = fair(all, said, limit)
	}
	entries := make([]api.LogEntry, len(all))
	for i := range all {
		entries[i] = all[i].LogEntry
	}
	return entries, nil
}

// newer says which of two events comes first in a list, newest first.
func newer(x, y stamped) int {
	return cmp.Or(cmp.Compare(y.at, x.at), cmp.Compare(y.Event.Number, x.Event.Number))
}

// fair merges two lists, newest first, into at most limit entries, of which
// each has half if it has that many.
func fair(a, b []stamped, limit int) []stamped {
	i, j := 0, 0
	for i+j < limit && i+j < len(a)+len(b) {
		if j == len(b) || i < len(a) && newer(a[i], b[j]) <= 0 {
			i++
		} else {
			j++
		}
	}
	if half := limit / 2; i < half {
		i = min(len(a), half)
		j = min(j, limit-i)
	} else if j < half {
		j = min(len(b), half)
		i = min(i, limit-j)
	}
	all := slices.Concat(a[:i], b[:j])
	slices.SortStableFunc(all, newer)
	return all
}

// recentWhole reads the newest of a log whose entries are whole.
func (s *Past) recentWhole(ctx context.Context, log string, limit int) ([]stamped, error) {
	kvs, err := s.newestOf(ctx, log, limit)
	if err != nil {
		return nil, err
	}
	var out []stamped
	for _, kv := range kvs {
		var l logged
		if err := keys.DecodeKey(kv.Key, kv.Value, &l); err != nil {
			l.Events = unread(err)
		}
		out = appendNewest(out, kv, l)
	}
	return out[:min(limit, len(out))], nil
}

// appendNewest takes an entry apart.
func appendNewest(out []stamped, kv *mvccpb.KeyValue, l logged) []stamped {
	at, _, _ := strings.Cut(keys.LastPart(kv.Key), "-")
	for _, e := range slices.Backward(l.Events) {
		out = append(out, stamped{at, api.LogEntry{Machine: l.Machine, Name: l.Name, Event: e}})
	}
	return out
}

func (s *Past) newestOf(ctx context.Context, log string, limit int, opts ...clientv3.OpOption) ([]*mvccpb.KeyValue, error) {
	opts = append(opts, clientv3.WithPrefix(), clientv3.WithLimit(int64(limit)), clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend))
	resp, err := s.Read(ctx, s.Under(log), opts...)
	if err != nil {
		return nil, fmt.Errorf("reading the log: %w", err)
	}
	return resp.Kvs, nil
}

// recentTold reads the newest of what machines told.
func (s *Past) recentTold(ctx context.Context, limit int) ([]stamped, error) {
	kvs, err := s.newestOf(ctx, Logs[Told], limit)
	if err != nil {
		return nil, err
	}
	var out []stamped
	names := map[string]string{}
	for some := range slices.Chunk(kvs, keys.OpsAtOnce/2) {
		if len(out) >= limit {
			break
		}
		found, err := s.follow(ctx, some, names)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out[:min(limit, len(out))], nil
}

// follow follows places to their events, at most opsAtOnce/2.
func (s *Past) follow(ctx context.Context, places []*mvccpb.KeyValue, names map[string]string) ([]stamped, error) {
	at := make([]place, len(places))
	var ops []clientv3.Op
	for i, kv := range places {
		if keys.DecodeKey(kv.Key, kv.Value, &at[i]) != nil {
			at[i] = place{} // leads nowhere
		}
		ops = append(ops, clientv3.OpGet(s.shelfKey(Told, at[i].Machine, at[i].Number)))
		if _, known := names[at[i].Machine]; !known {
			names[at[i].Machine] = ""
			ops = append(ops, clientv3.OpGet(s.Key("machine", at[i].Machine)))
		}
	}
	resp, err := s.Txn(ctx, nil, ops...)
	if err != nil {
		return nil, fmt.Errorf("reading the log: %w", err)
	}
	events := map[string][]api.Event{}
	for i := range ops {
		for _, kv := range keys.Ranged(resp, i) {
			if strings.HasPrefix(string(kv.Key), s.Under("machine")) {
				var m fleet.Record
				_ = json.Unmarshal(kv.Value, &m) // one that cannot be read has no name
				names[keys.LastPart(kv.Key)] = m.Spec.Name
				continue
			}
			events[string(kv.Key)] = Groups([]*mvccpb.KeyValue{kv})
		}
	}
	var out []stamped
	for i, p := range at {
		out = appendNewest(out, places[i], logged{p.Machine, names[p.Machine], events[s.shelfKey(Told, p.Machine, p.Number)]})
	}
	return out, nil
}

// logTrim counts entries of each log towards the next time that it is cut.
type logTrim [shelves]atomic.Int64

// Trim cuts the logs now and then. That it fails, or that two servers do it
// at once, is harmless: the next time is near.
func (s *Past) Trim(ctx context.Context, events []api.Event) {
	var of [shelves]bool
	for i := range events {
		of[shelfOf(&events[i])] = true
	}
	for on := range shelves {
		if of[on] && s.trims[on].Add(1)%(keptLog/4) == 0 {
			s.trimLog(ctx, Logs[on])
		}
	}
}

func (s *Past) trimLog(ctx context.Context, log string) {
	kvs, err := s.newestOf(ctx, log, keptLog, clientv3.WithKeysOnly())
	if err != nil || len(kvs) < keptLog {
		return
	}
	_, _ = s.Txn(ctx, nil, clientv3.OpDelete(s.Under(log), clientv3.WithRange(string(kvs[len(kvs)-1].Key))))
}
