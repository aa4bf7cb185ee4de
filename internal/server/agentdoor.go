package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/time/rate"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/bootca"
	"github.com/gild-dev/gild/internal/server/budget"
	"github.com/gild-dev/gild/internal/server/cards"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/machines"
	"github.com/gild-dev/gild/internal/server/service"
	"github.com/gild-dev/gild/internal/server/setup"
	"github.com/gild-dev/gild/internal/server/sightings"
	"github.com/gild-dev/gild/internal/server/sniff"
)

// FileCA is where the certificate of the boot CA is below a server's data
// directory, for whoever builds an initramfs by hand. The state's own is what
// counts: it is written at every start.
func FileCA(dataDir string) string { return filepath.Join(dataDir, "ca.pem") }

// agentDoor lets agents in by TLS, on the port where firmware comes by plain
// HTTP.
type agentDoor struct {
	tls    *tls.Config
	sights *sightings.Queue
	cards  *cards.Cards
	log    *slog.Logger
	// told bounds how often a machine's record hears of the same trouble.
	told budget.Limiter
}

// openAgentDoor loads the boot CA for the machines and makes the door with it.
func openAgentDoor(ctx context.Context, dataDir string, m *machines.Core, log *slog.Logger) (*agentDoor, error) {
	ca, err := bootca.Load(ctx, m.Store)
	if damaged, ok := errors.AsType[*bootca.DamagedError](err); ok {
		return nil, &setup.Error{
			Problem: "the boot CA in the state cannot be used", Err: damaged.Err,
			Help: "restore the state from a backup: `gild state restore`; agents that run now trust no other CA",
		}
	}
	if err != nil {
		return nil, err
	}
	base, err := url.Parse(m.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("the base URL of the boot network: %w", err)
	}
	d := &agentDoor{
		sights: sightings.New(m, log), cards: &m.Cards, log: log,
		told: budget.Limiter{Rate: rate.Every(time.Minute), Burst: 1, Keys: 4096},
	}
	if d.tls, err = ca.Server(base.Hostname()); err != nil {
		return nil, err
	}
	m.CA = ca.PEM()
	if err := os.WriteFile(FileCA(dataDir), m.CA, 0o644); err != nil {
		return nil, fmt.Errorf("writing down the boot CA's certificate: %w", err)
	}
	return d, nil
}

// listener lets both kinds of connections in.
func (d *agentDoor) listener(l net.Listener) net.Listener {
	return &sniff.Listener{Listener: l, TLS: d.tls, Refused: d.refused}
}

// service serves what came by the listener.
func (d *agentDoor) service(serve *httpService) service.Service {
	sniff.Secure(serve.server)
	return service.Func(func(ctx context.Context) error { return d.sights.Beside(ctx, serve.Run) })
}

// refused takes a handshake that failed. An agent that does not trust this
// server cannot tell it so in any other way.
func (d *agentDoor) refused(client net.Addr, err error) {
	d.log.Debug("TLS handshake", "client", client, "err", err)
	alert, isAlert := errors.AsType[*net.OpError](err)
	tcp, isTCP := client.(*net.TCPAddr)
	if !isAlert || alert.Op != "remote error" || !isTCP {
		return
	}
	from := tcp.AddrPort().Addr().Unmap()
	if !d.told.Allow(from.String(), time.Now()) {
		return
	}
	d.log.Warn("an agent does not trust this server", "client", from, "err", err,
		"hint", "its initramfs is of another server, or from before the state was lost: restart the machine")
	d.sights.Note(func() (fleet.Sighting, bool) {
		mac := d.cards.Whose(from)
		return fleet.Sighting{
			MAC: mac, Step: fleet.StepHello, Cause: api.CauseUntrusted,
			Message: "its agent does not trust this server: the initramfs has another CA; restart the machine",
		}, mac != ""
	})
}
