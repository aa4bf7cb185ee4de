package flash

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/flash/supply"
	"github.com/gild-dev/gild/internal/golden"
)

// peers are several that have chunks and send them without what lies between
// them, each only so many bytes at a time. Who asks is answered by the next.
type peers struct {
	table *golden.Table
	blob  []byte
	names []string
	most  int64
	liar  string // spoils what it sends
	asked int
}

func (p *peers) Open(_ context.Context, span []int, skip int64) (supply.Answer, error) {
	name := p.names[p.asked%len(p.names)]
	p.asked++
	var frames []byte
	for _, i := range span {
		c := p.table.Chunk(i)
		frames = append(frames, p.blob[c.Offset:c.Offset+c.Length]...)
	}
	if name == p.liar {
		frames[skip] ^= 1
	}
	body := io.LimitReader(bytes.NewReader(frames[skip:]), p.most)
	return supply.Answer{Body: io.NopCloser(body), From: name}, nil
}

// A flash from peers is told by whom it was lied to, and ends well by the others.
func TestFlashFromPeers(t *testing.T) {
	im := newTestImage(t, randomDisk(2, 6*mib), "none")
	d := newModelDisk(make([]byte, 6*mib))
	result, err := Run(t.Context(), Job{Image: im.Image, Source: &peers{
		table: im.Table, blob: im.blob, names: []string{"good", "fair"}, most: mib,
	}, Disk: d, Workers: 1, Retry: supply.Retry{First: 1, Longest: 1}})
	if err != nil || !bytes.Equal(d.now, im.raw) || result.Given["good"] == 0 || result.Given["good"]+result.Given["fair"] != result.Wire {
		t.Errorf("Run() = %+v, %v; want the image, from both", result, err)
	}
	_, err = Run(t.Context(), Job{Image: im.Image, Source: &peers{
		table: im.Table, blob: im.blob, names: []string{"liar"}, most: mib, liar: "liar",
	}, Disk: newModelDisk(make([]byte, 6*mib)), Workers: 1, Retry: supply.Retry{First: 1, Longest: 1}})
	if err == nil || !strings.Contains(err.Error(), "from liar") {
		t.Errorf("Run() = %v; want to be told who has lied", err)
	}
}

// notThere is a failure that says of itself that it will not pass.
type notThere string

func (e notThere) Error() string { return string(e) }

func (notThere) Permanent() bool { return true }
