package server

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"github.com/gild-dev/gild/internal/server/access"
	"github.com/gild-dev/gild/internal/server/bmc"
	"github.com/gild-dev/gild/internal/server/dashboard"
	"github.com/gild-dev/gild/internal/server/door/operators"
	"github.com/gild-dev/gild/internal/server/machines"
	"github.com/gild-dev/gild/internal/server/stored"
	"github.com/gild-dev/gild/internal/server/uploads"
)

// operator makes the handler of the operator's listener, and that of the socket
// in the data directory, which asks nobody. made is the admin token when this
// is the first start.
func (s Server) operator(ctx context.Context, p parts, m *machines.Core, powers *bmc.Room, listener net.Listener) (h, atHome http.Handler,
	made string, err error,
) {
	control := bmc.Operators{Operators: m.Operators(), Secrets: powers.Secrets}
	o := operators.Door{
		Control: control, Power: powers, Images: p.images, Version: s.Version, Metrics: m.Metrics.Handler(), Log: s.Log,
	}
	if p.uploads != nil {
		if _, err := p.uploads.Uploads().Sweep(time.Now()); err != nil {
			s.Log.Warn("old uploads of images stay", "err", err)
		}
		o.Inspector = &stored.Inspector{Images: stored.Images{Store: p.uploads, Log: s.Log}}
		o.Uploads = &uploads.Uploads{Store: p.uploads, Describe: p.images.Describe, Note: m.Store.Note}
	}
	pages := &dashboard.Dashboard{Room: control, Images: p.images, Version: s.Version, HTTPS: s.OperatorTLS != nil, Log: s.Log}
	pages.Facts = func() []dashboard.Fact { return s.facts(m, listener.Addr(), time.Now()) }
	kept := access.Stored{State: m.Store}
	if made, err = access.EnsureToken(ctx, kept); err != nil {
		return nil, nil, "", err
	}
	o.Loopback = access.IsLoopback(listener.Addr())
	if !o.Loopback && s.OperatorTLS == nil {
		s.Log.Warn("the operator API is plain HTTP on an address that others reach: the admin token can be read on the way; give "+
			"--operator-cert and --operator-key",
			"address", listener.Addr())
	}
	if !o.Loopback || !p.open {
		pages.Guarded = true
		o.Guard = &access.Guard{Store: kept, LoginPage: pages.LoginPage, Log: s.Log}
	}
	o.Pages = pages.Handler()
	return o.Handler(), o.Unguarded(), made, nil
}

// secured puts TLS on the operator's listener when there is a certificate.
func (s Server) secured(l net.Listener) net.Listener {
	if s.OperatorTLS == nil {
		return l
	}
	c := s.OperatorTLS.Clone()
	// One connection for many requests: an event stream takes none away.
	c.NextProtos = []string{"h2", "http/1.1"}
	return tls.NewListener(l, c)
}
