package keys

import (
	"context"
	"fmt"
	"slices"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Usage is how full the database is, in bytes.
type Usage struct {
	Size  int64 // of its file, free pages with it
	InUse int64 // of the pages that hold something
	Quota int64 // that Size must not reach; 0: etcd does not say
	Full  bool  // no more is taken until there is room
}

// Usage asks a member how full its database is.
func (s Space) Usage(ctx context.Context) (u Usage, err error) {
	endpoint := "" // the embedded one has no name
	if all := s.Client.Endpoints(); len(all) > 0 {
		endpoint = all[0]
	}
	err = s.call(ctx, ReadTimeout, func(ctx context.Context) error {
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
