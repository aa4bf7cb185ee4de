package dashboard

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/settings"
)

func dashboardOf(r *fakeRoom) *Dashboard {
	return &Dashboard{Room: r, Images: r, Version: "test", Now: func() time.Time { return start }}
}

func get(t *testing.T, h http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", path, nil))
	return w
}

func post(t *testing.T, h http.Handler, path string, form url.Values) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), "POST", path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

var pages = []string{
	"/", "/?group=rack", "/?state=flashing&q=b1", "/machines/b1-n01", "/machines/b1-n18", "/machines/b1-n01/arm",
	"/machines/b1-n01/arm?preview=1&image=web-14",
	"/?view=table", "/?view=table&sort=-state&l=rack%3Db01", "/machines/add", "/machines/b1-n01/edit", "/servers",
	"/images", "/log", "/log?failed=1&page=2", "/nothing", "/machines/nobody",
}

// What a machine says is text on every page, whatever it says.
func TestNothingForeignIsMarkup(t *testing.T) {
	const canary = `"'><script>canary()</script><img src=x onerror=canary()>` + "`{{.}}\u202e"
	r := newRoom(60, canary)
	for i := range r.machines {
		m := &r.machines[i]
		m.Spec.Name += canary
		m.Spec.Labels = map[string]string{"rack": canary, canary: "x"}
		m.Conflict, m.Trouble, m.Address, m.State = canary, &api.Trouble{Cause: canary, Message: canary}, canary, m.State+canary[:i%2*len(canary)]
		m.ID += canary
	}
	h := dashboardOf(r).Handler()
	id := url.PathEscape(r.machines[0].ID)
	for _, path := range []string{
		"/", "/?group=rack", "/?q=" + url.QueryEscape(canary), "/?l=" + url.QueryEscape(canary), "/?state=" + url.QueryEscape(canary),
		"/?group=" + url.QueryEscape(canary),
		"/machines/" + id, "/machines/" + id + "/arm?preview=1&disk=" + url.QueryEscape(canary), "/images", "/log",
		"/log?q=" + url.QueryEscape(canary), "/machines/" + url.PathEscape(canary), "/?view=table&sort=" + url.QueryEscape(canary),
		"/machines/" + id + "/edit", "/servers",
	} {
		w := get(t, h, path)
		if w.Code >= 500 {
			t.Errorf("GET %.60s = %d", path, w.Code)
		}
		for _, bad := range []string{"<script>canary", "<img", "onerror=canary()>\"", "ZgotmplZ"} {
			if strings.Contains(w.Body.String(), bad) {
				t.Errorf("GET %.60s has %q in its markup", path, bad)
			}
		}
	}
}

// What a page loads is there by its name; what there is, is told to nobody.
func TestStaticFiles(t *testing.T) {
	h := dashboardOf(newRoom(0, "")).Handler()
	for path, want := range map[string]int{
		"/static/gild.css": 200, "/static/gild.js": 200, "/static/icon.svg": 200,
		"/static/": 404, "/static": 404, "/static/.": 404, "/static/nosuch": 404, "/static/%2e": 404, "/static/gild.css/": 404,
		"/static/index.html": 404,
	} {
		w := get(t, h, path)
		if w.Code >= 300 && w.Code < 400 {
			w = get(t, h, w.Header().Get("Location"))
		}
		if w.Code != want {
			t.Errorf("GET %s = %d; want %d", path, w.Code, want)
		}
	}
}

func TestEveryPageIsGuarded(t *testing.T) {
	d := dashboardOf(newRoom(60, ""))
	h := d.Handler()
	for _, path := range append(pages, "/static/gild.js", "/static/gild.css") {
		w := get(t, h, path)
		if got := w.Header().Get("Content-Security-Policy"); got != policy {
			t.Errorf("GET %s has policy %q", path, got)
		}
		if w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Referrer-Policy") == "" {
			t.Errorf("GET %s lacks nosniff or Referrer-Policy", path)
		}
		// The policy would stop these, and the page would look wrong.
		body := w.Body.String()
		if strings.HasSuffix(w.Header().Get("Content-Type"), "html; charset=utf-8") &&
			(strings.Contains(body, " style=") || strings.Contains(body, "<style") || strings.Contains(body, " onclick")) {
			t.Errorf("GET %s has inline style or script", path)
		}
	}
	w := httptest.NewRecorder()
	d.LoginPage(w, http.StatusUnauthorized, "no", "/x")
	if w.Code != 401 || w.Header().Get("Content-Security-Policy") != policy || !strings.Contains(w.Body.String(), `value="/x"`) {
		t.Errorf("login page = %d %v", w.Code, w.Header())
	}
}

// A state that is nearly full, or full, is told at the top of the room.
func TestStateUsage(t *testing.T) {
	for _, tt := range []struct {
		usage api.StateUsage
		want  string
	}{
		{api.StateUsage{InUse: 10, Quota: 100}, ""},
		{api.StateUsage{InUse: 80, Quota: 100}, "80 % full"},
		{api.StateUsage{InUse: 80, Quota: 0}, ""},
		{api.StateUsage{InUse: 10, Quota: 100, Full: true}, "nothing new is written down"},
	} {
		room := newRoom(3, "")
		room.usage = tt.usage
		body, _ := io.ReadAll(get(t, dashboardOf(room).Handler(), "/").Body)
		if got := string(body); strings.Contains(got, "The state database is") != (tt.want != "") || !strings.Contains(got, tt.want) {
			t.Errorf("with %+v the room does not say %q", tt.usage, tt.want)
		}
	}
}

// A foreign tool judges the markup.
func TestMarkup(t *testing.T) {
	tidy, err := exec.LookPath("xmllint")
	if err != nil {
		t.Skip("xmllint is not installed (libxml2-utils)")
	}
	h := dashboardOf(newRoom(60, "")).Handler()
	for _, path := range pages {
		cmd := exec.Command(tidy, "--html", "--noout", "--nowarning", "-")
		cmd.Stdin = get(t, h, path).Body
		out, _ := cmd.CombinedOutput()
		for l := range strings.Lines(string(out)) {
			// It knows HTML 4: newer elements are no mistakes.
			if strings.Contains(l, "error") && !strings.Contains(l, "invalid") {
				t.Errorf("GET %s: %s", path, l)
			}
		}
	}
}

func TestRoomFilters(t *testing.T) {
	h := dashboardOf(newRoom(400, "")).Handler()
	for _, tt := range []struct {
		path string
		want int
	}{
		{"/", 400},
		{"/?l=rack%3Db03", 40},
		{"/?q=B2-N0", 9},
		{"/?q=10.0.1.7", 11},
		{"/?q=nobody", 0},
		{"/?group=rack", 400},
		{"/?group=rack&l=rack%3Db03", 40},
	} {
		if got := strings.Count(get(t, h, tt.path).Body.String(), `class="tile `); got != tt.want {
			t.Errorf("GET %s shows %d machines; want %d", tt.path, got, tt.want)
		}
	}
	body := get(t, h, "/?state=failed").Body.String()
	if tiles := strings.Count(body, `class="tile `); tiles == 0 || tiles != strings.Count(body, `class="tile failed`) {
		t.Errorf("/?state=failed shows %d machines, of which %d failed", tiles, strings.Count(body, `class="tile failed`))
	}
}

// What to do stands below what failed, and names the machine as commands do.
func TestMachineSaysWhatToDo(t *testing.T) {
	r := newRoom(10, "")
	h := dashboardOf(r).Handler()
	for _, tt := range []struct {
		name   string
		change func(*api.Machine)
		want   string
	}{
		{"well", func(m *api.Machine) { m.State, m.Trouble = api.MachineRunning, nil }, ""},
		{"failed", func(m *api.Machine) {
			m.State, m.Trouble = api.MachineFailed, &api.Trouble{Cause: api.CauseDiskTooSmall}
		}, "Run `gild cancel b1-n02`, and arm it with a larger disk"},
		{"made up", func(m *api.Machine) { m.State, m.Trouble = api.MachineFailed, &api.Trouble{Cause: "<b>"} }, ""},
		{"silent", func(m *api.Machine) {
			m.State, m.Trouble, m.Stuck = api.MachineFlashing, &api.Trouble{Cause: api.CauseSilent, Since: start}, start
		}, "Look at the machine&#39;s screen"},
		{"two agents", func(m *api.Machine) { m.Conflict = "another" }, "Find the second machine"},
	} {
		r.set(r.machines[1].ID, func(m *api.Machine) { m.Stuck, m.Conflict, m.Trouble = time.Time{}, "", nil; tt.change(m) })
		body := get(t, h, "/machines/"+r.machines[1].ID).Body.String()
		if got := strings.Contains(body, "What to do:</strong> "+tt.want); got != (tt.want != "") ||
			tt.want == "" && strings.Contains(body, "What to do") {
			t.Errorf("%s: the page says %v what to do; want %q", tt.name, got, tt.want)
		}
	}
}

func TestPlotTellsPhasesApart(t *testing.T) {
	at := func(s int, phase string, rate float64) api.Sample {
		return api.Sample{At: start.Add(time.Duration(s) * time.Second), Phase: phase, Done: int64(s) << 20, Rate: rate}
	}
	c := plot([]api.Sample{at(0, "scan", 2e9), at(5, "write", 1e8), at(10, "write", 1e8), at(20, "read back", 4e8)})
	if c == nil || !c.Scanned || c.Span != "20 s" || c.Top != "1.9 GiB/s" || c.Average != "1.0 MiB/s" {
		t.Fatalf("plot() = %+v; want 20 s up to 1.9 GiB/s with a scan, and all that was written by its time", c)
	}
	want := []line{
		{"scan", "0.0,0.0 "},
		{"write", "160.0,114.0 320.0,114.0 "},
		{"read-back", "640.0,96.0 "},
	}
	if diff := cmp.Diff(want, c.Lines); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if plot(nil) != nil || plot([]api.Sample{at(0, "write", 1), at(0, "write", 1)}) != nil {
		t.Error("a chart without any time is drawn")
	}
}

func TestArm(t *testing.T) {
	good := url.Values{
		"image": {"web-14"}, "disk": {"smallest"}, "keep": {"4, data"}, "wipe": {"1"}, "expires": {"3600"}, "shown": {"d1"},
		"confirm": {"b1-n02"},
	}
	for name, tt := range map[string]struct {
		change  func(url.Values)
		refusal error
		want    int
		says    string
	}{
		"as shown":     {nil, nil, 303, ""},
		"wrong name":   {func(v url.Values) { v.Set("confirm", "b1-n03") }, nil, 422, "not this machine&#39;s name"},
		"no name":      {func(v url.Values) { v.Del("confirm") }, nil, 422, "not this machine&#39;s name"},
		"nothing seen": {func(v url.Values) { v.Del("shown") }, nil, 422, "look first"},
		"refused":      {nil, &fleet.InvalidError{Problem: "what would be lost has changed", Help: "look again"}, 422, "has changed; look again"},
	} {
		r := newRoom(10, "")
		r.refusal = tt.refusal
		form := url.Values{}
		for k, v := range good {
			form[k] = v
		}
		if tt.change != nil {
			tt.change(form)
		}
		w := post(t, dashboardOf(r).Handler(), "/machines/b1-n02/arm", form)
		if w.Code != tt.want || !strings.Contains(w.Body.String(), tt.says) {
			t.Errorf("%s: arm = %d; want %d with %q", name, w.Code, tt.want, tt.says)
		}
		var want []api.FlashRequest
		if tt.want == 303 {
			want = []api.FlashRequest{{Settings: settings.Settings{
				Image: "web-14",
				Agent: settings.Agent{Disk: "smallest", Keep: []string{"4", "data"}},
			}, Wipe: true, Expires: 3600, Shown: "d1"}}
		}
		if diff := cmp.Diff(want, r.armed); diff != "" {
			t.Errorf("%s: armed (-want +got):\n%s", name, diff)
		}
	}
}

func TestCancelAndRefusals(t *testing.T) {
	r := newRoom(10, "")
	h := dashboardOf(r).Handler()
	if w := post(t, h, "/machines/b1-n02/cancel", nil); w.Code != 303 {
		t.Errorf("cancel = %d; want 303", w.Code)
	}
	// One under way is cut off by its name alone.
	m, err := r.at("b1-n03")
	if err != nil {
		t.Fatal(err)
	}
	m.Writing = true
	cut := url.Values{"force": {"1"}, "confirm": {"b1-n03"}}
	if w := get(t, h, "/machines/b1-n03"); !strings.Contains(w.Body.String(), `name="force"`) {
		t.Error("the page of a machine that is written offers no way to cut it off")
	}
	for _, tt := range []struct {
		form url.Values
		want int
	}{{nil, 409}, {url.Values{"force": {"1"}}, 422}, {url.Values{"force": {"1"}, "confirm": {"b1-n04"}}, 422}, {cut, 303}} {
		if w := post(t, h, "/machines/b1-n03/cancel", tt.form); w.Code != tt.want {
			t.Errorf("cancel with %v in mid-write = %d; want %d", tt.form, w.Code, tt.want)
		}
	}
	if w := get(t, h, "/machines/b1-n02/cancel"); w.Code != 405 && w.Code != 404 {
		t.Errorf("GET of cancel = %d; want a refusal", w.Code)
	}
	if w := get(t, h, "/machines/nobody"); w.Code != 404 || !strings.Contains(w.Body.String(), "look at the room") {
		t.Errorf("unknown machine = %d; want 404 with the hint", w.Code)
	}
	w := post(t, h, "/machines/b1-n02/arm", url.Values{"confirm": {strings.Repeat("x", maxForm)}})
	if w.Code != 400 {
		t.Errorf("too large a form = %d; want 400", w.Code)
	}
}

func TestPlot(t *testing.T) {
	at := func(s int, phase string, rate float64) api.Sample {
		return api.Sample{At: start.Add(time.Duration(s) * time.Second), Phase: phase, Done: int64(s) << 20, Rate: rate}
	}
	c := plot([]api.Sample{at(0, "write", 0), at(5, "write", 200), at(10, "read back", 100)})
	want := []line{{"write", "0.0,120.0 320.0,0.0 "}, {"read-back", "640.0,60.0 "}}
	if diff := cmp.Diff(want, c.Lines); diff != "" {
		t.Errorf("plot (-want +got):\n%s", diff)
	}
	for _, none := range [][]api.Sample{
		nil,
		{at(0, "write", 1)},
		{at(1, "write", 1), at(1, "write", 1)},
		{at(0, "write", 0), at(1, "write", 0)},
	} {
		if got := plot(none); got != nil {
			t.Errorf("plot(%v) = %v; want none", none, got)
		}
	}
}

func BenchmarkRoom400(b *testing.B) {
	h := dashboardOf(newRoom(400, "")).Handler()
	for b.Loop() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(b.Context(), "GET", "/", nil))
		b.SetBytes(int64(w.Body.Len()))
	}
}

// Browsers heed Cross-Origin-Opener-Policy over HTTPS, and complain of it over
// plain HTTP.
func TestOpenerPolicyIsForHTTPS(t *testing.T) {
	for https, want := range map[bool]string{false: "", true: "same-origin"} {
		d := dashboardOf(newRoom(1, ""))
		d.HTTPS = https
		login := httptest.NewRecorder()
		d.LoginPage(login, http.StatusOK, "", "/")
		for page, w := range map[string]*httptest.ResponseRecorder{"room": get(t, d.Handler(), "/"), "login": login} {
			if got := w.Header().Get("Cross-Origin-Opener-Policy"); got != want {
				t.Errorf("%s, HTTPS %v: %q; want %q", page, https, got, want)
			}
		}
	}
}

// Every time of day on a page has its zone.
func TestTimesHaveTheirZone(t *testing.T) {
	address := regexp.MustCompile(`([0-9a-f]{2}:){5}[0-9a-f]{2}|datetime="[^"]*"`)
	clock := regexp.MustCompile(`\d{2}:\d{2}:\d{2}(\.\d+)?( [A-Z]{3,5}\b)?`)
	h, found := dashboardOf(newRoom(60, "")).Handler(), 0
	for _, path := range pages {
		for _, at := range clock.FindAllStringSubmatch(address.ReplaceAllString(get(t, h, path).Body.String(), ""), -1) {
			if found++; at[2] == "" {
				t.Errorf("%s: %q has no zone", path, at[0])
			}
		}
	}
	if found == 0 {
		t.Error("no page tells a time: this test looks at nothing")
	}
}
