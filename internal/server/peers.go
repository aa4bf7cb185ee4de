package server

import (
	"context"
	"net/netip"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/alarm"
	"github.com/gild-dev/gild/internal/server/service"
	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/presence"
)

// peers knows the servers of the cluster, with no more than a glance at etcd
// every few seconds: every hello and every boot script names them.
type peers struct {
	store *state.Store
	self  string // base URL

	mu    sync.Mutex
	known []string
	asked time.Time
}

const (
	peersFor = 3 * time.Second
	// namedPeers bounds how many go on a kernel command line.
	namedPeers = 4
)

// list returns base URLs, this server's own first. While etcd does not answer
// it is what was known last.
func (p *peers) list(ctx context.Context) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); now.Sub(p.asked) > peersFor {
		p.asked = now
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if servers, err := presence.Servers(ctx, p.store.Space); err == nil {
			p.known = p.known[:0:0]
			for _, s := range servers {
				if s.BaseURL != p.self && len(p.known) < namedPeers-1 {
					p.known = append(p.known, s.BaseURL)
				}
			}
		}
	}
	return append([]string{p.self}, p.known...)
}

// addrs are the other servers' addresses, of those that are named by one.
func (p *peers) addrs(ctx context.Context) (all []netip.Addr) {
	for _, base := range p.list(ctx)[1:] {
		u, err := url.Parse(base)
		if err != nil {
			continue
		}
		if a, err := netip.ParseAddr(u.Hostname()); err == nil {
			all = append(all, a)
		}
	}
	return all
}

// announce is the service that names this server to the others.
func (p *peers) announce(version string, a *alarm.Alarms) service.Service {
	host, err := os.Hostname()
	if err != nil {
		host = p.self
	}
	self := api.Server{Name: host, BaseURL: p.self, Version: version, Since: time.Now()}
	return service.Func(func(ctx context.Context) error {
		return presence.Announce(ctx, p.store.Space, func() (api.Server, <-chan struct{}) {
			now, changed := self, (<-chan struct{})(nil)
			now.Alarms, changed = a.List()
			return now, changed
		})
	})
}
