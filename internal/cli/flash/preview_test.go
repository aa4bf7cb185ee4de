package flash

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/cli/clitest"
	"github.com/gild-dev/gild/internal/cli/term"
)

func samplePreviews() (targets []*target) {
	for _, p := range clitest.Previews() {
		t := &target{preview: p}
		if p.Refusal != "" {
			t.err = errors.New("refused")
		}
		targets = append(targets, t)
	}
	return targets
}

func TestPreviewTable(t *testing.T) {
	for _, width := range []int{80, 200} {
		var b strings.Builder
		previewTable(samplePreviews()).Write(&b, width, term.Palette{})
		clitest.Golden(t, fmt.Sprintf("preview-%d.txt", width), b.String())
		if strings.Contains(b.String()[:strings.Index(b.String(), "web-2")], "…") {
			t.Errorf("width %d: what is lost is cut off:\n%s", width, b.String())
		}
	}
}

func TestExpiryText(t *testing.T) {
	for seconds, want := range map[int]string{86400: "24h after arming", 5400: "1h30m after arming", 605: "10m5s after arming", -1: "never"} {
		if got := expiryText(seconds); got != want {
			t.Errorf("expiryText(%d) = %q; want %q", seconds, got, want)
		}
	}
}
