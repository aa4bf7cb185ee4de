package order

import (
	"time"

	"github.com/gild-dev/gild/internal/version"
)

// buildTime is when the agent's source was committed, or a time before that: no
// clock that is right shows an earlier one.
func buildTime() time.Time {
	floor := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	if t := version.Time(); t.After(floor) {
		return t
	}
	return floor
}

// clockIsWrong reports whether the machine's clock cannot be right and the
// server's can.
func clockIsWrong(now, server time.Time) bool {
	return now.Before(buildTime()) && !server.Before(buildTime())
}
