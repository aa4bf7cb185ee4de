package events_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli"
	"github.com/gild-dev/gild/internal/cli/clitest"
	"github.com/gild-dev/gild/internal/cli/exit"
)

var gild = clitest.Main(cli.Main)

func event(id string, i int) api.Change {
	return api.Change{Kind: api.ChangeEvent, ID: id, Event: &api.Event{
		Time: clitest.Noon.Add(time.Duration(i) * time.Second),
		Step: fmt.Sprintf("e%03d", i), State: api.StateDone,
	}}
}

// No event is lost or shown twice: over cuts, over transactions that are told
// again, over servers that know nothing of the stream before.
func TestEventsFollow(t *testing.T) {
	f := clitest.NewFake(t, clitest.Armed()...)
	for i := range 100 {
		f.Tell(event("m2", i))
	}
	b := gild.Start(t, f, "events", "--follow", "-n", "10")
	all := gild.Start(t, f, "events", "--follow", "--machine", "web-2", "--json")
	f.WaitFor(t, "the streams", func() bool { return f.Streams() == 2 })
	f.WaitFor(t, "the past", func() bool { return strings.Contains(b.Stdout.String(), "e099") })
	n := 100
	for round := range 4 {
		for range 20 {
			f.Tell(event([]string{"m2", "m3"}[n%2], n), api.Change{
				Kind: api.ChangeEvent, ID: "m2",
				Event: &api.Event{Step: "flash", State: api.StateProgress},
			})
			n++
		}
		f.Mu.Lock()
		switch round {
		case 1: // the last messages come again
			f.Stream = append(f.Stream, f.Stream[len(f.Stream)-10:]...)
		case 2: // a server that was away: another stream, and a past
			f.Stream = []api.Change{{Kind: api.ChangeReset}}
			for range 5 {
				f.Log = append(f.Log, api.LogEntry{Machine: "m3", Name: "web-2", Event: *event("m3", n).Event})
				n++
			}
		}
		want := f.Streams() + 2
		f.Mu.Unlock()
		f.Cut()
		f.WaitFor(t, "the streams again", func() bool { return f.Streams() >= want })
		if round == 2 { // its ids are lower than those of the reader
			f.Tell(api.Change{Kind: api.ChangeReset})
		}
	}
	f.WaitFor(t, "the last", func() bool { return strings.Contains(b.Stdout.String(), fmt.Sprintf("e%03d", n-1)) })
	b.Stop()
	if code := b.Wait(t); code != exit.CodeInterrupted {
		t.Errorf("exit code %d; want %d", code, exit.CodeInterrupted)
	}
	for i := range n {
		want := 1
		if i < 90 {
			want = 0
		}
		if got := strings.Count(b.Stdout.String(), fmt.Sprintf("e%03d", i)); got != want {
			t.Errorf("event %d is shown %d times; want %d", i, got, want)
		}
	}
	if strings.Contains(b.Stdout.String(), "progress") {
		t.Error("progress is shown as an event")
	}
	all.Stop()
	all.Wait(t)
	for line := range strings.Lines(all.Stdout.String()) {
		var e api.LogEntry
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Machine != "m3" {
			t.Fatalf("%q: %v; want events of web-2 as JSON", line, err)
		}
	}
}

// The past of a machine is the same wherever it is read: how far a step is
// passes by, what the machine entered by it does not.
func TestOnePastOfAMachine(t *testing.T) {
	f := clitest.NewFake(t, clitest.Armed()...)
	told := []api.Event{
		{Step: "plan", State: api.StateProgress, Message: "asking"},
		{Step: "hello", State: api.StateDone, Message: "has its plan"},
		{Step: "flash", State: api.StateProgress, To: api.MachineHandingOff, Message: "sealed"},
		{Step: "flash", State: api.StateProgress, Message: "61 %"},
		{Step: "confirm", State: api.StateDone, To: api.MachineRunning, Actor: api.ActorServer},
	}
	for i := range told {
		told[i].Time = clitest.Noon.Add(time.Duration(i) * time.Second)
		f.Tell(api.Change{Kind: api.ChangeEvent, ID: "m2", Event: &told[i]})
	}
	for i := range 20 {
		f.Tell(api.Change{Kind: api.ChangeEvent, ID: "m2", Event: &api.Event{
			Time: clitest.Noon.Add(time.Minute), Step: "flash", State: api.StateProgress, Message: fmt.Sprint(i),
		}})
	}
	shown := gild.Ask(t, f, "machine", "show", "web-1").Stdout
	_, shown, ok := strings.Cut(shown, "\nevents\n")
	if !ok || strings.Count(shown, "\n") != 3 {
		t.Fatalf("machine show: %s; want three events", shown)
	}
	for _, args := range [][]string{{"events", "web-1"}, {"events", "web-1", "-n", "3"}, {"events"}} {
		got := gild.Ask(t, f, args...).Stdout
		for line := range strings.Lines(shown) {
			when, what, _ := strings.Cut(strings.TrimSpace(line), "  ")
			if !strings.Contains(got, when) || !strings.Contains(got, what) {
				t.Errorf("%v lacks %q:\n%s", args, strings.TrimSpace(line), got)
			}
		}
		if n := strings.Count(got, "\n"); n != 3 {
			t.Errorf("%v shows %d events; want 3:\n%s", args, n, got)
		}
	}
}
