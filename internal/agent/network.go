package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gild-dev/gild/internal/agent/netif"
	"github.com/gild-dev/gild/internal/agent/screen"
	"github.com/gild-dev/gild/internal/api/agentclient"
	"github.com/gild-dev/gild/internal/backoff"
)

var errNoServer = errors.New("no server is named on the kernel command line: gild.server=http://host:port is missing")

// network finds the link that leads to the server, and begins to report.
func (a *Agent) network(ctx context.Context) (string, error) {
	if a.settings.Server == "" {
		return "", errNoServer
	}
	if a.session.Client == nil {
		c, err := agentclient.Trusting(a.settings.Server, a.ca)
		if err != nil {
			return "", fmt.Errorf("gild.server on the kernel command line: %w", err)
		}
		a.session.Client = c
	}
	return a.connect(ctx, netif.Config{Reach: a.session.Client.Ping})
}

// connect brings a link up and begins to report over it.
func (a *Agent) connect(ctx context.Context, cfg netif.Config) (string, error) {
	cfg.ResolvConf, cfg.Log = a.resolvConf, a.log
	// Without a CA anybody could pass for the server.
	if a.session.Client != nil && len(a.ca) > 0 {
		cfg.Lost, cfg.Found = a.lost, a.found
	}
	conn, err := netif.Up(ctx, cfg)
	if err != nil {
		return "", err
	}
	a.conn, a.session.MAC = conn, conn.MAC
	said := fmt.Sprintf("%s (%s) has %v", conn.Link, conn.MAC, conn.Lease)
	a.report.Console.Plate.Link(conn.MAC)
	a.lease = a.tasks.Serve(ctx, "lease", conn.Keep)
	if a.session.Client != nil {
		a.startReports(ctx)
	}
	return said, nil
}

// lostAfter is how long no server may answer before it is asked for on the
// network: one that restarts is there again by then.
const lostAfter = 5 * time.Second

func (a *Agent) lost() bool { return a.session.Client.Silent() >= lostAfter }

// found takes what somebody on the network says of the server. Whoever is not
// the server has no certificate of the CA.
func (a *Agent) found(base string) {
	if a.session.Client.Moved(base) {
		a.report.Note("network", "the server was lost; one says that it is at %s", screen.Clean(base))
	}
}

// startReports begins to deliver the queue's events, until the end of ctx,
// which must outlast all steps.
func (a *Agent) startReports(ctx context.Context) {
	a.reports = a.tasks.Serve(ctx, "report", a.session.Deliver)
}

// rescuePatience is how long a rescue shell waits for the network.
const rescuePatience = 20 * time.Second

// networkOnce is the network of the rescue mode. Any lease will do, as the
// server may be what is broken, and a shell without a network is better than
// none: the search then continues beside it.
func (a *Agent) networkOnce(ctx context.Context) (string, error) {
	if c, err := agentclient.Trusting(a.settings.Server, a.ca); err == nil {
		a.session.Client = c
	}
	said, err := a.connect(ctx, netif.Config{Patience: rescuePatience})
	if err == nil {
		return said, nil
	}
	a.tasks.Go("network", func() {
		for ctx.Err() == nil {
			if said, err := a.connect(ctx, netif.Config{}); err == nil {
				a.report.Note("network", "%s", said)
				return
			}
			_ = backoff.Sleep(ctx, 10*time.Second)
		}
	})
	return "not yet: " + err.Error(), nil
}
