package operators

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/door"
	"github.com/gild-dev/gild/internal/server/door/doortest"
)

// countingUploads takes bytes and tells how many came before the sender was
// cut.
type countingUploads struct {
	Uploads
	got chan int64
}

func (u countingUploads) Receive(_ context.Context, digest string, size, offset int64, r io.Reader) (api.Blob, error) {
	n, err := io.Copy(io.Discard, io.LimitReader(r, size-offset))
	u.got <- n
	return api.Blob{Digest: digest, Received: n, Whole: n == size}, err
}

// A sender may be as slow as the least pace, for as long as the blob takes; one
// that is slower, or has gone silent, is cut, and what has arrived counts.
func TestSlowSenderOfABlob(t *testing.T) {
	const pieces = 12
	for name, tt := range map[string]struct {
		every time.Duration // a piece
		sends int           // pieces, of which the last are not sent
		whole bool
	}{
		"at the least pace": {pieceTime - time.Second, pieces, true},
		"slower":            {pieceTime + 10*time.Second, pieces, false},
		"silent":            {time.Second, 3, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := countingUploads{got: make(chan int64, 1)}
				o := Door{Uploads: u}
				s := door.NewServer(o.Unguarded(), &door.Gate{}, slog.New(slog.DiscardHandler))
				client, server := net.Pipe()
				go func() { _ = s.Serve(doortest.One(server)) }()
				sent := make(chan int64, 1)
				go func() { sent <- sendSlowly(client, pieces, tt.sends, tt.every) }()
				start := time.Now()
				resp, err := http.ReadResponse(bufio.NewReader(client), nil)
				took := time.Since(start)
				got := <-u.got
				whole := err == nil && resp.StatusCode == http.StatusOK
				if whole != tt.whole || whole && got != pieces*piece {
					t.Errorf("after %v: %+v, %v, %d bytes; want it whole: %v", took, resp, err, got, tt.whole)
				}
				if tt.whole && took < (pieces-1)*tt.every {
					t.Errorf("it took %v; is the sender slow?", took)
				}
				// A whole piece may be one that was begun: its time, and that
				// of the next.
				if last := time.Duration(tt.sends) * min(tt.every, pieceTime); !tt.whole && took > last+2*pieceTime {
					t.Errorf("a sender that is too slow was held for %v", took)
				}
				client.Close()
				if n := <-sent; got > n || !tt.whole && got < n-piece {
					t.Errorf("%d bytes were sent, %d arrived", n, got)
				}
				s.Close()
			})
		})
	}
}

// sendSlowly announces a blob of so many pieces, and sends some of them, each
// in parts over a time. It returns how many bytes were taken.
func sendSlowly(to io.Writer, pieces, sends int, every time.Duration) (n int64) {
	const parts = 16
	_, err := fmt.Fprintf(to, "PUT %s?size=%d HTTP/1.1\r\nHost: a\r\nContent-Type: application/octet-stream\r\nContent-Length: %[2]d\r\n\r\n",
		strings.Replace(api.PathBlob, "{digest}", "sha256:"+strings.Repeat("00", 32), 1), pieces*piece)
	for range sends * parts {
		if err != nil {
			return n
		}
		time.Sleep(every / parts)
		var k int
		k, err = to.Write(make([]byte, piece/parts))
		n += int64(k)
	}
	return n
}
