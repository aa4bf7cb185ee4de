package dashboard

import (
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/api"
)

// column gives the text of each row's n-th cell.
func cells(body string, n int) (all []string) {
	row, cell, mark := regexp.MustCompile(`(?s)<tr id="r-.*?</tr>`), regexp.MustCompile(`(?s)<t[dh].*?</t[dh]>`), regexp.MustCompile(`<[^>]*>`)
	for _, r := range row.FindAllString(body, -1) {
		all = append(all, strings.TrimSpace(mark.ReplaceAllString(cell.FindAllString(r, -1)[n], "")))
	}
	return all
}

func TestTableIsSorted(t *testing.T) {
	r := &fakeRoom{machines: []api.Machine{
		{ID: "a", Spec: api.Spec{Name: "n10", Serial: "S2"}, State: api.MachineRunning, Address: "10.0.0.9", Since: start},
		{ID: "b", Spec: api.Spec{Name: "n9", Serial: "S10"}, State: api.MachineFailed, Address: "10.0.0.10", Since: start.Add(-time.Hour)},
		{
			ID: "c", Spec: api.Spec{Name: "n100", Labels: map[string]string{"rack": "b7"}}, State: api.MachineArmed,
			Armed: &api.Armed{Plan: api.Plan{Image: api.PlanImage{Name: "web"}}}, Since: start.Add(time.Hour),
		},
	}}
	h := dashboardOf(r).Handler()
	for sort, want := range map[string]string{
		"": "n9 n10 n100", "name": "n9 n10 n100", "-name": "n100 n10 n9", "state": "n9 n100 n10", "address": "n100 n10 n9",
		"-address": "n9 n10 n100", "image": "n9 n10 n100", "-image": "n100 n9 n10", "serial": "n100 n10 n9", "labels": "n9 n10 n100",
		"since": "n100 n10 n9", "-since": "n9 n10 n100", "nonsense": "n9 n10 n100",
	} {
		body := get(t, h, "/?view=table&sort="+sort).Body.String()
		if got := strings.Join(cells(body, 1), " "); got != want {
			t.Errorf("sorted by %q: %s; want %s", sort, got, want)
		}
		if _, known := strings.CutPrefix(sort, "-"); known && !strings.Contains(body, `aria-sort="descending"`) {
			t.Errorf("sorted by %q: no column says so", sort)
		}
	}
}

// The address of the page holds all that it shows, and each link changes one
// thing of it.
func TestAddressHoldsTheView(t *testing.T) {
	const address = "/?group=rack&l=rack%3Db01&q=n0&sort=name&state=running&view=table"
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	q := queryOf(u.Query())
	got := []string{q.Href(), q.By("name").Href(), q.ByState("running").Href(), q.As("").Href(), q.JSON(), query{}.Href()}
	want := []string{
		address, strings.Replace(address, "sort=name", "sort=-name", 1), strings.Replace(address, "&state=running", "", 1),
		"/?group=rack&l=rack%3Db01&q=n0&state=running", "/api/v1/machines?selector=rack%3Db01", "/",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
}

// A tile shows what tells it from its neighbours; what they all begin with
// stands once, and no name is cut in its middle.
func TestTilesShowTheNames(t *testing.T) {
	for _, tt := range []struct {
		names  []string
		prefix string
		shown  []string
	}{
		{[]string{"rack7-web-01", "rack7-web-02"}, "rack7-web-", []string{"01", "02"}},
		{[]string{"rack7-web-01", "rack7-db-01"}, "rack7-", []string{"web-01", "db-01"}},
		{[]string{"web01", "web02"}, "", []string{"web01", "web02"}},
		{[]string{"52:54:00:00:00:01", "52:54:00:00:00:02"}, "52:54:00:00:00:", []string{"01", "02"}},
		{[]string{"node-a", "node-a-1"}, "node-", []string{"a", "a-1"}},
		{[]string{"alone-01"}, "", []string{"alone-01"}},
		{[]string{"web-", "web-1"}, "web-", []string{"web-", "1"}},
		{[]string{"a-very-long-name-of-a-machine.example.org"}, "", []string{"a-very-long-name-of-a-machine.example.org"}},
	} {
		var tiles []tile
		for _, n := range tt.names {
			tiles = append(tiles, tile{Name: n})
		}
		g := groupsOf(map[string][]tile{"": tiles}, false)[0]
		var shown []string
		for _, x := range g.Tiles {
			shown = append(shown, x.Short)
		}
		if g.Prefix != tt.prefix || !cmp.Equal(shown, tt.shown) {
			t.Errorf("%q: %q before %q; want %q before %q", tt.names, g.Prefix, shown, tt.prefix, tt.shown)
		}
	}
}

// Who needs an operator stands before the machines, and in the title.
func TestAttentionComesFirst(t *testing.T) {
	r := newRoom(60, "")
	for i := range r.machines {
		r.machines[i].Conflict = "two"
	}
	body := get(t, dashboardOf(r).Handler(), "/").Body.String()
	attention, grid := strings.Index(body, `id="attention"`), strings.Index(body, `id="grid"`)
	if attention < 0 || grid < attention || !strings.Contains(body, "<title>(60) ") {
		t.Errorf("attention at %d, machines at %d; want it first, and their number in the title", attention, grid)
	}
}
