package metrics

import (
	"io"
	"net/http"
)

// recorder sees what a handler answers. It hides nothing of the writer below
// that handlers rely on: deadlines and flushing go by http.ResponseController,
// sendfile by ReadFrom.
type recorder struct {
	http.ResponseWriter
	code int
	told bool // the header is out
	sent int64
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(code int) {
	// Informational answers come before the one that counts (RFC 9110, 15.2).
	if !r.told && code >= http.StatusOK {
		r.code, r.told = code, true
	}
	r.ResponseWriter.WriteHeader(code)
}

// Write implements io.Writer.
func (r *recorder) Write(p []byte) (int, error) {
	r.told = true
	n, err := r.ResponseWriter.Write(p)
	r.sent += int64(n)
	return n, err
}

// ReadFrom keeps the kernel's way from a file to a socket.
func (r *recorder) ReadFrom(src io.Reader) (int64, error) {
	r.told = true
	n, err := io.Copy(r.ResponseWriter, src)
	r.sent += n
	return n, err
}
