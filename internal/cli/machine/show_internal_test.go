package machine

import (
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

func TestAdviceText(t *testing.T) {
	for _, tt := range []struct {
		m    api.Machine
		want string
	}{
		{api.Machine{ID: "m1", State: api.MachineRunning}, ""},
		{api.Machine{ID: "m1", Spec: api.Spec{Name: "web-1"}, Cause: api.CauseDiskTooSmall}, "Run `gild cancel web-1`,"},
		{api.Machine{ID: "m1", Cause: "made-up"}, ""},
		{api.Machine{ID: "m1", Cause: api.CauseDiskError, Stuck: time.Now()}, "Look at the machine's screen"},
		{api.Machine{ID: "m1", Cause: api.CauseDiskError, Stuck: time.Now(), Conflict: "another"}, "Find the second machine"},
	} {
		if got := adviceText(&tt.m); !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("adviceText(%+v) = %q; want it to begin with %q", tt.m, got, tt.want)
		}
	}
}
