package metrics

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/dhcpd"
	"github.com/gild-dev/gild/internal/server/tftpd"
)

// What board and alerts ask for must be what the server tells: a name that
// was changed on one side would make an alert that never comes.
func TestContribNamesAreServed(t *testing.T) {
	m := New("v1", func(context.Context) ([]api.Machine, error) {
		return []api.Machine{{State: api.MachineFlashing, Trouble: &api.Trouble{Cause: api.CauseDiskError}}}, nil
	})
	m.Event(api.Event{State: api.StateFailed, Cause: "disk-none", To: api.MachineFailed, Actor: api.ActorAgent})
	m.Event(api.Event{Receipt: &api.Receipt{PhaseTimes: map[string]float64{"write": 1}}})
	m.DHCP(dhcpd.Event{Asked: dhcpv4.MessageTypeDiscover})
	m.TFTP(tftpd.Event{})
	m.State(func(context.Context) (api.StateUsage, error) { return api.StateUsage{}, nil })
	m.Alarms(func() []api.Alarm { return []api.Alarm{{Kind: api.AlarmDHCP}} })
	m.requests.WithLabelValues("boot", "GET /", "200").Inc()
	m.sent.WithLabelValues("boot", "GET /").Inc()
	m.took.WithLabelValues("boot", "GET /").Observe(1)
	served := scrape(t, m)
	name := regexp.MustCompile(`\b(gild|process)_[a-z_]+`)
	for _, file := range []string{"grafana/gild-room.json", "prometheus/gild-alerts.yaml"} {
		text, err := os.ReadFile("../../../contrib/" + file)
		if err != nil {
			t.Fatal(err)
		}
		found := name.FindAllString(string(text), -1)
		if len(found) < 8 {
			t.Errorf("%s asks for %d metrics; is the test reading it rightly?", file, len(found))
		}
		for _, n := range found {
			if n != "gild_room" && !strings.Contains(served, "\n"+n+"{") && !strings.Contains(served, "\n"+n+" ") {
				t.Errorf("%s asks for %s, which is not served", file, n)
			}
		}
	}
}

// promtool runs Prometheus's own judge in a directory.
func promtool(t *testing.T, dir string, stdin string, args ...string) {
	t.Helper()
	program, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (Debian: prometheus)")
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// Each alert comes for what it is for, once however many servers see it, with
// what it says; none comes for a room at work.
func TestAlerts(t *testing.T) {
	dir := t.TempDir()
	tests, err := os.ReadFile("testdata/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := os.ReadFile("../../../contrib/prometheus/gild-alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, alert := range regexp.MustCompile(`alert: (\w+)`).FindAllSubmatch(rules, -1) {
		if !strings.Contains(string(tests), "alertname: "+string(alert[1])+"\n") {
			t.Errorf("nothing tests that %s comes", alert[1])
		}
	}
	for name, text := range map[string][]byte{"alerts.yaml": tests, "gild-alerts.yaml": rules} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	promtool(t, dir, "", "check", "rules", "gild-alerts.yaml")
	promtool(t, dir, "", "test", "rules", "alerts.yaml")
}

func TestContribParses(t *testing.T) {
	board, err := os.ReadFile("../../../contrib/grafana/gild-room.json")
	if err != nil {
		t.Fatal(err)
	}
	var b struct {
		Panels []struct {
			ID      int
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(board, &b); err != nil || len(b.Panels) == 0 {
		t.Errorf("board: %d panels, %v", len(b.Panels), err)
	}
	seen := map[int]bool{}
	for _, p := range b.Panels {
		if seen[p.ID] || len(p.Targets) == 0 {
			t.Errorf("panel %d is there twice or asks for nothing", p.ID)
		}
		seen[p.ID] = true
	}
	rules, err := os.ReadFile("../../../contrib/prometheus/gild-alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var r struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(rules, &r); err != nil || len(r.Groups) != 1 {
		t.Fatalf("alerts: %d groups, %v", len(r.Groups), err)
	}
	for _, rule := range r.Groups[0].Rules {
		if rule.Alert == "" || rule.Expr == "" || rule.Annotations["summary"] == "" {
			t.Errorf("alert %q is not whole", rule.Alert)
		}
	}
}
