// Package upkeep looks after the room of the embedded etcd, which nobody else
// can reach.
package upkeep

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
)

const (
	// lookEvery is how often the size of the database is looked at.
	lookEvery = 5 * time.Second
	// historyPart is the part of the quota that the past of keys may take,
	// historyRevisions how many changes it may be of.
	historyPart      = 32
	historyRevisions = 10_000
	// heldPart and heldRevisions bound the same for as long as a follower still
	// needs it. One that is further behind has to begin anew.
	heldPart      = 8
	heldRevisions = 100_000
)

// Keeper forgets the past of keys by its bytes, gives free pages back to the
// file system, closes the state to changes before its disk is full, and opens
// it when there is room again.
type Keeper struct {
	etcd   *embed.Etcd
	client *clientv3.Client
	quota  int64
	disk   disk
	log    *slog.Logger
	follow *followers

	looked int64    // revision at the look before this one
	used   int64    // bytes in use after it
	kept   int64    // revision that the past was forgotten up to
	past   []growth // since then, a look each
}

// growth is by how many bytes the state grew up to a revision.
type growth struct{ revision, bytes int64 }

// New makes the keeper of an etcd that keeps itself in dir, within a quota in
// bytes. From now on its client takes no changes while the state is closed, and
// the past is kept for those who follow the state by it.
func New(etcd *embed.Etcd, client *clientv3.Client, dir string, quota int64, log *slog.Logger) *Keeper {
	k := &Keeper{etcd: etcd, client: client, quota: quota, disk: newDisk(dir), log: log}
	k.follow = &followers{Watcher: client.Watcher, now: etcd.Server.KV().Rev, live: map[*follower]bool{}}
	client.KV, client.Watcher = &gate{client.KV, k.Full}, k.follow
	return k
}

// Run looks until ctx ends, or until etcd cannot continue, and says why.
func (k *Keeper) Run(ctx context.Context) error {
	look, glance := time.NewTicker(lookEvery), time.NewTicker(glanceEvery)
	defer look.Stop()
	defer glance.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-look.C:
			err = k.Look(ctx)
		case <-glance.C:
			if k.disk.stuck(time.Now()) {
				return errStuck
			}
			err = k.glance(ctx)
		}
		if err != nil && ctx.Err() == nil {
			k.log.Warn("looking after the size of the state", "err", err)
		}
	}
}

// Begin is the look at a start, when nobody follows yet: what an earlier run
// has left may be full.
func (k *Keeper) Begin(ctx context.Context) error {
	k.looked, k.used = k.etcd.Server.KV().Rev(), k.etcd.Server.Backend().SizeInUse()
	if err := k.glance(ctx); err != nil {
		return err
	}
	if !k.Full() && k.etcd.Server.Backend().Size() < k.quota/2 {
		k.kept = k.looked
		return nil
	}
	return k.Look(ctx)
}

// Look is what Run does every few seconds.
func (k *Keeper) Look(ctx context.Context) error {
	if err := k.forget(ctx); err != nil {
		return err
	}
	db := k.etcd.Server.Backend()
	// The database is written anew beside itself for that.
	size, used := db.Size(), db.SizeInUse()
	if size >= k.quota/2 && size-used >= size/4 && k.disk.has(used+leastRoom) {
		if err := db.Defrag(); err != nil {
			return fmt.Errorf("giving free pages back: %w", err)
		}
		k.used = db.SizeInUse()
		k.log.Info("the state database gave free pages back", "before", size, "now", db.Size())
	}
	return k.reopen(ctx)
}

// forget forgets the past of keys that is too much, but what followers need.
// What the last look saw is kept for those that are cut off for a moment.
func (k *Keeper) forget(ctx context.Context) error {
	db := k.etcd.Server.Backend()
	rev := k.etcd.Server.KV().Rev()
	needed := k.follow.look(ctx, k.looked)
	to := k.looked
	k.looked = rev
	if grown := db.SizeInUse() - k.used; grown > 0 {
		k.past = append(k.past, growth{rev, grown})
	}
	k.used = db.SizeInUse()
	bytes := int64(0)
	for _, g := range k.past {
		bytes += g.bytes
	}
	switch {
	case k.used >= k.quota/2:
		to = rev
	case bytes >= k.quota/heldPart || rev-k.kept >= heldRevisions:
	case bytes >= k.quota/historyPart || rev-k.kept >= historyRevisions:
		to = needed
	default:
		return nil
	}
	if to <= k.kept {
		return nil
	}
	if _, err := k.client.Compact(ctx, to, clientv3.WithCompactPhysical()); err != nil {
		return fmt.Errorf("forgetting the past of keys: %w", err)
	}
	k.follow.forgot(to)
	db.ForceCommit()
	k.kept, k.used = to, db.SizeInUse()
	k.past = slices.DeleteFunc(k.past, func(g growth) bool { return g.revision <= to })
	return nil
}

// glance looks at the disk.
func (k *Keeper) glance(ctx context.Context) error {
	k.disk.reserve(k.etcd.Server.Backend().Size())
	if !k.Full() && !k.disk.has(leastRoom) {
		return k.close(ctx)
	}
	return k.reopen(ctx)
}

// close has etcd raise the alarm that it raises itself above its quota: what
// asks how full the state is learns of it.
func (k *Keeper) close(ctx context.Context) error {
	_, err := k.etcd.Server.Alarm(ctx, &etcdserverpb.AlarmRequest{
		Action: etcdserverpb.AlarmRequest_ACTIVATE, Alarm: etcdserverpb.AlarmType_NOSPACE, MemberID: uint64(k.etcd.Server.MemberID()),
	})
	if err != nil {
		return fmt.Errorf("closing the state before its disk is full: %w", err)
	}
	k.log.Error("the disk of the state is full: no change is taken until there is room, and machines that are not armed boot their disks",
		"dir", k.disk.dir, "needed", int64(roomAgain), "hint", "free space there, gild image rm removes stored images")
	return nil
}

// reopen takes the alarm back when there is room. It forgets nothing: who
// follows may be behind.
func (k *Keeper) reopen(ctx context.Context) error {
	db := k.etcd.Server.Backend()
	if !k.Full() || db.Size() >= k.quota/10*9 || !k.disk.has(roomAgain) {
		return nil
	}
	if _, err := k.client.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil {
		return fmt.Errorf("taking back the alarm of a full database: %w", err)
	}
	k.log.Info("the state has room again", "bytes", db.Size(), "quota", k.quota)
	return nil
}

// Full reports whether the state takes no changes.
func (k *Keeper) Full() bool {
	return slices.ContainsFunc(k.etcd.Server.Alarms(), func(a *etcdserverpb.AlarmMember) bool {
		return a.GetAlarm() == etcdserverpb.AlarmType_NOSPACE
	})
}
