package cli_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/clitest"
	"github.com/gild-dev/gild/internal/cli/exit"
)

var (
	hardwareAddress = regexp.MustCompile(`([0-9a-f]{2}:){5}[0-9a-f]{2}`)
	clock           = regexp.MustCompile(`\d{2}:\d{2}:\d{2}(\.\d+)?.{0,6}`)
	zoned           = regexp.MustCompile(`^[\d:.]+( [A-Z]{3,5}\b|Z|[+-]\d{2}:\d{2})`)
)

// Every time of day that is told has its zone: operator, server and browser may
// be in three.
func TestTimesHaveTheirZone(t *testing.T) {
	f := clitest.NewFake(t, clitest.Fleet()...)
	f.Flashes = []api.Flash{{
		Plan: "p1", Image: api.PlanImage{Name: "web"}, Armed: clitest.Noon, Outcome: "running", Ended: clitest.Noon.Add(time.Minute),
	}}
	f.Tell(api.Change{Kind: api.ChangeEvent, ID: "m2", Event: &api.Event{Time: clitest.Noon, Step: "hello", State: api.StateDone}})
	commands := []string{
		"machine show web-1", "machine show web-2", "machine ls -o wide", "events", "events web-1", "machine show web-1 --json",
		"events --json",
	}
	found := map[string]int{}
	check := func(command, text string) {
		for _, at := range clock.FindAllString(hardwareAddress.ReplaceAllString(text, ""), -1) {
			found[command]++
			if !zoned.MatchString(at) {
				t.Errorf("gild %s: %q has no zone", command, at)
			}
		}
	}
	for _, command := range commands {
		got := gild.Ask(t, f, strings.Fields(command)...)
		if got.Code != exit.CodeOK {
			t.Fatalf("gild %s: %+v", command, got)
		}
		check(command, got.Stdout)
	}
	w := gild.Start(t, f, "watch")
	f.WaitFor(t, "the stream", func() bool { return f.Streams() > 0 })
	f.State("m3", api.MachineRunning, nil)
	f.State("m2", api.MachineRunning, nil)
	w.Wait(t)
	check("watch", w.Stdout.String())
	for _, command := range []string{"machine show web-1", "events", "watch", "events --json"} {
		if found[command] == 0 {
			t.Errorf("gild %s tells no time: this test looks at nothing", command)
		}
	}
}
