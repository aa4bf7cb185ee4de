package keys

import (
	"context"
	"errors"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// UnavailableError says that etcd did not answer for now. Whether a change
// was made is not known; to ask again is safe.
type UnavailableError struct{ Err error }

func (e *UnavailableError) Error() string { return "etcd does not answer: " + e.Err.Error() }

func (e *UnavailableError) Unwrap() error { return e.Err }

// Hint says what the operator can do.
func (e *UnavailableError) Hint() string {
	return "with --etcd, `etcdctl endpoint status --cluster` shows whether a majority of its members runs; without, the server's log says why"
}

// Temporary says that asking again may help.
func (e *UnavailableError) Temporary() bool { return true }

// FullError says that etcd takes no more writes.
type FullError struct{ Err error }

func (e *FullError) Error() string { return "etcd has no room for more: " + e.Err.Error() }

func (e *FullError) Unwrap() error { return e.Err }

// Hint says what the operator can do.
func (e *FullError) Hint() string {
	return "gild makes room in its own etcd within seconds, and needs space on the file system of its data directory for that: gild " +
		"doctor says how full both are. " +
		"Remove records that are not needed with gild machine rm -l state=discovered. In the cluster of --etcd: etcdctl compact, " +
		"etcdctl defrag, etcdctl alarm disarm, and --auto-compaction-retention"
}

// Temporary says that asking again may help: others can make room.
func (e *FullError) Temporary() bool { return true }

// Classify tells a cluster that is in trouble from a request that is wrong.
// ctx is the caller's own: what ended with it is nobody's fault.
func Classify(ctx context.Context, err error) error {
	switch {
	case err == nil || ctx.Err() != nil:
		return err
	case errors.Is(err, rpctypes.ErrNoSpace):
		return &FullError{err}
	case Unavailable(err):
		return &UnavailableError{err}
	}
	return err
}

// Unavailable reports whether an error says that nobody answers, in whichever
// way.
func Unavailable(err error) bool {
	// A member that waits for others in vain passes its deadline on by text alone.
	if errors.Is(err, context.DeadlineExceeded) || strings.HasSuffix(err.Error(), "desc = "+context.DeadlineExceeded.Error()) {
		return true
	}
	var coded rpctypes.EtcdError
	if errors.As(err, &coded) {
		return coded.Code() == codes.Unavailable || coded.Code() == codes.DeadlineExceeded
	}
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.DeadlineExceeded
}
