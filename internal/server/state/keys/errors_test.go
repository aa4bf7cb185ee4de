package keys

import (
	"context"
	"fmt"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// However it is said that nobody answers, it is no fault of the request.
func TestUnavailable(t *testing.T) {
	for _, err := range []error{
		context.DeadlineExceeded,
		status.Error(codes.Unknown, "context deadline exceeded"), // a member that waited for a majority
		status.Error(codes.Unavailable, "transport is closing"),
		rpctypes.ErrNoLeader, rpctypes.ErrTimeout,
	} {
		if err := fmt.Errorf("reading: %w", err); !Unavailable(err) {
			t.Errorf("unavailable(%v) = false", err)
		}
	}
	for _, err := range []error{rpctypes.ErrNoSpace, rpctypes.ErrCompacted, status.Error(codes.Unknown, "out of luck"), context.Canceled} {
		if Unavailable(err) {
			t.Errorf("unavailable(%v) = true", err)
		}
	}
}
