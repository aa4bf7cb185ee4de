package budget

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// What operators read is what the server holds to.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), Markdown()) {
		t.Errorf("docs/operations.md does not hold this table:\n%s", Markdown())
	}
}

// Whatever the boot network makes the server store has room in the database,
// beside the past of keys and what operators store.
func TestFits(t *testing.T) {
	seen := SeenBytes // counted with its events
	known := Machines * (8 << 10)
	if sum := int64(seen + known); sum > State/2 {
		t.Errorf("%d bytes may be stored; half of the database has %d", sum, State/2)
	}
	if Transaction < 4*Inventory+8*ReportBody {
		t.Errorf("a change of a record with a report does not fit a transaction")
	}
}

func TestLimiter(t *testing.T) {
	l := &Limiter{Rate: 2, Burst: 3, Keys: 16}
	now := time.Now()
	took := func(key string) (n int) {
		for l.Allow(key, now) {
			n++
		}
		return n
	}
	if n := took("a"); n != 3 {
		t.Errorf("%d at once; want 3", n)
	}
	now = now.Add(time.Second)
	if n := took("a"); n != 2 {
		t.Errorf("%d a second later; want 2", n)
	}
	if n := took("b"); n != 3 {
		t.Errorf("%d of another; want 3", n)
	}
	for i := range 1000 {
		l.Allow(fmt.Sprint(i), now)
	}
	if len(l.by) > l.Keys {
		t.Errorf("%d keys are known; want at most %d", len(l.by), l.Keys)
	}
}
