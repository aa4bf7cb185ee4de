package room

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/agentclient"
	"github.com/gild-dev/gild/internal/settings"
)

// probe is one more machine, which is armed too but only asks: how long the
// server takes to answer it is not mixed up with how long a machine that
// shares its processor with two hundred others takes to listen. It is a
// process of its own, with the priority of the server: this one has an event
// stream to read.
type probe struct {
	cmd   *exec.Cmd
	stdin io.Closer
	lines chan asked
}

// asked is one question and its answer. Seconds.
type asked struct{ Plan, Beat float64 }

// probeMACs are the machines that the probe asks for in turn: no agent may
// speak as often as it asks.
var probeMACs = []string{"52:54:00:ff:00:01", "52:54:00:ff:00:02", "52:54:00:ff:00:03", "52:54:00:ff:00:04"}

// watch arms the probe's machines and lets it ask several times a second, by a
// cable of its own where there is a segment.
func watch(t *testing.T, s *server, wire *segment) *probe {
	t.Helper()
	request := api.FlashRequest{Settings: settings.Settings{Image: "golden", Agent: settings.Agent{Handoff: "reboot"}}, Unseen: true}
	for _, mac := range probeMACs {
		if _, err := s.operator().Flash(t.Context(), mac, request); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &probe{cmd: exec.Command(self), lines: make(chan asked, 1<<16)}
	if s.first {
		p.cmd = exec.Command("nice", "-n", "-10", self)
	}
	p.cmd.Env = append(os.Environ(), envProbe+"="+s.base())
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin = wire.start(t, p.cmd, numbered(probeBlock, 0))
	go func() {
		defer close(p.lines)
		for dec := json.NewDecoder(out); ; {
			var a asked
			if dec.Decode(&a) != nil {
				return
			}
			p.lines <- a
		}
	}()
	return p
}

// stop returns what was measured while the server answered.
func (p *probe) stop(t *testing.T) (plans, beats []float64, unanswered int) {
	t.Helper()
	p.stdin.Close()
	for a := range p.lines {
		if a == (asked{}) {
			unanswered++
			continue
		}
		plans, beats = append(plans, a.Plan), append(beats, a.Beat)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("the probe: %v", err)
	}
	return plans, beats, unanswered
}

const probeEvery = 200 * time.Millisecond

// ask is the process of the probe. It ends with its standard input.
func ask(server string) int {
	ca, err := machine{Servers: []string{server}}.initramfs(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	c, err := agentclient.Trusting(server, []byte(ca))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx, end := context.WithCancel(context.Background())
	go func() {
		defer end()
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	var mu sync.Mutex
	lines := json.NewEncoder(os.Stdout)
	hello := api.Hello{Version: api.Version, Session: "probe", Inventory: api.Inventory{Firmware: "uefi"}}
	var asking sync.WaitGroup
	// Not one after the other: a slow answer would keep the questions away
	// that would have been slow too.
	for tick, n := time.NewTicker(probeEvery), 0; ctx.Err() == nil; n++ {
		hello.Inventory.MAC = probeMACs[n%len(probeMACs)]
		select {
		case <-tick.C:
			hello := hello
			asking.Go(func() {
				a := question(ctx, c, hello)
				mu.Lock()
				defer mu.Unlock()
				_ = lines.Encode(a)
			})
		case <-ctx.Done():
			tick.Stop()
		}
	}
	asking.Wait()
	return 0
}

// question is zero when the server did not answer.
func question(ctx context.Context, c *agentclient.Client, hello api.Hello) (a asked) {
	start := time.Now()
	answer, _, err := c.Hello(ctx, hello)
	if err == nil && answer.Action != api.ActionFlash {
		err = errors.New(answer.Action + ": " + answer.Message)
	}
	plan, start := time.Since(start), time.Now()
	if err == nil {
		err = c.Report(ctx, api.Report{Session: hello.Session, MAC: hello.Inventory.MAC, Plan: answer.Plan.ID})
	}
	if err != nil {
		return asked{}
	}
	return asked{plan.Seconds(), time.Since(start).Seconds()}
}
