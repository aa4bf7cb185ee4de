// Package reply is how every door answers: with values, files, problems.
package reply

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"

	"github.com/gild-dev/gild/internal/api"
)

// Problem answers with an RFC 9457 problem. detail says what to do.
func Problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(api.Problem{Title: http.StatusText(status), Status: status, Detail: detail})
}

// RetryAfter is what an answer that may be another one soon says, in seconds.
const RetryAfter = "5"

// Temporary tells whether asking again may help: the state says so of etcd,
// when that does not answer.
func Temporary(err error) bool {
	t, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err)
	return ok && t.Temporary()
}

// LogFailure logs a failure of the server's own. One that passes is told as a
// warning: its cause is elsewhere, and every request of the room meets it.
func LogFailure(ctx context.Context, log *slog.Logger, err error, args ...any) {
	level := slog.LevelError
	if Temporary(err) {
		level = slog.LevelWarn
	}
	if ctx.Err() == nil {
		log.Log(ctx, level, "request failed", append(args, "err", err)...)
	}
}

// Fail answers a request that the rooms behind could not: what is missing is
// 404, everything else is the server's own trouble and is logged.
func Fail(w http.ResponseWriter, r *http.Request, log *slog.Logger, err error) {
	if errors.Is(err, fs.ErrNotExist) {
		Problem(w, http.StatusNotFound, err.Error())
		return
	}
	LogFailure(r.Context(), log, err, "path", r.URL.Path, "client", r.RemoteAddr)
	w.Header().Set("Retry-After", RetryAfter)
	Problem(w, http.StatusServiceUnavailable, "the server could not answer now, its log says why; try again")
}
