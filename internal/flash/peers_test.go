package flash

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/flash/supply"
	"github.com/gild-dev/gild/internal/flash/supply/supplytest"
)

// peers are a source of what several have.
type peers struct{ supplytest.Peers }

func (p *peers) Open(_ context.Context, span []int, skip int64) (supply.Answer, error) {
	body, from := p.Give(span, skip)
	return supply.Answer{Body: body, From: from}, nil
}

// A flash from peers is told by whom it was lied to, and ends well by the
// others.
func TestFlashFromPeers(t *testing.T) {
	im := newTestImage(t, randomDisk(2, 6*mib), "none")
	d := newModelDisk(make([]byte, 6*mib))
	result, err := Run(t.Context(), Job{Image: im.Image, Source: &peers{supplytest.Peers{
		Table: im.Table, Blob: im.blob, Names: []string{"good", "fair"}, Most: mib,
	}}, Disk: d, Workers: 1, Retry: supply.Retry{First: 1, Longest: 1}})
	if err != nil || !bytes.Equal(d.now, im.raw) || result.Given["good"] == 0 || result.Given["good"]+result.Given["fair"] != result.Wire {
		t.Errorf("Run() = %+v, %v; want the image, from both", result, err)
	}
	_, err = Run(t.Context(), Job{Image: im.Image, Source: &peers{supplytest.Peers{
		Table: im.Table, Blob: im.blob, Names: []string{"liar"}, Most: mib, Liar: "liar",
	}}, Disk: newModelDisk(make([]byte, 6*mib)), Workers: 1, Retry: supply.Retry{First: 1, Longest: 1}})
	if err == nil || !strings.Contains(err.Error(), "from liar") {
		t.Errorf("Run() = %v; want to be told who has lied", err)
	}
}

// notThere is a failure that says of itself that it will not pass.
type notThere string

func (e notThere) Error() string { return string(e) }

func (notThere) Permanent() bool { return true }
