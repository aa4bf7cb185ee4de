package dashboard

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
)

func picked(do string, more url.Values, ids ...string) url.Values {
	form := url.Values{"do": {do}, "m": ids}
	for k, v := range more {
		form[k] = v
	}
	return form
}

func TestFlashSeveral(t *testing.T) {
	two := []string{"52:54:00:00:00:01", "52:54:00:00:00:02"}
	r := newRoom(10, "")
	h := dashboardOf(r).Handler()
	w := post(t, h, "/selected", picked("flash", url.Values{"preview": {"1"}, "image": {"web-14"}}, append(two, "gone")...))
	body := w.Body.String()
	for _, want := range []string{
		"Flash 3 machines", "partition 3 (data), xfs, 900 GB", "Left alone", "look at the room", "1 of 3 would be refused",
		"Type <strong>2</strong>", `name="image" value="web-14"`,
	} {
		if w.Code != 200 || !strings.Contains(body, want) {
			t.Errorf("the preview of three, one of them unknown, = %d and lacks %q", w.Code, want)
		}
	}
	if strings.Count(body, `name="shown"`) != 2 || len(r.armed) != 0 {
		t.Errorf("%d previews are agreed to, %d machines armed; want 2 and none", strings.Count(body, `name="shown"`), len(r.armed))
	}
	good := url.Values{"image": {"web-14"}, "shown": {"d1", "d2"}, "confirm": {"2"}}
	for _, tt := range []struct {
		name    string
		change  url.Values
		refusal error
		status  int
		says    string
		armed   int
	}{
		{"wrong number", url.Values{"confirm": {"3"}}, nil, 422, "what was typed is not 2", 0},
		{"no number", url.Values{"confirm": {""}}, nil, 422, "what was typed is not 2", 0},
		{"one not shown", url.Values{"shown": {"d1"}}, nil, 409, "not shown what will be lost", 1},
		{"nobody", url.Values{"m": nil}, nil, 422, "no machine is selected", 0},
		{"refused", nil, &fleet.InvalidError{Problem: "what would be lost has changed", Help: "look again"}, 409, "has changed; look again", 0},
		{"as shown", nil, nil, 303, "", 2},
	} {
		r := newRoom(10, "")
		r.refusal = tt.refusal
		form := picked("flash", good, two...)
		for k, v := range tt.change {
			form[k] = v
		}
		w := post(t, dashboardOf(r).Handler(), "/selected/flash", form)
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.says) || len(r.armed) != tt.armed {
			t.Errorf("%s: %d, %d armed; want %d, %d, and %q", tt.name, w.Code, len(r.armed), tt.status, tt.armed, tt.says)
		}
		for i, f := range r.armed {
			if f.Image != "web-14" || f.Shown != good["shown"][i] {
				t.Errorf("%s: machine %d was armed with %+v", tt.name, i, f)
			}
		}
	}
}

func TestCancelSeveral(t *testing.T) {
	r := newRoom(10, "")
	for i, change := range []func(*api.Machine){
		func(m *api.Machine) { m.Armed = &api.Armed{} },
		func(m *api.Machine) { m.Armed, m.Writing = &api.Armed{}, true },
		func(m *api.Machine) { m.Armed = nil },
	} {
		change(&r.machines[i])
	}
	ids := []string{r.machines[0].ID, r.machines[1].ID, r.machines[2].ID}
	body := post(t, dashboardOf(r).Handler(), "/selected", picked("cancel", nil, ids...)).Body.String()
	if !strings.Contains(body, "Type <strong>2</strong>") || !strings.Contains(body, "not armed") || !strings.Contains(body, "being written") {
		t.Errorf("the page does not leave alone what is not armed, or warns of what is written:\n%s", body)
	}
	// Whether what is written may be cut off is the rule's to say.
	w := post(t, dashboardOf(r).Handler(), "/selected/cancel", picked("cancel", url.Values{"confirm": {"2"}}, ids[:2]...))
	if w.Code != 409 || r.machines[0].Armed != nil || r.machines[1].Armed == nil || !strings.Contains(w.Body.String(), "Done to 1, not to 1") {
		t.Errorf("cancel of two, one being written = %d; want one cancelled, one left", w.Code)
	}
}

func TestLabelSeveral(t *testing.T) {
	r := newRoom(10, "")
	r.machines[1].Spec.Labels = map[string]string{"rack": "c1", "old": "x"}
	ids := []string{r.machines[0].ID, r.machines[1].ID}
	h := dashboardOf(r).Handler()
	body := post(t, h, "/selected", picked("label", url.Values{"labels": {"rack=b01, old-"}}, ids...)).Body.String()
	for _, want := range []string{"rack=b01, was c1", "old is removed, was x", "its labels are so already", "Type <strong>1</strong>"} {
		if !strings.Contains(body, want) {
			t.Errorf("the preview of labels lacks %q", want)
		}
	}
	if w := post(t, h, "/selected", picked("label", url.Values{"labels": {"nonsense"}}, ids...)); !strings.Contains(w.Body.String(),
		"want KEY=VALUE") {
		t.Errorf("labels that are none: %d without a word", w.Code)
	}
	w := post(t, h, "/selected/label", picked("label", url.Values{"labels": {"rack=b01, old-"}, "confirm": {"2"}}, ids...))
	if want := map[string]string{"rack": "b01"}; w.Code != 303 || !cmp.Equal(r.machines[1].Spec.Labels, want) {
		t.Errorf("label = %d, %v; want %v", w.Code, r.machines[1].Spec.Labels, want)
	}
}

// One form is about at most a thousand machines, and that many fit in it.
func TestSelectionIsBounded(t *testing.T) {
	r := newRoom(1001, "")
	var ids, shown []string
	for _, m := range r.machines {
		ids, shown = append(ids, m.ID), append(shown, strings.Repeat("d", 64))
	}
	h := dashboardOf(r).Handler()
	form := picked("flash", url.Values{"image": {"web-14"}, "shown": shown[:1000], "confirm": {"1000"}}, ids[:1000]...)
	if w := post(t, h, "/selected/flash", form); w.Code != 303 || len(r.armed) != 1000 {
		t.Errorf("flash of 1000 = %d, %d armed", w.Code, len(r.armed))
	}
	form = picked("flash", url.Values{"image": {"web-14"}, "shown": shown, "confirm": {"1001"}}, ids...)
	if w := post(t, h, "/selected/flash", form); w.Code != 422 {
		t.Errorf("flash of 1001 = %d; want a refusal", w.Code)
	}
	if w := post(t, h, "/selected", picked("explode", nil, ids[0])); w.Code < 400 || w.Code == 404 {
		t.Errorf("an unknown verb = %d; want a refusal", w.Code)
	}
}

func TestAddEditForget(t *testing.T) {
	r := newRoom(3, "")
	h := dashboardOf(r).Handler()
	form := url.Values{"name": {"web-9"}, "macs": {"52:54:00:00:09:09"}, "labels": {"rack=c1, role=web"}}
	if w := post(t, h, "/machines/add", form); w.Code != 303 || len(r.machines) != 4 || r.machines[3].Spec.Labels["role"] != "web" {
		t.Fatalf("add = %d, %d machines", w.Code, len(r.machines))
	}
	if w := post(t, h, "/machines/add", url.Values{"name": {"typed"}}); w.Code != 422 || !strings.Contains(w.Body.String(), `value="typed"`) {
		t.Errorf("add without an address = %d; want a refusal that keeps what was typed", w.Code)
	}
	page := get(t, h, "/machines/web-9/edit").Body.String()
	if !strings.Contains(page, `value="rack=c1, role=web"`) {
		t.Error("the form does not hold the labels")
	}
	form.Set("name", "web-10")
	form.Set("labels", "")
	if w := post(t, h, "/machines/web-9/edit", form); w.Code != 303 || r.machines[3].Spec.Name != "web-10" ||
		len(r.machines[3].Spec.Labels) > 0 {
		t.Errorf("edit = %d, %+v", w.Code, r.machines[3].Spec)
	}
	if w := post(t, h, "/machines/web-10/edit", form); w.Code != 409 || !strings.Contains(w.Body.String(), "look again") {
		t.Errorf("edit of what was changed meanwhile = %d; want 409", w.Code)
	}
	r.machines[3].Armed = &api.Armed{}
	for _, tt := range []struct {
		form url.Values
		want int
	}{
		{nil, 422},
		{url.Values{"confirm": {"web-10"}}, 409},
		{url.Values{"confirm": {"web-10"}, "force": {"1"}}, 303},
	} {
		if w := post(t, h, "/machines/web-10/forget", tt.form); w.Code != tt.want {
			t.Errorf("forget with %v = %d; want %d", tt.form, w.Code, tt.want)
		}
	}
	if slices.ContainsFunc(r.machines, func(m api.Machine) bool { return m.Spec.Name == "web-10" }) {
		t.Error("it is still known")
	}
}

func TestConsoleAsText(t *testing.T) {
	w := get(t, dashboardOf(newRoom(3, "\x1b[31m")).Handler(), "/machines/b1-n01/console")
	if ct := w.Header().Get("Content-Type"); w.Code != 200 || ct != "text/plain; charset=utf-8" || strings.Contains(w.Body.String(), "\x1b") {
		t.Errorf("console = %d, %s, %q", w.Code, ct, w.Body)
	}
	if lines := strings.Count(w.Body.String(), "\n"); lines != 6 || !strings.HasPrefix(w.Body.String(), "2026-03-14T09:21:53Z boot") {
		t.Errorf("console has %d lines:\n%s", lines, w.Body)
	}
}

func TestServerPage(t *testing.T) {
	r := newRoom(3, "")
	r.usage = api.StateUsage{InUse: 90, Quota: 100}
	d := dashboardOf(r)
	d.Facts = func() []Fact {
		return []Fact{{Name: "DHCP", Value: "proxy on eth1"}, {Name: "Disk", Value: "full", Odd: true}}
	}
	body := get(t, d.Handler(), "/servers").Body.String()
	for _, want := range []string{"proxy on eth1", `<dd class="lost">full</dd>`, "90 % of", "Servers"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page of the servers lacks %q", want)
		}
	}
}
