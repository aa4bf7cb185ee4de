package bmc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/power"
	"github.com/gild-dev/gild/internal/printable"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/state"
)

// What a request has that does not say it.
const (
	defaultAtOnce = 50
	defaultSpread = 200 * time.Millisecond
	defaultWithin = 10 * time.Minute
)

// kindRefused is of what gild itself does not do.
const kindRefused = "refused"

// kindNotTried is of machines whose turn did not come.
const kindNotTried = "not tried"

// noteWithin bounds the note of what was done, once it is.
const noteWithin = 10 * time.Second

// target is one machine of a request.
type target struct {
	record fleet.Record
	shared string // who has the same power control; empty: nobody
}

// Power checks a request, and gives what carries it out. That tells what became
// of each machine as soon as it is known, of one that is named twice once, and
// ends soon after the time of the request, or when its ctx ends: then no
// further machine is touched.
func (r *Room) Power(ctx context.Context, actor string, q api.PowerRequest) (carry func(ctx context.Context, tell func(api.PowerOutcome)),
	err error,
) {
	request, err := requestOf(q)
	if err != nil {
		return nil, err
	}
	targets, unknown, err := r.targets(ctx, q.Machines)
	if err != nil {
		return nil, err
	}
	within := defaultWithin
	if q.Within > 0 {
		within = time.Duration(q.Within) * time.Second
	}
	return func(ctx context.Context, tell func(api.PowerOutcome)) {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		var one sync.Mutex
		told := func(o api.PowerOutcome) {
			one.Lock()
			defer one.Unlock()
			tell(o)
		}
		for _, o := range unknown {
			told(o)
		}
		fates := batchOf(q).Run(ctx, len(targets), func(ctx context.Context, i int) (power.State, error) {
			t := &targets[i]
			s, err := r.one(ctx, t, request, q.Force)
			r.note(context.WithoutCancel(ctx), actor, t, q, s, err)
			told(outcome(fleet.Called(&t.record), t.record.ID, s, err))
			return s, err
		})
		for i, f := range fates {
			if _, not := errors.AsType[*power.NotTried](f.Err); not {
				told(outcome(fleet.Called(&targets[i].record), targets[i].record.ID, f.State, f.Err))
			}
		}
	}, nil
}

// requestOf checks what is asked.
func requestOf(q api.PowerRequest) (power.Request, error) {
	request := power.Request{Verb: power.Verb(q.Verb), Orderly: q.Orderly, Lasting: time.Duration(q.Seconds) * time.Second}
	bad := func(format string, args ...any) error {
		return &fleet.InvalidError{Problem: fmt.Sprintf(format, args...), Help: "see `gild power --help`"}
	}
	switch {
	case len(q.Machines) == 0:
		return request, bad("no machine is named")
	case q.Orderly && request.Verb != power.VerbOff:
		return request, bad("%s is never orderly: off is", q.Verb)
	case (q.From != "") != (request.Verb == power.VerbBootOnce):
		return request, bad("boot-once wants what to boot from, and nothing else does")
	case printable.Mark(q.Reason) != q.Reason:
		return request, bad("the reason holds what cannot be shown")
	}
	switch request.Verb {
	case power.VerbStatus, power.VerbOn, power.VerbOff, power.VerbCycle, power.VerbReset, power.VerbIdentify, verbNetboot:
	case power.VerbBootOnce:
		from, err := power.ParseBoot(q.From)
		if err != nil {
			return request, bad("%v", err)
		}
		request.Boot = from
	default:
		return request, bad("unknown verb %.40q", q.Verb)
	}
	return request, nil
}

// batchOf is how the machines of a request follow each other. Only those that
// get power draw an inrush current.
func batchOf(q api.PowerRequest) power.Batch {
	b := power.Batch{AtOnce: defaultAtOnce}
	if q.AtOnce > 0 {
		b.AtOnce = q.AtOnce
	}
	switch {
	case q.Verb != api.PowerOn && q.Verb != api.PowerCycle && q.Verb != api.PowerNetboot, q.Spread < 0:
	case q.Spread == 0:
		b.Spread = defaultSpread
	default:
		b.Spread = time.Duration(q.Spread) * time.Millisecond
	}
	return b
}

// targets finds the machines that are named, each once, and tells of those that
// are not known.
func (r *Room) targets(ctx context.Context, names []string) (targets []target, unknown []api.PowerOutcome, err error) {
	all, _, err := r.Store.List(ctx)
	if err != nil {
		return nil, nil, err
	}
	byID, owners := map[string]*fleet.Record{}, map[string][]string{}
	for i := range all {
		m := &all[i]
		byID[m.ID] = m
		if c := control(m.Spec.Power); c != "" && m.Joined == "" {
			owners[c] = append(owners[c], m.ID)
		}
	}
	seen := map[string]bool{}
	for _, name := range names {
		id, err := r.Find(ctx, name)
		m := byID[id]
		if err == nil && m == nil {
			err = &fleet.UnknownError{What: "machine", Name: name, Help: "gild machine ls shows the machines"}
		}
		switch {
		case ctx.Err() != nil:
			return nil, nil, ctx.Err()
		case err != nil:
			unknown = append(unknown, outcome(printable.Mark(name), "", power.Unknown, err))
			continue
		case seen[id]:
			continue
		}
		seen[id] = true
		t := target{record: *m}
		for _, other := range owners[control(m.Spec.Power)] {
			if other != id {
				t.shared = fleet.Called(byID[other])
			}
		}
		targets = append(targets, t)
	}
	return targets, unknown, nil
}

// one carries the request out for one machine.
func (r *Room) one(ctx context.Context, t *target, request power.Request, force bool) (power.State, error) {
	m := &t.record
	if request.Verb != power.VerbStatus && t.shared != "" && !force {
		return power.Unknown, &fleet.ConflictError{
			Problem: "its power control is that of " + t.shared + " too, which was not meant with it",
			Help:    "correct the address or system of one of them (gild machine edit), or say that both are meant: --force",
		}
	}
	done, err := r.turns.Take(ctx, control(m.Spec.Power)+"\x00"+map[bool]string{true: m.ID}[control(m.Spec.Power) == ""])
	if err != nil {
		return power.Unknown, power.Classify("waiting for the power control", err)
	}
	defer done()
	// What was read when the request came may be long ago.
	now, err := r.Store.Get(ctx, m.ID)
	if err != nil {
		return power.Unknown, err
	}
	if control(now.Spec.Power) != control(m.Spec.Power) {
		return power.Unknown, &fleet.ConflictError{Problem: "its power control was changed meanwhile", Help: "look at it, and ask again"}
	}
	t.record = now
	if (request.Verb.Interrupts() || request.Verb == verbNetboot) && fleet.Writing(&now, r.now()) && !force {
		return power.Unknown, &fleet.ConflictError{
			Problem: "its disk is being written and would not boot",
			Help:    "wait until the flash has ended (gild watch), or cut it off: --force",
		}
	}
	if request.Verb == verbNetboot {
		return r.netboot(ctx, &now)
	}
	driver, err := r.driver(ctx, &now)
	if err != nil {
		return power.Unknown, err
	}
	request.Boot.Legacy = legacy(&now)
	limit := power.Limit
	if request.Orderly {
		limit *= 2 // an operating system takes its time
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return power.Do(ctx, driver, request)
}

// legacy reports whether a machine was last seen booting by BIOS.
func legacy(m *fleet.Record) bool { return strings.HasPrefix(m.Firmware, "BIOS") }

// note keeps in the machine's past what was done, by whom and why.
func (r *Room) note(ctx context.Context, actor string, t *target, q api.PowerRequest, s power.State, failed error) {
	if q.Verb == api.PowerStatus {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, noteWithin)
	defer cancel()
	_, err := r.Store.Update(ctx, t.record.ID, func(m *fleet.Record) ([]api.Event, error) {
		if m.State == "" {
			return nil, state.ErrNotFound // forgotten meanwhile
		}
		turn := fleet.Begin(m, actor, r.now())
		turn.Note(event(q, s, failed))
		return turn.Events, nil
	})
	if err != nil {
		r.log().Warn("what was done to the power of a machine is not in its past", "machine", t.record.ID, "verb", q.Verb, "err", err)
	}
	r.log().Info("power", "machine", t.record.ID, "name", t.record.Spec.Name, "verb", q.Verb, "state", s, "actor", actor, "why", q.Reason,
		"err", failed)
}

// event tells of a request.
func event(q api.PowerRequest, s power.State, failed error) api.Event {
	text := q.Verb
	switch {
	case q.From != "":
		text += " from " + q.From
	case q.Orderly:
		text += ", orderly"
	}
	if failed != nil {
		text += ": " + failed.Error()
	} else if s != power.Unknown {
		text += ": the machine is " + string(s)
	}
	if q.Reason != "" {
		text += " (" + q.Reason + ")"
	}
	e := fleet.Did(fleet.StepPower, printable.Mark(text))
	if failed != nil {
		e.State = api.StateFailed
	}
	return e
}

// outcome is what an operator is told of a machine.
func outcome(name, id string, s power.State, err error) api.PowerOutcome {
	o := api.PowerOutcome{ID: id, Name: name, Done: err == nil, State: string(s)}
	if err == nil {
		return o
	}
	o.Error, o.Kind = printable.Mark(err.Error()), string(power.Failed)
	if e, ok := errors.AsType[*power.Error](err); ok {
		o.Kind = string(e.Kind)
	}
	if _, not := errors.AsType[*power.NotTried](err); not {
		o.Kind = kindNotTried
	}
	if h, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok {
		o.Hint = h.Hint()
	}
	_, conflict := errors.AsType[*fleet.ConflictError](err)
	_, unknown := errors.AsType[*fleet.UnknownError](err)
	_, ambiguous := errors.AsType[*fleet.AmbiguousError](err)
	if conflict || unknown || ambiguous {
		o.Kind = kindRefused
	}
	return o
}
