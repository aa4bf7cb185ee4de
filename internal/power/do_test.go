package power_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gild-dev/gild/internal/power"
)

// played is a machine whose power control does what its fields say.
type played struct {
	state   power.State
	blind   bool          // the state cannot be read
	plain   bool          // there is no cycle
	lag     time.Duration // from a command to the state that it leads to
	busy    int           // how many commands are refused at first
	stuck   bool          // commands are accepted and not followed
	hangs   bool          // nothing is ever answered
	statErr error
	did     []string
	due     time.Time // when next becomes the state
	next    power.State
}

func (p *played) now() power.State {
	if p.next != "" && !time.Now().Before(p.due) {
		p.state, p.next = p.next, ""
	}
	return p.state
}

func (p *played) Status(ctx context.Context) (power.State, error) {
	switch {
	case p.hangs:
		<-ctx.Done()
		return power.Unknown, ctx.Err()
	case p.blind:
		return power.Unknown, power.Cannot("played", power.VerbStatus)
	case p.statErr != nil:
		return power.Unknown, p.statErr
	}
	return p.now(), ctx.Err()
}

func (p *played) command(ctx context.Context, name string, to power.State) error {
	if p.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	if p.busy > 0 {
		p.busy--
		return power.Fail(power.Busy, name, nil)
	}
	p.did = append(p.did, name)
	if !p.stuck && to != "" {
		p.next, p.due = to, time.Now().Add(p.lag)
	}
	return nil
}

func (p *played) On(ctx context.Context) error { return p.command(ctx, "on", power.On) }
func (p *played) Off(ctx context.Context, orderly bool) error {
	return p.command(ctx, map[bool]string{false: "off", true: "shutdown"}[orderly], power.Off)
}

func (p *played) Cycle(ctx context.Context) error {
	if p.plain {
		return power.Cannot("played", power.VerbCycle)
	}
	return p.command(ctx, "cycle", power.On)
}
func (p *played) Reset(ctx context.Context) error { return p.command(ctx, "reset", power.On) }
func (p *played) BootOnce(ctx context.Context, b power.Boot) error {
	return p.command(ctx, "boot "+b.String(), "")
}

func (p *played) Identify(ctx context.Context, _ time.Duration) error {
	return p.command(ctx, "identify", "")
}

func TestDo(t *testing.T) {
	denied := power.Fail(power.Denied, "login", nil)
	for name, tt := range map[string]struct {
		machine played
		request power.Request
		want    power.State
		did     []string
		kind    power.Kind // empty: no error
	}{
		"on": {
			played{state: power.Off, lag: 5 * time.Second},
			power.Request{Verb: power.VerbOn},
			power.On,
			[]string{"on"},
			"",
		},
		"on twice": {played{state: power.On}, power.Request{Verb: power.VerbOn}, power.On, nil, ""},
		"off": {
			played{state: power.On, lag: time.Second},
			power.Request{Verb: power.VerbOff},
			power.Off,
			[]string{"off"},
			"",
		},
		"off, orderly": {
			played{state: power.On, lag: 2 * time.Minute},
			power.Request{Verb: power.VerbOff, Orderly: true},
			power.Off,
			[]string{"shutdown"},
			"",
		},
		"off twice":                {played{state: power.Off}, power.Request{Verb: power.VerbOff}, power.Off, nil, ""},
		"cycle":                    {played{state: power.On}, power.Request{Verb: power.VerbCycle}, power.On, []string{"cycle"}, ""},
		"cycle of one that is off": {played{state: power.Off}, power.Request{Verb: power.VerbCycle}, power.On, []string{"on"}, ""},
		"cycle by hand": {
			played{state: power.On, plain: true, lag: 3 * time.Second},
			power.Request{Verb: power.VerbCycle},
			power.On,
			[]string{"off", "on"},
			"",
		},
		"busy at first": {played{state: power.Off, busy: 3}, power.Request{Verb: power.VerbOn}, power.On, []string{"on"}, ""},
		"busy for ever": {played{state: power.Off, busy: 1e9}, power.Request{Verb: power.VerbOn}, power.Off, nil, power.Busy},
		"not followed": {
			played{state: power.Off, stuck: true},
			power.Request{Verb: power.VerbOn},
			power.Off,
			[]string{"on"},
			power.Unconfirmed,
		},
		"reset":                    {played{state: power.On}, power.Request{Verb: power.VerbReset}, power.On, []string{"reset"}, ""},
		"reset of one that is off": {played{state: power.Off}, power.Request{Verb: power.VerbReset}, power.Off, nil, power.WrongState},
		"denied": {
			played{state: power.Off, statErr: denied},
			power.Request{Verb: power.VerbOn},
			power.Unknown, nil,
			power.Denied,
		},
		"hangs":       {played{hangs: true}, power.Request{Verb: power.VerbCycle}, power.Unknown, nil, power.Unreachable},
		"blind on":    {played{blind: true}, power.Request{Verb: power.VerbOn}, power.Unknown, []string{"on"}, ""},
		"blind cycle": {played{blind: true}, power.Request{Verb: power.VerbCycle}, power.Unknown, []string{"cycle"}, ""},
		"blind cycle by hand": {
			played{blind: true, plain: true},
			power.Request{Verb: power.VerbCycle},
			power.Unknown, nil,
			power.Unsupported,
		},
		"boot once": {
			played{state: power.Off},
			power.Request{Verb: power.VerbBootOnce, Boot: power.Boot{Device: power.Network}},
			power.Off,
			[]string{"boot network"},
			"",
		},
		"identify, blind": {played{blind: true}, power.Request{Verb: power.VerbIdentify}, power.Unknown, []string{"identify"}, ""},
		"no such verb":    {played{state: power.On}, power.Request{Verb: "melt"}, power.Unknown, nil, power.Unsupported},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				m := tt.machine
				got, err := power.Do(t.Context(), &m, tt.request)
				if got != tt.want || !slices.Equal(m.did, tt.did) || (err == nil) != (tt.kind == "") || err != nil && !errors.Is(err, tt.kind) {
					t.Errorf("Do = %s, %v, by %q; want %s, %q, by %q", got, err, m.did, tt.want, tt.kind, tt.did)
				}
				if took := time.Since(began); took > power.Limit {
					t.Errorf("Do took %s; want %s at most", took, power.Limit)
				}
			})
		})
	}
}

// Whoever loses patience in the middle of a cycle does not leave the machine
// off.
func TestCycleIsNotLeftOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := played{state: power.On, plain: true, lag: time.Minute}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := power.Do(ctx, &m, power.Request{Verb: power.VerbCycle})
		if !errors.Is(err, power.Unconfirmed) || !slices.Equal(m.did, []string{"off", "on"}) {
			t.Errorf("Do = %v, by %q; want it off, and on again", err, m.did)
		}
	})
}

// Two hundred power controls, of which forty are slow, wrong or hang: all of it
// ends in time, each fate is told, and nobody is touched that was not named.
func TestBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 200
		machines := make([]played, n+1) // the last is not named
		for i := range machines {
			m := &machines[i]
			m.state, m.lag = power.On, time.Second
			switch i % 20 {
			case 3:
				m.hangs = true
			case 7:
				m.statErr = power.Fail(power.Denied, "login", nil)
			case 11:
				m.lag, m.plain = 10*time.Second, true
			case 15:
				m.stuck, m.plain = true, true
			}
		}
		limit := 10 * time.Minute
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		b := power.Batch{AtOnce: 50, Spread: 200 * time.Millisecond}
		fates := b.Run(ctx, n, func(ctx context.Context, i int) (power.State, error) {
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			return power.Do(ctx, &machines[i], power.Request{Verb: power.VerbCycle})
		})
		if took := time.Since(began); took > limit {
			t.Errorf("the batch took %s; want %s at most", took, limit)
		}
		for i, f := range fates {
			want := map[int]power.Kind{3: power.Unreachable, 7: power.Denied, 15: power.Unconfirmed}[i%20]
			switch {
			case want == "" && (f.Err != nil || f.State != power.On):
				t.Errorf("machine %d: %s, %v; want it on", i, f.State, f.Err)
			case want != "" && !errors.Is(f.Err, want):
				t.Errorf("machine %d: %v; want %s", i, f.Err, want)
			}
		}
		if len(fates) != n || machines[n].did != nil {
			t.Errorf("%d fates; the machine that was not named saw %q", len(fates), machines[n].did)
		}
	})
}

// A batch that is given up touches no further machine, and says so.
func TestBatchGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		var starts []time.Duration
		began := time.Now()
		fates := power.Batch{AtOnce: 1, Spread: time.Second}.Run(ctx, 10, func(context.Context, int) (power.State, error) {
			starts = append(starts, time.Since(began))
			return power.On, nil
		})
		if want := []time.Duration{0, time.Second, 2 * time.Second}; !slices.Equal(starts, want) {
			t.Errorf("begun at %v; want %v", starts, want)
		}
		for i, f := range fates {
			_, not := errors.AsType[*power.NotTried](f.Err)
			if not != (i >= 3) || not && !errors.Is(f.Err, context.DeadlineExceeded) {
				t.Errorf("machine %d: %v", i, f.Err)
			}
		}
	})
}

func TestParseBoot(t *testing.T) {
	for text, want := range map[string]power.Boot{
		"disk": {Device: power.Disk}, "network": {Device: power.Network}, "cd": {Device: power.CD}, "http": {Device: power.HTTP},
		"http://10.0.0.1/x.efi": {Device: power.HTTP, URL: "http://10.0.0.1/x.efi"}, "https://h/x": {Device: power.HTTP, URL: "https://h/x"},
	} {
		if got, err := power.ParseBoot(text); err != nil || got != want || got.String() != text {
			t.Errorf("ParseBoot(%q) = %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "pxe", "ftp://h/x", "http:///x", "http://u:p@h/x", "DISK"} {
		if got, err := power.ParseBoot(text); err == nil {
			t.Errorf("ParseBoot(%q) = %+v; want an error", text, got)
		}
	}
}
