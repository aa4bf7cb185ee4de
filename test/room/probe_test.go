package room

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/client"
)

// probe is one more machine, which is armed too but only asks: how long the
// server takes to answer it is not mixed up with how long a machine that
// shares its processor with two hundred others takes to listen.
type probe struct {
	end  context.CancelFunc
	done chan struct{}

	mu           sync.Mutex
	plans, beats []float64 // seconds
	unanswered   int
}

// watch arms the probe's machine and lets it ask several times a second.
func watch(t *testing.T, s *server) *probe {
	t.Helper()
	const mac = "52:54:00:ff:00:01"
	request := api.FlashRequest{Image: "golden", Handoff: "reboot", Unseen: true}
	if _, err := s.operator().Flash(t.Context(), mac, request); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(s.base())
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	p := &probe{end: end, done: make(chan struct{})}
	hello := api.Hello{Version: api.Version, Session: "probe", Inventory: api.Inventory{MAC: mac, Firmware: "uefi"}}
	go func() {
		defer close(p.done)
		var asking sync.WaitGroup
		defer asking.Wait()
		// Not one after the other: a slow answer would keep the questions away
		// that would have been slow too.
		for tick := time.NewTicker(probeEvery); ; {
			select {
			case <-tick.C:
				asking.Go(func() { p.ask(ctx, c, hello) })
			case <-ctx.Done():
				tick.Stop()
				return
			}
		}
	}()
	return p
}

const probeEvery = 200 * time.Millisecond

func (p *probe) ask(ctx context.Context, c *client.Client, hello api.Hello) {
	start := time.Now()
	answer, _, err := c.Hello(ctx, hello)
	if err == nil && answer.Action != api.ActionFlash {
		err = errors.New(answer.Action + ": " + answer.Message)
	}
	plan, start := time.Since(start), time.Now()
	if err == nil {
		err = c.Report(ctx, api.Report{Session: hello.Session, MAC: hello.Inventory.MAC, Plan: answer.Plan.ID})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.unanswered++
		return
	}
	p.plans, p.beats = append(p.plans, plan.Seconds()), append(p.beats, time.Since(start).Seconds())
}

// stop returns what was measured while the server answered.
func (p *probe) stop(t *testing.T) (plans, beats []float64) {
	p.end()
	<-p.done
	t.Logf("%d of the probe's questions met no server", p.unanswered)
	return p.plans, p.beats
}
