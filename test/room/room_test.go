package room

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/operatorclient"
	"github.com/gild-dev/gild/internal/settings"
	"github.com/gild-dev/gild/test/reliability"
)

// TestRoom arms a room of machines at once and kills the server again and again
// while they are flashed. All must end well by themselves, and three must tell
// the same story of each machine: its agent, the server's record of its past,
// and a follower of the event stream.
func TestRoom(t *testing.T) {
	needRoom(t)
	began := time.Now()
	s := newServer(t, "lo", "127.0.0.1")
	disk, needed := golden(t, data(*agents), s)
	r := newRoom(t, *agents, disk, s)
	f := figures{agents: *agents, kills: *kills, needed: needed * int64(*agents)}

	r.register(t)
	r.powerOn(t)
	armed := time.Now()
	r.arm(t)
	p := watch(t, s, nil)
	rng := rand.New(rand.NewPCG(*seed, 1))
	for k := range *kills {
		r.waitFor(t, max(1, k**agents/(*kills+1)))
		time.Sleep(time.Duration(rng.Int64N(int64(time.Second))))
		down := time.Now()
		s.kill()
		if err := s.start(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.outage += time.Since(down)
	}
	r.waitFor(t, *agents)
	f.took = time.Since(armed)
	f.plans, f.beats, f.unanswered = p.stop(t)
	r.powerOff(t)
	r.mustRun(t)

	r.judge(t, &f)
	s.kill()
	f.peak, f.cpu = s.peak, s.cpu
	if f.peak > 512*mib {
		t.Errorf("the server had %d MiB resident; want at most 512", f.peak/mib)
	}
	// What describes the image is fetched too, less than 4 KiB here.
	if again := f.wire - f.needed; again > int64(*agents)*(4<<10+int64(*kills)*2*mib) {
		t.Errorf("%d bytes fetched again by %d agents after %d kills; want at most two chunks each", again, *agents, *kills)
	}
	t.Log("\n" + f.String())
	reliability.Record(t, reliability.Row{
		Group: reliability.Room,
		What:  "the server killed while a room of machines is flashed, each a process with the real agent and a file for its disk",
		Count: int64(*agents), Unit: "machines", Seed: *seed,
		Result: fmt.Sprintf("%d kills; all machines ended well by themselves, each flashed once; %d events, none lost, none twice, in "+
			"order; plan answer p99 %.0f ms, heartbeat p99 %.0f ms; server at most %d MiB; %d kB fetched again a kill and machine",
			*kills, f.events, percentile(f.plans, 0.99)*1000, percentile(f.beats, 0.99)*1000, f.peak/mib,
			max(0, f.wire-f.needed)/1000/int64(max(1, *kills**agents))),
		Took:    time.Since(began),
		Command: fmt.Sprintf("go test ./test/room -timeout 0 -run '^TestRoom$' -agents %d -kills %d -seed %d", *agents, *kills, *seed),
	})
}

// data is how much is on the golden disk: less where many disks have to find
// room in memory.
func data(machines int) int64 { return max(2, min(16, 3200/int64(machines))) * mib }

// crowd is the machines of one run, with everybody who knows of them.
type crowd struct {
	machines []machine
	disk     []byte // what theirs are to be
	operator *operatorclient.Client
	follower *follower
	wire     *segment // nil: all are in the namespace of the server

	running []*exec.Cmd
}

// inMemory is where disks cost the least, if it is there.
const inMemory = "/dev/shm"

// newRoom starts the servers and makes empty disks. The operator speaks to the
// first server; the machines begin with different ones.
func newRoom(t *testing.T, machines int, disk []byte, servers ...*server) *crowd {
	t.Helper()
	dir, err := os.MkdirTemp(inMemory, "gild-room-")
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	r := &crowd{disk: disk}
	var bases []string
	for _, s := range servers {
		if err := s.start(t.Context()); err != nil {
			t.Fatal(err)
		}
		bases = append(bases, s.base())
	}
	r.operator = servers[0].operator()
	r.follower = follow(t.Context(), r.operator)
	r.follower.ready(t)
	for i := range machines {
		m := newMachine(i, dir, bases...)
		f, err := os.Create(m.Disk)
		if err == nil {
			err = f.Truncate(int64(len(disk)))
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		r.machines = append(r.machines, m)
	}
	return r
}

// each does the same for all machines, some at a time.
func (r *crowd) each(t *testing.T, do func(ctx context.Context, m machine) error) {
	t.Helper()
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(16)
	for _, m := range r.machines {
		group.Go(func() error {
			if err := do(ctx, m); err != nil {
				return fmt.Errorf("%s: %w", m.Name, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

const label = "room"

func (r *crowd) register(t *testing.T) {
	t.Helper()
	r.each(t, func(ctx context.Context, m machine) error {
		_, err := r.operator.Register(ctx, api.Spec{Name: m.Name, MACs: []string{m.MAC}, Labels: map[string]string{label: "one"}})
		return err
	})
}

func (r *crowd) powerOn(t *testing.T) {
	t.Helper()
	for _, m := range r.machines {
		r.running = append(r.running, m.powerOn(t.Context(), t, r.wire))
	}
	// Firmware that was never seen could not be armed.
	r.each(t, func(ctx context.Context, m machine) error {
		for {
			got, err := r.operator.Machine(ctx, m.Name)
			if err != nil || !got.FirmwareSeen.IsZero() {
				return err
			}
			time.Sleep(50 * time.Millisecond)
		}
	})
}

// identity is what every machine of the room becomes.
const identity = "clone"

// arm is what `gild flash -l room=one` does.
func (r *crowd) arm(t *testing.T) {
	t.Helper()
	found, err := r.operator.Machines(t.Context(), label+"=one")
	if err != nil || len(found) != len(r.machines) {
		t.Fatalf("machines with the label: %d, %v; want %d", len(found), err, len(r.machines))
	}
	fleet := api.Fleet{Identities: map[string]api.Identity{identity: {Hostname: "{{ .Name }}"}}}
	if _, err := r.operator.Fleet().Apply(t.Context(), fleet, false); err != nil {
		t.Fatal(err)
	}
	r.armEach(t)
}

// armEach arms the machines as they are shown.
func (r *crowd) armEach(t *testing.T) {
	t.Helper()
	request := api.FlashRequest{
		Settings: settings.Settings{Image: "golden", Identity: identity, Agent: settings.Agent{Handoff: "reboot"}},
		NoGrow:   true,
	}
	r.each(t, func(ctx context.Context, m machine) error {
		return patiently(ctx, func() error {
			p, err := r.operator.Preview(ctx, m.Name, request)
			if err != nil {
				return err
			}
			if p.Refusal != "" {
				return fmt.Errorf("preview refuses: %s", p.Refusal)
			}
			asked := request
			asked.Shown = p.Digest
			_, err = r.operator.Flash(ctx, m.Name, asked)
			return err
		})
	})
}

// patiently does again what the server has no time for now, as it asks its
// operators to.
func patiently(ctx context.Context, do func() error) error {
	for {
		err := do()
		if busy, ok := errors.AsType[*operatorclient.ProblemError](err); !ok || busy.Status != http.StatusServiceUnavailable {
			return err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return err
		}
	}
}

// patience is how long nothing may end before the room is taken for stuck.
const patience = 2 * time.Minute

// waitFor returns when n machines have sent their receipt.
func (r *crowd) waitFor(t *testing.T, n int) {
	t.Helper()
	last, since := 0, time.Now()
	for {
		now := r.follower.count(api.MachineHandingOff, api.MachineRunning)
		if now >= n {
			return
		}
		if now > last {
			last, since = now, time.Now()
		}
		if time.Since(since) > patience {
			r.explain(t)
			t.Fatalf("%d of %d machines ended, and no more for %v", now, n, patience)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// mustRun waits until the new system of every machine has said that it runs.
func (r *crowd) mustRun(t *testing.T) {
	t.Helper()
	for range 200 {
		if r.follower.count(api.MachineRunning) == len(r.machines) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	r.explain(t)
	t.Errorf("%d of %d machines are confirmed to run", r.follower.count(api.MachineRunning), len(r.machines))
}

// explain shows the screens of some machines that did not end.
func (r *crowd) explain(t *testing.T) {
	t.Helper()
	tally, shown := map[string]int{}, 0
	for _, state := range r.follower.states() {
		tally[state]++
	}
	t.Logf("states that the follower knows of: %v", tally)
	for _, m := range r.machines {
		got, err := r.operator.Machine(t.Context(), m.Name)
		if err == nil && got.State != api.MachineHandingOff && got.State != api.MachineRunning && shown < 3 {
			shown++
			t.Logf("%s is %s (%s, %s); its screen:\n%s", m.Name, got.State, causeOf(&got), got.Message, tail(m.Log+".console"))
		}
	}
}

func causeOf(m *api.Machine) string {
	if m.Trouble == nil {
		return ""
	}
	return m.Trouble.Cause
}

// powerOff waits for the processes, which end by themselves.
func (r *crowd) powerOff(t *testing.T) {
	t.Helper()
	for i, cmd := range r.running {
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v; its screen:\n%s", r.machines[i].Name, err, tail(r.machines[i].Log+".console"))
		}
	}
}
