package reply

import (
	"io"
	"net/http"
	"time"
)

// A client may be as slow as piece bytes in pieceTime (9 kB/s). http.Server's
// WriteTimeout bounds a whole answer and so would cut a slow link's download,
// while none at all lets a dead client hold its connection for ever.
const (
	piece     = 512 << 10
	pieceTime = 60 * time.Second
)

// steadyWriter gives every piece of an answer a deadline of its own.
type steadyWriter struct {
	http.ResponseWriter
	ctl *http.ResponseController
}

func (w *steadyWriter) extend() {
	// A test recorder has no deadlines; every real connection has.
	_ = w.ctl.SetWriteDeadline(time.Now().Add(pieceTime))
}

func (w *steadyWriter) Write(p []byte) (int, error) {
	w.extend()
	return w.ResponseWriter.Write(p)
}

// ReadFrom keeps sendfile(2) working: net/http finds it through this method
// when src is a file or one io.LimitedReader around a file.
func (w *steadyWriter) ReadFrom(src io.Reader) (int64, error) {
	limit := int64(1<<63 - 1)
	if l, ok := src.(*io.LimitedReader); ok {
		src, limit = l.R, l.N
	}
	var total int64
	for total < limit {
		w.extend()
		want := min(piece, limit-total)
		n, err := io.Copy(w.ResponseWriter, &io.LimitedReader{R: src, N: want})
		total += n
		if err != nil || n < want {
			return total, err
		}
	}
	return total, nil
}
