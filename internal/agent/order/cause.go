package order

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/url"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/cluster"
	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/disk/diskloss"
	"github.com/gild-dev/gild/internal/disk/diskrule"
	"github.com/gild-dev/gild/internal/evidence"
	"github.com/gild-dev/gild/internal/flash"
	"github.com/gild-dev/gild/internal/flash/supply"
	"github.com/gild-dev/gild/internal/golden"
)

// Cause gives a failure of a step its stable code.
func Cause(step string, err error) string {
	for _, of := range []func(error) string{causeOfDisk, causeOfServer, causeOfMount} {
		if code := of(err); code != "" {
			return code
		}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return api.CauseTimedOut
	}
	return step + "-failed"
}

// causeOfDisk is of what is wrong with the disk, or with writing to it.
func causeOfDisk(err error) string {
	if e, ok := errors.AsType[*evidence.Contradiction](err); ok {
		return e.Cause
	}
	switch rule, isRule := errors.AsType[*diskrule.Error](err); {
	case isRule && len(rule.Matches) == 0:
		return api.CauseDiskNone
	case isRule:
		return api.CauseDiskAmbiguous
	case is[*claimedError](err):
		return api.CauseDiskClaimed
	case is[*diskloss.KeepError](err):
		return api.CauseKeepRefused
	case is[*blockdev.BusyError](err):
		return api.CauseDiskBusy
	case errors.Is(err, errTooSmall):
		return api.CauseDiskTooSmall
	case errors.Is(err, flash.ErrUnfit), errors.Is(err, errUnfit):
		return api.CauseDiskUnfit
	case is[*flash.StuckError](err):
		return api.CauseDiskSilent
	case errors.Is(err, flash.ErrMedium):
		return api.CauseDiskError
	}
	// What the kernel makes of a failed request (block/blk-core.c,
	// blk_errors[]); none of them comes from a network.
	for _, errno := range []unix.Errno{unix.EIO, unix.ENODATA, unix.EREMOTEIO, unix.EILSEQ, unix.ENXIO, unix.EROFS} {
		if errors.Is(err, errno) {
			return api.CauseDiskError
		}
	}
	return ""
}

// causeOfServer is of what did not come from the server as it should.
func causeOfServer(err error) string {
	switch {
	case is[*golden.ChunkError](err):
		return api.CauseDigestMismatch
	case is[*tls.CertificateVerificationError](err):
		return api.CauseUntrusted
	case is[*cluster.StatusError](err):
		return api.CauseRefused
	case is[*net.OpError](err), is[*net.DNSError](err), is[*supply.SilentError](err), hungUp(err):
		return api.CauseUnreachable
	}
	return ""
}

// hungUp reports whether the server closed the connection before it answered,
// as one does that is restarted.
func hungUp(err error) bool {
	return is[*url.Error](err) && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF))
}

// mountError says that a partition of the image did not mount.
type mountError struct{ error }

func (e *mountError) Unwrap() error { return e.error }

func causeOfMount(err error) string {
	switch {
	case !is[*mountError](err):
		return ""
	case errors.Is(err, unix.ENODEV): // mount(2): the kernel has no such file system
		return api.CauseNoDriver
	}
	return api.CauseMount
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
