package agent

import (
	"log/slog"
	"testing"

	"github.com/gild-dev/gild/internal/agent/machine"
	"github.com/gild-dev/gild/internal/agent/screen"
	"github.com/gild-dev/gild/internal/agent/screen/screentest"
)

// testAgent says what it does on a console that the test reads.
func testAgent(t *testing.T) (a *Agent, shown *screentest.Buffer) {
	t.Helper()
	shown = &screentest.Buffer{}
	c := &screen.Console{}
	c.Add(t.Context(), shown, false)
	return newAgent("s", machine.Here, c, &screen.Kmsg{}, slog.New(slog.DiscardHandler)), shown
}
