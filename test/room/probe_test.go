package room

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/client"
)

// probe is one more machine, which is armed too but only asks: how long the
// server takes to answer it is not mixed up with how long a machine that
// shares its processor with two hundred others takes to listen.
type probe struct {
	end          context.CancelFunc
	done         chan struct{}
	plans, beats []float64 // seconds
	refused      map[string]int
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
	p := &probe{end: end, done: make(chan struct{}), refused: map[string]int{}}
	go func() {
		defer close(p.done)
		hello := api.Hello{Version: api.Version, Session: "probe", Inventory: api.Inventory{MAC: mac, Firmware: "uefi"}}
		for ctx.Err() == nil {
			start := time.Now()
			answer, _, err := c.Hello(ctx, hello)
			if err == nil && answer.Action != api.ActionFlash {
				err = errors.New(answer.Action + ": " + answer.Message)
			}
			if err == nil {
				p.plans = append(p.plans, time.Since(start).Seconds())
				start = time.Now()
				if err = c.Report(ctx, api.Report{Session: "probe", MAC: mac, Plan: answer.Plan.ID}); err == nil {
					p.beats = append(p.beats, time.Since(start).Seconds())
				}
			}
			if err != nil {
				p.refused[err.Error()]++
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
	return p
}

// stop returns what was measured while the server answered.
func (p *probe) stop(t *testing.T) (plans, beats []float64) {
	p.end()
	<-p.done
	t.Logf("what the probe was not answered: %v", p.refused)
	return p.plans, p.beats
}
