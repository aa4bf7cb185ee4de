package door

import (
	"log/slog"
	"net/http"
	"time"
)

// answerWithin bounds an answer of a few pieces. A handler that sends a file
// or a stream gives each piece a deadline of its own, as it goes.
const answerWithin = 6 * time.Minute

// NewServer is an HTTP server whose limits suit both listeners: a client must
// get to the point quickly, but may take its time over a large file.
func NewServer(h http.Handler, gate *Gate, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           punctual(h),
		ReadHeaderTimeout: 10 * time.Second,
		WriteTimeout:      answerWithin,
		IdleTimeout:       90 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ConnState:         gate.State,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		// `OPTIONS *` is for the handler to refuse, as anything else.
		DisableGeneralOptionsHandler: true,
	}
}
