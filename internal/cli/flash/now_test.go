package flash_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/clitest"
	"github.com/gild-dev/gild/internal/cli/exit"
)

// powered gives one of the machines a power control.
func powered(t *testing.T, driver string) *clitest.Fake {
	t.Helper()
	f := flashRoom(t)
	for i := range f.Machines {
		if m := &f.Machines[i]; m.ID == "m2" {
			m.Spec.Power = api.Power{Driver: driver, Address: "10.0.9.11"}
			p := f.Previews["m2"]
			p.Machine = *m
			f.Previews["m2"] = p
		}
	}
	f.Fates = map[string]api.PowerOutcome{"m2": {ID: "m2", Name: "web-1", Done: true, State: "on"}}
	return f
}

// With --now the machines that were armed, and no others, are booted from the
// network; how is said before anybody agrees.
func TestFlashNow(t *testing.T) {
	f := powered(t, api.PowerIPMI)
	args := []string{"flash", "web-1", "web-2", "db-1.example.org", "--image", "web", "--now"}
	got := gild.Ask(t, f, append(args, "--dry-run")...)
	for _, text := range []string{"now: restarted by ipmi: orderly shutdown, else reset", "now: it has no power control"} {
		if !strings.Contains(got.Stdout, text) {
			t.Errorf("dry run: %s; want %q", got.Stdout, text)
		}
	}
	if len(f.Powered) > 0 {
		t.Errorf("a dry run asked for %+v", f.Powered)
	}
	got = gild.Ask(t, f, append(args, "--yes")...)
	want := []api.PowerRequest{{Verb: api.PowerNetboot, Machines: []string{"m2"}, Reason: "gild flash --now", Within: 3600}}
	if diff := cmp.Diff(want, f.Powered); diff != "" || got.Code != exit.CodeRefused ||
		!strings.Contains(got.Stderr, "web-1 boots from the network") {
		t.Errorf("exit code %d, stderr %s, asked (-want +got):\n%s", got.Code, got.Stderr, diff)
	}
}

func TestFlashNowFails(t *testing.T) {
	f := powered(t, api.PowerWOL)
	f.Fates["m2"] = api.PowerOutcome{
		ID: "m2", Name: "web-1", State: "unknown", Kind: "not confirmed", Error: "it was not seen",
		Hint: "look at its console",
	}
	got := gild.Ask(t, f, "flash", "web-1", "--image", "web", "--now", "--yes")
	if got.Code != exit.CodeFailed || !strings.Contains(got.Stdout, "web-1 armed with web") ||
		!strings.Contains(got.Stderr, "woken by Wake-on-LAN") ||
		!strings.Contains(got.Stderr, "web-1: it is armed, and was not brought to the network: it was not seen; look at its console") {
		t.Errorf("%+v; want it armed, and why it does not boot", got)
	}
	delete(f.Fates, "m2")
	got = gild.Ask(t, f, "flash", "web-1", "--image", "web", "--now", "--yes")
	if got.Code != exit.CodeFailed || !strings.Contains(got.Stderr, "not known whether it boots") {
		t.Errorf("%+v; want that it is not known", got)
	}
	f.Powered = nil
	if got := gild.Ask(t, f, "flash", "web-1", "--image", "web", "--yes"); got.Code != exit.CodeOK || len(f.Powered) > 0 {
		t.Errorf("without --now: %+v, asked for %+v", got, f.Powered)
	}
}
