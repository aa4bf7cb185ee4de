package state

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
	// upkeepEvery is how often the size of the database is looked at.
	upkeepEvery = 5 * time.Second
	// historyPart is the part of the quota that the past of keys may take,
	// historyRevisions how many changes it may be of: followers that were cut
	// off go on from there.
	historyPart      = 32
	historyRevisions = 10_000
)

// upkeep looks after the size of the embedded etcd, which nobody else can
// reach: it forgets the past of keys by its bytes, gives free pages back to the
// file system, and takes the alarm back when there is room again.
type upkeep struct {
	etcd   *embed.Etcd
	client *clientv3.Client
	quota  int64
	log    *slog.Logger

	looked int64 // revision at the look before this one
	kept   int64 // revision that the past was forgotten up to
	used   int64 // bytes in use after that
}

// run looks until ctx ends.
func (u *upkeep) run(ctx context.Context) {
	tick := time.NewTicker(upkeepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := u.look(ctx); err != nil && ctx.Err() == nil {
				u.log.Warn("looking after the size of the state", "err", err)
			}
		}
	}
}

// begin is the look at a start, when nobody follows yet: what an earlier run
// has left may be full.
func (u *upkeep) begin(ctx context.Context) error {
	u.looked = u.etcd.Server.KV().Rev()
	if !u.full() && u.etcd.Server.Backend().Size() < u.quota/2 {
		u.kept, u.used = u.looked, u.etcd.Server.Backend().SizeInUse()
		return nil
	}
	return u.look(ctx)
}

func (u *upkeep) look(ctx context.Context) error {
	db := u.etcd.Server.Backend()
	full := u.full()
	rev := u.etcd.Server.KV().Rev()
	// A follower that is behind by one look need not begin anew.
	to := u.looked
	u.looked = rev
	if full || db.Size() >= u.quota/2 {
		to = rev
	}
	if to > u.kept && (full || db.SizeInUse()-u.used >= u.quota/historyPart || rev-u.kept >= historyRevisions || db.SizeInUse() >= u.quota/2) {
		if _, err := u.client.Compact(ctx, to, clientv3.WithCompactPhysical()); err != nil {
			return fmt.Errorf("forgetting the past of keys: %w", err)
		}
		db.ForceCommit()
		u.kept, u.used = to, db.SizeInUse()
	}
	if size, used := db.Size(), db.SizeInUse(); size >= u.quota/2 && size-used >= size/4 {
		if err := db.Defrag(); err != nil {
			return fmt.Errorf("giving free pages back: %w", err)
		}
		u.used = db.SizeInUse()
		u.log.Info("the state database gave free pages back", "before", size, "now", db.Size())
	}
	if full && db.Size() < u.quota/10*9 {
		if _, err := u.client.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil {
			return fmt.Errorf("taking back the alarm of a full database: %w", err)
		}
		u.log.Info("the state database has room again", "bytes", db.Size(), "quota", u.quota)
	}
	return nil
}

// full reports whether etcd has closed itself to writes.
func (u *upkeep) full() bool {
	return slices.ContainsFunc(u.etcd.Server.Alarms(), func(a *etcdserverpb.AlarmMember) bool {
		return a.GetAlarm() == etcdserverpb.AlarmType_NOSPACE
	})
}

// Usage is how full the database is, in bytes.
type Usage struct {
	Size  int64 // of its file, free pages with it
	InUse int64 // of the pages that hold something
	Quota int64 // that Size must not reach; 0: etcd does not say
	Full  bool  // no more is taken until there is room
}

// Usage asks a member how full its database is.
func (s *Store) Usage(ctx context.Context) (u Usage, err error) {
	endpoint := "" // the embedded one has no name
	if all := s.Client.Endpoints(); len(all) > 0 {
		endpoint = all[0]
	}
	err = s.call(ctx, readTimeout, func(ctx context.Context) error {
		resp, err := s.Client.Status(ctx, endpoint)
		if err != nil {
			return err
		}
		u = Usage{Size: resp.DbSize, InUse: resp.DbSizeInUse, Quota: resp.DbSizeQuota}
		alarms, err := s.Client.AlarmList(ctx)
		if err != nil {
			return err
		}
		u.Full = slices.ContainsFunc(alarms.Alarms, func(a *etcdserverpb.AlarmMember) bool {
			return a.GetAlarm() == etcdserverpb.AlarmType_NOSPACE
		})
		return nil
	})
	if err != nil {
		return Usage{}, fmt.Errorf("asking how full the state is: %w", err)
	}
	return u, nil
}
