package keys

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// ErrCompacted means that the past from which a watch was to continue is no
// longer kept: list the machines anew and watch from there.
var ErrCompacted = errors.New("too long ago")

// EachChange calls take for what a watch tells, until its context ends. A
// watch that requires a leader is closed without one, not silent for ever.
func EachChange(ctx context.Context, changes clientv3.WatchChan, take func([]*clientv3.Event) error) error {
	for resp := range changes {
		if err := resp.Err(); err != nil {
			return WatchError(err)
		}
		if err := take(resp.Events); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return errors.New("following the state: etcd has stopped")
}

// WatchError says what ended a watch: [ErrCompacted], or the cause.
func WatchError(err error) error {
	if errors.Is(err, rpctypes.ErrCompacted) {
		return ErrCompacted
	}
	return fmt.Errorf("following the state: %w", err)
}
