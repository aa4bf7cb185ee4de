package door

import (
	"io"
	"net/http"
	"time"
)

// bodyWithin bounds how long the body of a request may take, from its header
// on. A handler that reads a long one sets another deadline before it does.
const bodyWithin = 10 * time.Second

// punctual gives every request that has a body a deadline for it before
// anybody looks at it: a handler that never reads the body, or that refuses it,
// would be kept by net/http until the client has sent what it announced. The
// answer to such a request ends the connection.
func punctual(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == nil || r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		ctl := http.NewResponseController(w)
		// A test recorder has no deadlines; every real connection has.
		_ = ctl.SetReadDeadline(time.Now().Add(bodyWithin))
		b := &arriving{ReadCloser: r.Body, ctl: ctl}
		r.Body = b
		defer func() {
			if !b.whole {
				_ = ctl.SetReadDeadline(time.Now()) // nothing more is waited for
			}
		}()
		next.ServeHTTP(&unheard{ResponseWriter: w, body: b}, r)
	})
}

// arriving is a body that knows when it has arrived.
type arriving struct {
	io.ReadCloser
	ctl   *http.ResponseController
	whole bool
}

// Read implements io.Reader. The deadline ends with the body: it would end a
// long answer too.
func (b *arriving) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF && !b.whole {
		b.whole = true
		_ = b.ctl.SetReadDeadline(time.Time{})
	}
	return n, err
}

// unheard ends the connection of a request whose body was not read to its end.
type unheard struct {
	http.ResponseWriter
	body *arriving
	told bool
}

// Unwrap lets http.ResponseController reach the connection.
func (w *unheard) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *unheard) WriteHeader(code int) {
	if !w.told && !w.body.whole && code >= http.StatusOK {
		w.Header().Set("Connection", "close")
	}
	w.told = w.told || code >= http.StatusOK
	w.ResponseWriter.WriteHeader(code)
}

// Write implements io.Writer.
func (w *unheard) Write(p []byte) (int, error) {
	if !w.told {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}
