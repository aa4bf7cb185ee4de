package room

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/agent"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/operatorclient"
	"github.com/gild-dev/gild/internal/settings"
)

// unheard looks for words of the liar's in what is kept: those of sessions that
// nobody knows are nowhere.
func (r *crowd) unheard(t *testing.T) {
	t.Helper()
	all, err := r.operator.Machines(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		past, err := r.operator.Events(t.Context(), m.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range past {
			if strings.Contains(e.Message, strangersWord) {
				t.Errorf("%s has an event of a session that said no hello: %+v", m.ID, e)
			}
		}
	}
}

// secrets looks to whom identities went: one that went to a second session had
// changed hands, and the operator was told before. None went unseen.
func (r *crowd) secrets(t *testing.T, l *liar) {
	t.Helper()
	thieves := map[string]map[string]bool{} // sessions by plan
	for _, s := range l.taken {
		if s.secret && thieves[s.plan.ID] == nil {
			thieves[s.plan.ID] = map[string]bool{}
		}
		if s.secret {
			thieves[s.plan.ID][s.session] = true
		}
	}
	for _, m := range r.machines {
		past, err := r.operator.Events(t.Context(), m.Name)
		if err != nil {
			t.Fatal(err)
		}
		given, ever := map[string]int{}, map[string]int{}
		for _, e := range past {
			switch {
			case e.Cause == api.CauseSession:
				given[e.Plan] = 0
			case e.Message == "was given its identity":
				ever[e.Plan]++
				if given[e.Plan]++; given[e.Plan] > 1 {
					t.Errorf("%s: the identity of %s went to two sessions, and nobody was told that it changed hands", m.Name, e.Plan)
				}
			}
		}
		for plan, n := range ever {
			if n < len(thieves[plan]) {
				t.Errorf("%s: the liar has its identity by %d sessions, of which %d are told", m.Name, len(thieves[plan]), n)
			}
		}
	}
}

// untouched holds machines that were not armed against what they were.
func (r *crowd) untouched(t *testing.T, was [][]byte) {
	t.Helper()
	for i, m := range r.machines {
		got, err := r.operator.Machine(t.Context(), m.Name)
		if err != nil {
			t.Errorf("%s: %v", m.Name, err)
			continue
		}
		if got.Armed != nil || got.Receipt != nil || got.Writing || got.State == api.MachineFlashing {
			t.Errorf("%s, which nobody armed: armed %v, receipt %v, writing %v, %s", m.Name, got.Armed != nil, got.Receipt != nil, got.Writing,
				got.State)
		}
		p, err := os.ReadFile(m.Disk)
		if err != nil || !bytes.Equal(p, was[i]) {
			t.Errorf("%s, which nobody armed, has another disk than before (%v)", m.Name, err)
		}
		asked := 0
		for _, s := range m.log(t) {
			if asked++; s.Err != "" && s.Err != agent.ErrLocalDisk.Error() {
				t.Errorf("%s, which nobody armed: %s", m.Name, s.Err)
			}
		}
		if asked == 0 {
			t.Logf("%s still asked when its plug was pulled", m.Name)
		}
	}
}

// hostage is a machine that is switched off; the liar speaks for it.
var hostage = machine{Name: "hostage", MAC: "52:54:00:fd:00:01", UUID: "0a1f6c52-7d07-4c0e-9d9a-0000000fd001", Serial: "HOSTAGE"}

// lastWord has the liar speak as the agent of a machine that does not run. It
// gets the plan, and the identity once; the operator takes the machine back
// all the same. It returns the ID of the plan.
func lastWord(t *testing.T, operator *operatorclient.Client, l *liar) string {
	t.Helper()
	ctx := t.Context()
	spec := api.Spec{Name: hostage.Name, MACs: []string{hostage.MAC}, UUID: hostage.UUID, Serial: hostage.Serial}
	_, err := operator.Register(ctx, spec)
	if err == nil {
		_, err = operator.Flash(ctx, hostage.Name,
			api.FlashRequest{
				Settings: settings.Settings{Image: "golden", Identity: identity, Agent: settings.Agent{Handoff: "reboot"}},
				Unseen:   true,
			})
	}
	if err != nil {
		t.Fatal(err)
	}
	got, err := l.hello(ctx, "first", "", hostage.inventory())
	if err != nil || got == nil {
		t.Fatalf("the liar's hello for a machine that does not run: %v, %v; want the plan: else nothing is tried here", got, err)
	}
	first := *got
	if given, err := l.identity(ctx, &first); err != nil || !given {
		t.Fatalf("the identity for it: %v, %v", given, err)
	}
	says := func(want int) {
		t.Helper()
		event := api.Event{Step: "flash", State: api.StateStart, Message: takersWord}
		if status, err := l.tell(ctx, first.session, hostage.MAC, first.plan.ID, event); err != nil || status != want {
			t.Errorf("what the liar says of the flash is answered %d, %v; want %d", status, err, want)
		}
	}
	says(http.StatusNoContent)
	refused := func(session string) {
		t.Helper()
		if got, err := l.hello(ctx, session, "", hostage.inventory()); err != nil || got != nil {
			t.Errorf("hello of %s: plan %v, %v; want none", session, got != nil, err)
		}
		one := taken{session: session, showed: hostage.inventory(), plan: first.plan}
		if given, err := l.identity(ctx, &one); err != nil || given {
			t.Errorf("identity for %s: %v, %v; want that it is not given", session, given, err)
		}
	}
	refused("second") // while the first keeps speaking
	if _, err := operator.Cancel(ctx, hostage.Name, false); err == nil {
		t.Error("cancelled without force although its agent says that it writes")
	}
	m, err := operator.Cancel(ctx, hostage.Name, true)
	if err != nil || m.Armed != nil {
		t.Errorf("cancel by force = armed %v, %v; want that it works", m.Armed != nil, err)
	}
	says(http.StatusConflict)
	refused("first")
	if err := operator.Delete(ctx, hostage.Name, true); err != nil {
		t.Errorf("removing by force: %v", err)
	}
	return first.plan.ID
}

// setRight is what the operator does when the liar is gone: what it made up is
// removed, and the machines that it kept from being flashed are registered by
// all that stands on their labels, armed and started anew.
func (r *crowd) setRight(t *testing.T) {
	t.Helper()
	r.pullPlugs()
	all, err := r.operator.Machines(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if m.Spec.Name != "" {
			continue
		}
		if err := r.operator.Delete(t.Context(), m.ID, true); err != nil {
			t.Errorf("removing the made-up %s: %v", m.ID, err)
		}
	}
	r.each(t, func(ctx context.Context, m machine) error {
		if _, err := r.operator.Cancel(ctx, m.Name, true); err != nil {
			return fmt.Errorf("cancel by force: %w", err)
		}
		if err := r.operator.Delete(ctx, m.Name, true); err != nil {
			return err
		}
		_, err := r.operator.Register(ctx, api.Spec{
			Name: m.Name, MACs: []string{m.MAC}, UUID: m.UUID, Serial: m.Serial, Labels: map[string]string{label: "one"},
		})
		return errors.Join(err, os.Remove(m.Log))
	})
	r.powerOn(t)
	r.armEach(t)
	r.each(t, func(ctx context.Context, m machine) error {
		for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
			got, err := r.operator.Machine(ctx, m.Name)
			if err != nil || flashed(got, m) {
				return err
			}
			if time.Now().After(end) {
				return fmt.Errorf("it is %s (%s), not booted %q", got.State, got.Message, got.NotBooted)
			}
		}
	})
}

// flashed reports whether a machine's own agent has sent the receipt: one that
// the liar makes up is of no disk.
func flashed(got api.Machine, m machine) bool {
	return got.Receipt != nil && got.Receipt.Disk.Serial == m.drive().Serial
}

// ended waits for the processes and looks at what became of the machines.
func (r *crowd) ended(t *testing.T) {
	t.Helper()
	r.powerOff(t)
	for _, m := range r.machines {
		got, err := r.operator.Machine(t.Context(), m.Name)
		if err != nil || !flashed(got, m) || got.Armed != nil || got.Writing {
			t.Errorf("%s is %s (%s), %v", m.Name, got.State, got.Message, err)
		}
		for _, s := range m.log(t) {
			if (s.Kind == "end" || s.Kind == "after") && s.Err != "" {
				t.Errorf("%s, %s: %s", m.Name, s.Kind, s.Err)
			}
		}
		if err := r.judgeDisk(m); err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
	}
}
