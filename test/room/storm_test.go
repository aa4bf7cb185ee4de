package room

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/test/reliability"
)

// storm is what comes over a server while it flashes machines.
type storm struct {
	agents    int           // machines that are flashed meanwhile
	silent    int           // connections that say nothing, a quarter from one address
	discovers int           // DISCOVERs of clients that do not exist
	machines  int           // machines that do not exist and ask for their script
	hellos    time.Duration // of hostile hellos, one every millisecond
	full      time.Duration // that the disk of the state is full
}

// TestStorm is everything at once, small.
func TestStorm(t *testing.T) {
	storm{agents: 12, silent: 2000, discovers: 5000, machines: 2000, hellos: 5 * time.Second, full: 3 * time.Second}.rage(t)
}

// TestLongStorm is each load alone, and everything at once, at full size.
func TestLongStorm(t *testing.T) {
	whole := storm{agents: *agents, silent: 20_000, discovers: 50_000, machines: 20_000, hellos: time.Minute, full: 20 * time.Second}
	for _, one := range []struct {
		name string
		storm
	}{
		{"silent", storm{agents: *agents, silent: whole.silent}},
		{"discovers", storm{agents: *agents, discovers: whole.discovers}},
		{"machines", storm{agents: *agents, machines: whole.machines}},
		{"hellos", storm{agents: *agents, hellos: whole.hellos}},
		{"full", storm{agents: *agents, full: whole.full}},
		{"all", whole},
	} {
		t.Run(one.name, one.rage)
	}
}

// silentAtOnce is what one host holds: its own open files have an end.
const silentAtOnce = 5000

// loads are the hostile hosts, each with addresses of its own.
func (w storm) loads() (all []load) {
	used := 0
	add := func(l load, addresses int) {
		for range addresses {
			l.From = append(l.From, numbered(hostileBlock, used))
			used++
		}
		all = append(all, l)
	}
	for left, addresses := w.silent, 1; left > 0; addresses = 50 {
		n := min(left, max(w.silent/4, 1), silentAtOnce)
		add(load{Kind: loadSilent, Count: n}, addresses)
		left -= n
	}
	if w.discovers > 0 {
		add(load{Kind: loadDiscover, Count: w.discovers}, 1)
	}
	if w.machines > 0 {
		add(load{Kind: loadMadeUp, Count: w.machines}, 8)
	}
	if w.hellos > 0 {
		add(load{Kind: loadHello, Count: int(w.hellos / time.Millisecond), Every: time.Millisecond}, 8)
	}
	return all
}

// String names what comes over the server.
func (w storm) String() string {
	var parts []string
	for _, p := range []struct {
		is   bool
		text string
	}{
		{w.silent > 0, fmt.Sprintf("%d silent connections", w.silent)},
		{w.discovers > 0, fmt.Sprintf("%d DISCOVERs of made-up clients", w.discovers)},
		{w.machines > 0, fmt.Sprintf("%d made-up machines that ask for their script", w.machines)},
		{w.hellos > 0, fmt.Sprintf("a hostile hello every millisecond for %v", w.hellos)},
		{w.full > 0, fmt.Sprintf("the disk of the state full for %v", w.full)},
	} {
		if p.is {
			parts = append(parts, p.text)
		}
	}
	return strings.Join(parts, ", ")
}

// rage flashes machines while the storm is over the server. All must end well,
// machines that are not armed boot their disks, the server stays within its
// bounds, and afterwards it is as it was.
func (w storm) rage(t *testing.T) {
	needRoom(t)
	began := time.Now()
	wire := newSegment(t)
	s := newServer(t, segmentIface, segmentHost, "--dhcp", "server", "--range", "10.99.128.0-10.99.131.255")
	s.first = true
	disk := smallDisk(t, s.data)
	image, _ := golden(t, 2*mib, s)
	r := newRoom(t, w.agents, image, s)
	r.wire = wire
	for i := range r.machines {
		r.machines[i].Addr = numbered(machineBlock, i)
	}
	r.register(t)
	r.powerOn(t)
	usual := r.answerTime(t)
	meter := meterOf(s)
	p, by := watch(t, s, wire), bystand(t, r)

	hosts := unleash(t, wire, w.loads())
	armed := time.Now()
	r.arm(t)
	if w.full > 0 {
		r.waitFor(t, w.agents/4)
		disk.fill(t)
		time.Sleep(w.full)
		disk.free(t)
	}
	r.waitFor(t, w.agents)
	took := time.Since(armed)
	came, meant := 0, 0
	for _, h := range hosts {
		came, meant = came+h.end(t), meant+h.load.Count
	}
	normal := r.backToNormal(t, usual)
	var f figures
	f.plans, f.beats, f.unanswered = p.stop(t)
	by.stop(t)
	m := meter.stop(t)
	r.powerOff(t)
	r.mustRun(t)
	r.judge(t, &f)

	m.judge(t)
	t.Logf("%v: %d machines flashed in %.1f s, back to normal %.1f s after it", w, w.agents, took.Seconds(), normal.Seconds())
	t.Logf("heartbeat p50 %.0f ms, p99 %.0f ms, at most %.0f ms of %d; plan answer p99 %.0f ms; %d questions without an answer; %v",
		percentile(f.beats, 0.5)*1000, percentile(f.beats, 0.99)*1000, percentile(f.beats, 1)*1000, len(f.beats), percentile(f.plans, 0.99)*1000,
		f.unanswered, m)
	reliability.Record(t, reliability.Row{
		Group: reliability.Storm, What: w.String(), Count: int64(w.agents), Unit: "machines flashed meanwhile",
		Result: fmt.Sprintf("%d of %d came to the server; all machines ended well in %.0f s; heartbeat p50 %.0f ms, p99 %.0f ms, at "+
			"most %.0f ms; %v; back to normal in %.1f s; load average %s",
			came, meant, took.Seconds(), percentile(f.beats, 0.5)*1000, percentile(f.beats, 0.99)*1000, percentile(f.beats, 1)*1000, m,
			normal.Seconds(), loadAverage()),
		Took:    time.Since(began),
		Command: fmt.Sprintf("go test ./test/room -timeout 0 -run '^%s$' -agents %d", strings.ReplaceAll(t.Name(), "/", "$/^"), w.agents),
	})
}

// loadAverage is what else this host had to do: processes that run or wait, in
// the last minute.
func loadAverage() string {
	p, _ := os.ReadFile("/proc/loadavg")
	one, _, _ := strings.Cut(string(p), " ")
	return one
}

// answerTime is how long the hello of a machine that nobody knows takes.
func (r *crowd) answerTime(t *testing.T) time.Duration {
	t.Helper()
	var all []time.Duration
	for i := range 5 {
		took, err := strangerHello(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, took)
	}
	return slices.Max(all)
}

// never is how long a test waits for what does not come.
const never = 5 * time.Minute

// backToNormal waits until the server is as it was before a storm: strangers
// are answered about as soon, everything can be listed, nothing is full and no
// alarm is left. It returns how long that took.
func (r *crowd) backToNormal(t *testing.T, usual time.Duration) time.Duration {
	t.Helper()
	began := time.Now()
	var err error
	for n := 100; time.Since(began) < never; n++ {
		if err = r.normal(t.Context(), n, 5*usual+100*time.Millisecond); err == nil {
			return time.Since(began)
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("the server is not as it was %v after the storm: %v", never, err)
	return time.Since(began)
}

func (r *crowd) normal(ctx context.Context, n int, within time.Duration) error {
	took, err := strangerHello(ctx, n)
	if err != nil {
		return err
	}
	if took > within {
		return fmt.Errorf("a hello takes %v", took)
	}
	if _, err := r.operator.Machines(ctx, ""); err != nil {
		return err
	}
	usage, err := r.operator.StateUsage(ctx)
	if err != nil {
		return err
	}
	if usage.Full {
		return errors.New("the state is full")
	}
	servers, err := r.operator.Servers(ctx)
	if err != nil {
		return err
	}
	for _, s := range servers {
		if len(s.Alarms) > 0 {
			return fmt.Errorf("alarms: %+v", s.Alarms)
		}
	}
	return nil
}
