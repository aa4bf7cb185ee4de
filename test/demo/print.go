package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

// prefixed writes whole lines to standard output with a word before each, so
// that server and machine can be told apart.
func prefixed(prefix string) *lines { return &lines{prefix: prefix, to: os.Stdout} }

type lines struct {
	prefix string
	to     io.Writer

	mu    sync.Mutex
	rest  []byte
	muted bool
}

// mute drops what comes while others draw on the terminal.
func (l *lines) mute(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.muted = on
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, bytes.ReplaceAll(p, []byte("\r"), nil)...)
	for {
		line, rest, found := bytes.Cut(l.rest, []byte("\n"))
		if !found {
			return len(p), nil
		}
		l.rest = rest
		if !l.muted {
			fmt.Fprintf(l.to, "%s%s\n", l.prefix, line)
		}
	}
}

// when is the moment of an event by the clock of the machine, which is that of
// this host: an agent tells the server later.
func when(e *api.Event) time.Time {
	if e.Sent.IsZero() {
		return e.Time
	}
	return e.Sent
}

// printPhases shows where the time went, as the server recorded it.
func (d *demo) printPhases(ctx context.Context, powerOn time.Time) error {
	login := time.Now()
	m, err := d.server.Machine(ctx, mac)
	if err != nil {
		return err
	}
	say("what the server recorded, in seconds since power-on")
	fmt.Printf("%8s  %-10s %s\n", "", "step", "")
	row := func(at time.Time, step, text string) {
		fmt.Printf("%8.1f  %-10s %s\n", at.Sub(powerOn).Seconds(), step, text)
	}
	for _, e := range m.Events {
		if at := when(&e); e.State == api.StateDone && at.After(powerOn) {
			row(at, e.Step, e.Message)
		}
	}
	row(login, "login", d.prompt)
	if r := m.Receipt; r != nil {
		fmt.Printf("\n%d MiB fetched, %d MiB written, %d MiB zeroed, read back: %s, handoff: %s\n",
			r.Wire>>20, r.Written>>20, r.Zeroed>>20, r.ReadBack, r.Handoff)
		for _, phase := range []string{"prepare", "scan", "write", "read back", "seal"} {
			if s, ok := r.PhaseTimes[phase]; ok {
				fmt.Printf("%8.1f s  %s\n", s, phase)
			}
		}
	}
	return nil
}
