package order

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/cluster"
	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/disk/diskloss"
	"github.com/gild-dev/gild/internal/disk/diskrule"
	"github.com/gild-dev/gild/internal/flash"
	"github.com/gild-dev/gild/internal/flash/supply"
	"github.com/gild-dev/gild/internal/golden"
)

func TestCause(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: unix.ECONNREFUSED}
	for _, tt := range []struct {
		step string
		err  error
		want string
	}{
		{"disk", &diskrule.Error{}, api.CauseDiskNone},
		{"disk", &diskrule.Error{Matches: make([]api.Disk, 2)}, api.CauseDiskAmbiguous},
		{"disk", &claimedError{}, api.CauseDiskClaimed},
		{"flash", &diskloss.KeepError{}, api.CauseKeepRefused},
		{"flash", &blockdev.BusyError{}, api.CauseDiskBusy},
		{"disk", fits(api.Disk{SectorSize: 512, Size: 1}, golden.Disk{SectorSize: 512, Size: 2}), api.CauseDiskTooSmall},
		{"disk", fits(api.Disk{SectorSize: 4096}, golden.Disk{SectorSize: 512}), api.CauseDiskUnfit},
		{"flash", flash.ErrUnfit, api.CauseDiskUnfit},
		{"flash", unix.EIO, api.CauseDiskError},
		{"flash", flash.ErrMedium, api.CauseDiskError},
		{"flash", &flash.StuckError{}, api.CauseDiskSilent},
		{"flash", &golden.ChunkError{Err: errors.New("hash")}, api.CauseDigestMismatch},
		{"flash", &supply.SilentError{For: time.Hour, Err: errors.New("no byte came in time")}, api.CauseUnreachable},
		{"plan", refused, api.CauseUnreachable},
		{
			"plan", fmt.Errorf("saying hello: %w", &url.Error{Op: "Post", URL: "http://192.0.2.1/agent/v1/hello", Err: io.EOF}),
			api.CauseUnreachable,
		},
		{"plan", io.EOF, api.CausePlan},
		{"plan", fmt.Errorf("POST: %w", &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}), api.CauseUntrusted},
		{"image", &cluster.StatusError{Status: 500}, api.CauseRefused},
		{"identity", &mountError{unix.ENODEV}, api.CauseNoDriver},
		{"identity", &mountError{unix.EINVAL}, api.CauseMount},
		{"identity", errors.New("no such user"), api.CauseIdentity},
		{"plan", context.DeadlineExceeded, api.CauseTimedOut},
		{"network", errors.New("no carrier"), api.CauseNetwork},
	} {
		if got := Cause(tt.step, fmt.Errorf("doing it: %w", tt.err)); got != tt.want {
			t.Errorf("Cause(%q, %v) = %q; want %q", tt.step, tt.err, got, tt.want)
		}
	}
}
