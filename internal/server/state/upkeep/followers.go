package upkeep

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// backWithin is how long the past is kept for a follower that was cut off
	// and may come back to where it was.
	backWithin = 30 * time.Second
	// askWithin bounds a question of how far the state is.
	askWithin = time.Second
)

// followers are the watches of this process, which is the only client of its
// etcd: the past that one of them still needs is kept for it, within a budget.
type followers struct {
	clientv3.Watcher
	now func() int64 // revision of the state

	mu   sync.Mutex
	live map[*follower]bool
	gone []departure
}

// follower is one watch. Its fields are guarded by the mutex of followers.
type follower struct {
	at      int64         // revision up to which all is done with
	looked  int64         // at, as it was at the last look
	waiting int64         // revision of what it is to take next; 0: nothing
	behind  chan struct{} // closed when its past is no longer kept
	passed  int64         // revision that was forgotten up to, then
}

// departure is where a follower was that has ended.
type departure struct {
	at    int64
	until time.Time
}

// Watch implements clientv3.Watcher.
func (f *followers) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	// All share one stream, on which all are told how far the state is.
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	one := &follower{behind: make(chan struct{})}
	// The place is taken before the watch begins: nothing between is lost.
	if op := clientv3.OpGet(key, opts...); op.Rev() > 0 {
		one.at = op.Rev() - 1
	} else {
		one.at = f.now()
	}
	one.looked = one.at
	f.mu.Lock()
	f.live[one] = true
	f.mu.Unlock()
	in, out := f.Watcher.Watch(ctx, key, opts...), make(chan clientv3.WatchResponse)
	go func() {
		defer cancel()
		defer close(out)
		defer f.leave(one)
		f.pass(ctx, one, in, out)
	}()
	return out
}

// pass hands on what a follower hears. It is unbuffered, so that who takes one
// response is done with those before it.
func (f *followers) pass(ctx context.Context, one *follower, in clientv3.WatchChan, out chan<- clientv3.WatchResponse) {
	for {
		var resp clientv3.WatchResponse
		var open bool
		select {
		case resp, open = <-in:
		case <-one.behind:
			f.dismiss(ctx, one, out)
			return
		}
		if !open {
			return
		}
		before, last := span(&resp)
		f.mu.Lock()
		one.waiting = last
		f.mu.Unlock()
		select {
		case out <- resp:
		case <-one.behind:
			f.dismiss(ctx, one, out)
			return
		case <-ctx.Done():
			return
		}
		f.mu.Lock()
		one.at, one.waiting = max(one.at, before), 0
		f.mu.Unlock()
	}
}

// span is the revision before a response, and its last one.
func span(resp *clientv3.WatchResponse) (before, last int64) {
	if n := len(resp.Events); n > 0 {
		return resp.Events[0].Kv.ModRevision - 1, resp.Events[n-1].Kv.ModRevision
	}
	if resp.IsProgressNotify() {
		return resp.Header.GetRevision(), resp.Header.GetRevision()
	}
	return 0, 0
}

// dismiss tells a follower that what it needs is not kept any more.
func (f *followers) dismiss(ctx context.Context, one *follower, out chan<- clientv3.WatchResponse) {
	f.mu.Lock()
	resp := clientv3.WatchResponse{Header: &etcdserverpb.ResponseHeader{}, Canceled: true, CompactRevision: one.passed}
	f.mu.Unlock()
	select {
	case out <- resp:
	case <-ctx.Done():
	}
}

func (f *followers) leave(one *follower) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.live, one)
	if one.passed == 0 {
		// What it was sent last it may not have received.
		f.gone = append(f.gone, departure{one.looked, time.Now().Add(backWithin)})
	}
}

// look returns the revision up to which no follower needs the past, at most
// most, and asks the state to tell those who hear nothing how far it is.
func (f *followers) look(ctx context.Context, most int64) int64 {
	needed := most
	f.mu.Lock()
	f.gone = slices.DeleteFunc(f.gone, func(d departure) bool { return time.Now().After(d.until) })
	for _, d := range f.gone {
		needed = min(needed, d.at)
	}
	for one := range f.live {
		needed, one.looked = min(needed, one.looked), one.at
	}
	some := len(f.live) > 0
	f.mu.Unlock()
	if some {
		ask, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), askWithin)
		defer cancel()
		_ = f.RequestProgress(ask) // the next look asks again
	}
	return needed
}

// forgot tells those that needed the past before a revision that it is gone.
func (f *followers) forgot(revision int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for one := range f.live {
		if one.waiting > 0 && one.waiting <= revision && one.passed == 0 {
			one.passed = revision
			close(one.behind)
		}
	}
}
