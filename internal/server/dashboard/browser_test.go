package dashboard

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/gild-dev/gild/internal/api"
)

var screens = flag.String("screens", "", "`directory` for pictures of the pages")

// browser is a real Chromium at a real server.
type browser struct {
	ctx     context.Context
	url     string
	room    *fakeRoom
	changes chan api.Change
	mu      sync.Mutex
	said    []string // errors on its console, violations of the policy
	lacking bool     // pages that do not exist are asked for: 404 is no complaint
}

func open(t *testing.T, n int) *browser {
	t.Helper()
	const chromium = "/usr/bin/chromium"
	if _, err := os.Stat(chromium); err != nil {
		t.Skip("chromium is not installed")
	}
	b := &browser{room: newRoom(n, ""), changes: make(chan api.Change, 16)}
	d := dashboardOf(b.room)
	mux := http.NewServeMux()
	mux.Handle("/", d.Handler())
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, _ *http.Request) { d.LoginPage(w, http.StatusOK, "not this token", "/") })
	mux.HandleFunc("GET "+api.PathEventStream, b.stream)
	srv := httptest.NewServer(mux)
	b.url = srv.URL
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-background-networking", true))
	ctx, stopAll := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, stopTab := chromedp.NewContext(ctx, chromedp.WithListener(b.listen))
	// The context of the first call is the browser's: it gets no deadline.
	if err := chromedp.Do(ctx, call(log.Enable, cdp.Empty{})); err != nil {
		t.Fatal(err)
	}
	tab, stopTime := context.WithTimeout(ctx, 90*time.Second)
	t.Cleanup(func() {
		stopTime()
		stopTab()
		stopAll()
		srv.CloseClientConnections()
		srv.Close()
	})
	b.ctx = tab
	b.do(t, chromedp.EmulateViewport(1440, 900))
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.said) > 0 {
			t.Errorf("the browser complains: %q", b.said)
		}
	})
	return b
}

// listen keeps what the browser complains of.
func (b *browser) listen(ev any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := ev.(type) {
	case *log.EventEntryAdded:
		allowed := b.lacking && strings.Contains(e.Entry.Text, "status of 404")
		if e.Entry.Level == "error" && !allowed {
			b.said = append(b.said, e.Entry.Text+" "+e.Entry.URL)
		}
	case *runtime.EventExceptionThrown:
		b.said = append(b.said, e.ExceptionDetails.Text)
	}
}

// call makes an action of a command of the DevTools protocol.
func call[P, R any](c cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, c, params)
		return err
	})
}

func (b *browser) stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	for {
		fmt.Fprint(w, ": gild\n\n")
		_ = http.NewResponseController(w).Flush()
		select {
		case c := <-b.changes:
			p, _ := json.Marshal(c)
			fmt.Fprintf(w, "event: %s\ndata: %s\n\n", c.Kind, p)
		case <-r.Context().Done():
			return
		}
	}
}

func (b *browser) do(t *testing.T, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

func eval[T any](t *testing.T, b *browser, script string) T {
	t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](script))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (b *browser) picture(t *testing.T, name string) {
	t.Helper()
	if *screens == "" {
		return
	}
	p, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*screens, name+".png"), p, 0o644); err != nil {
		t.Fatal(err)
	}
}

func dark(on bool) chromedp.Action[chromedp.Void] {
	scheme := "light"
	if on {
		scheme = "dark"
	}
	return call(emulation.SetEmulatedMedia,
		emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
}

func TestRoomInChromium(t *testing.T) {
	b := open(t, 400)
	b.do(t, chromedp.Navigate(b.url), chromedp.WaitVisible(chromedp.CSS("#live")))
	if got := eval[int](t, b,
		`[...document.querySelectorAll(".tile")].filter(t => t.getBoundingClientRect().bottom <= innerHeight).length`); got != 400 {
		t.Errorf("%d of 400 machines are on one screen of 1440x900", got)
	}
	if got := eval[string](t, b, cropped); got != "" {
		t.Errorf("cut are the names %s", got)
	}
	if got := eval[string](t, b, timeless); got != "" {
		t.Errorf("cut are the times %s", got)
	}
	t.Logf("loaded in %.0f ms", eval[float64](t, b, `performance.getEntriesByType("navigation")[0].loadEventEnd`))
	b.picture(t, "room-light")
	// A change arrives by itself and keeps the focus where it is.
	id := b.room.machines[0].ID
	b.do(t, chromedp.Focus(chromedp.CSS(`[id="t-`+id+`"]`)))
	b.room.set(id, func(m *api.Machine) {
		m.State, m.Trouble, m.Stuck = api.MachineFailed, &api.Trouble{Cause: "disk-gone"}, time.Time{}
	})
	begin := time.Now()
	b.changes <- api.Change{Kind: api.ChangeMachine, ID: id}
	b.do(t, chromedp.WaitVisible(chromedp.CSS(`.failed[id="t-`+id+`"]`)))
	t.Logf("a change is seen after %v", time.Since(begin).Round(time.Millisecond))
	if got := eval[string](t, b, `document.activeElement.id`); got != "t-"+id {
		t.Errorf("after the change the focus is on %q; want the same tile", got)
	}
	b.do(t, chromedp.KeyEvent(kb.ArrowRight))
	if got, want := eval[string](t, b, `document.activeElement.id`), "t-"+b.room.machines[1].ID; got != want {
		t.Errorf("after the right arrow the focus is on %q; want %q", got, want)
	}
	b.do(t, chromedp.KeyEvent("/"))
	if got := eval[string](t, b, `document.activeElement.name`); got != "q" {
		t.Errorf("after / the focus is on %q; want the filter", got)
	}
	// The protocol sends the character apart from the key that the page took.
	eval[string](t, b, `document.activeElement.value = ""`)
	b.do(t, chromedp.KeyEvent("b3-n"+kb.Enter), chromedp.WaitVisible(chromedp.CSS(`input[value="b3-n"]`)),
		chromedp.WaitVisible(chromedp.CSS("footer")))
	if got := eval[int](t, b, `document.querySelectorAll(".tile").length`); got != 40 {
		t.Errorf("filter by keyboard shows %d machines; want 40", got)
	}
}

func TestArmInChromium(t *testing.T) {
	for _, script := range []bool{true, false} {
		b := open(t, 40)
		b.do(t, call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !script}),
			chromedp.Navigate(b.url+"/machines/b1-n02/arm"),
			chromedp.SetValue(chromedp.CSS("#disk"), "smallest"), chromedp.Click(chromedp.CSS(".sheet button")),
			chromedp.WaitVisible(chromedp.CSS("#confirm")))
		b.picture(t, fmt.Sprintf("arm-script-%t", script))
		b.do(t, chromedp.SendKeys(chromedp.CSS("#confirm"), "b1-n02"+kb.Enter), chromedp.WaitVisible(chromedp.CSS("#now")))
		if n := len(b.room.armed); n != 1 || b.room.armed[0].Shown != "d1" {
			t.Errorf("script %t: armed %d times, %v", script, n, b.room.armed)
		}
	}
}

// narrow finds what makes a page wider than the window.
const narrow = `[...document.querySelectorAll("body *")].filter(e => !e.closest(".wide > *") && !e.closest("svg") && e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".skip,.unseen")).map(e => e.tagName + "." + e.className).slice(0, 5).join(" ")`

// contrast computes WCAG 2 contrast of every text against what is behind it.
const contrast = `(() => {
  const lum = (c) => { const v = c.map(x => x / 255).map(x => x <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4); return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
  const rgb = (s) => s.match(/[\d.]+/g).map(Number);
  const behind = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
  const bad = new Set();
  for (const e of document.querySelectorAll("body *")) {
    if (e.closest("svg") || ![...e.childNodes].some(n => n.nodeType === 3 && n.nodeValue.trim()) || e.tagName === "OPTION") continue;
    const a = lum(rgb(getComputedStyle(e).color).slice(0, 3)), b = lum(behind(e)), ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) bad.add(e.tagName + "." + e.className + " " + e.closest("[class]").className + " " + ratio.toFixed(2));
  }
  return [...bad].slice(0, 8).join("; ");
})()`

// unnamed finds what a screen reader would have no words for.
const unnamed = `[...document.querySelectorAll("a,button,input:not([type=hidden]),select,[role=region],[role=img],table th")].filter(e => !(e.getAttribute("aria-label") || e.textContent.trim() || (e.labels && e.labels.length))).map(e => e.outerHTML).slice(0, 3).join(" ")`

// small finds text under 12 pixels.
const small = `[...document.querySelectorAll("body *")].filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.nodeValue.trim()) && !e.closest("svg") && parseFloat(getComputedStyle(e).fontSize) < 12).map(e => e.tagName + "." + e.className).slice(0, 5).join(" ")`

// Several machines are selected by keyboard, shown, and flashed. What is
// selected stays with its machine wherever its row goes.
func TestSelectInChromium(t *testing.T) {
	b := open(t, 40)
	b.do(t, chromedp.Navigate(b.url+"/?view=table"), chromedp.WaitVisible(chromedp.CSS("#live")))
	box := func(i int) string { return `[value="` + b.room.machines[i].ID + `"]` }
	b.do(t, chromedp.Focus(chromedp.CSS(box(1))), chromedp.KeyEvent(" "), chromedp.Focus(chromedp.CSS(box(4))), chromedp.KeyEvent(" "))
	if got := eval[string](t, b, `document.getElementById("picked").textContent`); got != "2 selected" {
		t.Errorf("with two selected the page says %q", got)
	}
	id := b.room.machines[1].ID
	b.room.set(id, func(m *api.Machine) { m.Spec.Name = "z-moved" })
	b.room.set(b.room.machines[0].ID, func(m *api.Machine) { m.Spec.Name = "y-moved" })
	b.changes <- api.Change{Kind: api.ChangeMachine, ID: id}
	b.do(t, chromedp.WaitVisible(chromedp.CSS(`#rows tr:last-child [aria-label="Select z-moved"]`)))
	checked := eval[string](t, b, `[...document.querySelectorAll("[name=m]:checked")].map(e => e.value).sort().join(" ")`)
	if want := id + " " + b.room.machines[4].ID; checked != want {
		t.Errorf("after the rows moved, selected are %s; want %s", checked, want)
	}
	b.do(t, chromedp.Click(chromedp.CSS(`button[value=flash]`)), chromedp.WaitVisible(chromedp.CSS(".sheet button")),
		chromedp.Click(chromedp.CSS(".sheet button")), chromedp.WaitVisible(chromedp.CSS("#confirm")))
	if got := eval[string](t, b, contrast+` + `+unnamed+` + `+small); got != "" {
		t.Errorf("the preview: %s", got)
	}
	b.picture(t, "selected")
	b.do(t, chromedp.SendKeys(chromedp.CSS("#confirm"), "2"+kb.Enter), chromedp.WaitVisible(chromedp.CSS("#table")))
	if n := len(b.room.armed); n != 2 {
		t.Errorf("%d machines are armed; want 2", n)
	}
}

// A person's theme outlasts the page.
func TestThemeInChromium(t *testing.T) {
	b := open(t, 3)
	b.do(t, dark(false), chromedp.Navigate(b.url), chromedp.WaitVisible(chromedp.CSS("#theme")), chromedp.Click(chromedp.CSS("#theme")),
		chromedp.Navigate(b.url+"/log"), chromedp.WaitVisible(chromedp.CSS("#theme")))
	if got := eval[string](t, b,
		`document.documentElement.dataset.theme + " " + getComputedStyle(document.body).backgroundColor`); got != "dark rgb(16, 21, 27)" {
		t.Errorf("after dark was chosen the page is %q", got)
	}
}

func TestPagesInChromium(t *testing.T) {
	b := open(t, 400)
	b.lacking = true
	for _, path := range append([]string{"/login"}, pages...) {
		name := strings.Trim(strings.NewReplacer("/", "-", "?", "-", "&", "-", "=", "-").Replace(path), "-")
		for _, d := range []bool{false, true} {
			b.do(t, dark(d), chromedp.EmulateViewport(1440, 900), chromedp.Navigate(b.url+path), chromedp.WaitReady(chromedp.CSS("main")))
			if got := eval[string](t, b, contrast); got != "" {
				t.Errorf("%s, dark %t: too little contrast: %s", path, d, got)
			}
			b.picture(t, fmt.Sprintf("%s-dark-%t", name, d))
		}
		if got := eval[string](t, b, unnamed); got != "" {
			t.Errorf("%s: without a name: %s", path, got)
		}
		if got := eval[string](t, b, small); got != "" {
			t.Errorf("%s: text under 12 pixels: %s", path, got)
		}
		b.do(t, chromedp.EmulateViewport(320, 700))
		if got := eval[int](t, b, `document.documentElement.scrollWidth`); got > 320 {
			t.Errorf("%s is %d pixels wide at 320: %s", path, got, eval[string](t, b, narrow))
		}
		b.picture(t, name+"-narrow")
	}
}
