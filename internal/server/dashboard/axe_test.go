package dashboard

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// axeVersion is that of axe-core, which judges the pages for those who do not
// see them, or use no mouse.
const axeVersion = "4.14.1"

// axe is its script. Its package is fetched once, into the cache of the user
// who runs the test.
func axe(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = t.TempDir()
	}
	dir := filepath.Join(cache, "gild-test")
	packed := filepath.Join(dir, "axe-core-"+axeVersion+".tgz")
	if _, err := os.Stat(packed); err != nil {
		fetchAxe(t, dir, packed)
	}
	f, err := os.Open(packed)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	script, err := scriptOf(f)
	if err != nil {
		_ = os.Remove(packed) // the next run fetches it again
		t.Fatalf("axe.min.js in %s: %v", packed, err)
	}
	return script
}

// fetchAxe asks npm for the package. It appears whole or not at all: several
// runs may share the cache.
func fetchAxe(t *testing.T, dir, packed string) {
	t.Helper()
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("npm is not installed, so axe-core cannot be had")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	fresh, err := os.MkdirTemp(dir, "axe-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(fresh) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "npm", "pack", "--silent", "--pack-destination", fresh,
		"axe-core@"+axeVersion).CombinedOutput(); err != nil {
		t.Skipf("axe-core cannot be had: %v: %.300s", err, out)
	}
	if err := os.Rename(filepath.Join(fresh, filepath.Base(packed)), packed); err != nil {
		t.Fatal(err)
	}
}

// scriptOf is the script in the package.
func scriptOf(packed io.Reader) (string, error) {
	plain, err := gzip.NewReader(packed)
	if err != nil {
		return "", err
	}
	for files := tar.NewReader(plain); ; {
		h, err := files.Next()
		if err != nil {
			return "", err
		}
		if h.Name == "package/axe.min.js" {
			script, err := io.ReadAll(files)
			return string(script), err
		}
	}
}

// violations are what axe-core finds on the page that is shown.
const violations = `axe.run(document, { resultTypes: ["violations"] }).then((r) => r.violations.map((v) =>
  v.id + ": " + v.nodes.map((n) => n.html.slice(0, 120)).slice(0, 2).join(" ")).join("; "))`

// judged has axe-core judge the page that is shown, light and dark.
func (b *browser) judged(t *testing.T, axe, what string) {
	t.Helper()
	eval[int](t, b, axe+"; 0")
	for _, d := range []bool{false, true} {
		b.do(t, dark(d))
		found, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](violations, chromedp.EvalAwaitPromise))
		if err != nil {
			t.Fatal(err)
		}
		if found != "" {
			t.Errorf("%s, dark %t: axe-core finds %s", what, d, found)
		}
	}
}

func TestAxe(t *testing.T) {
	script := axe(t)
	for _, width := range []int64{390, 1440} {
		t.Run(strconv.FormatInt(width, 10), func(t *testing.T) {
			b := open(t, 40)
			b.lacking = true
			b.do(t, chromedp.EmulateViewport(width, 900))
			for _, path := range append([]string{"/login"}, pages...) {
				b.do(t, chromedp.Navigate(b.url+path), chromedp.WaitReady(chromedp.CSS("main")))
				b.judged(t, script, path)
			}
			// What is done to several has no address of its own.
			b.do(t, chromedp.Navigate(b.url+"/?view=table"), chromedp.WaitVisible(chromedp.CSS("#table")),
				chromedp.Click(chromedp.CSS("#rows [name=m]")), chromedp.Click(chromedp.CSS("button[value=flash]")),
				chromedp.WaitVisible(chromedp.CSS(".sheet button")))
			b.judged(t, script, "what to flash")
			b.do(t, chromedp.Click(chromedp.CSS(".sheet button")), chromedp.WaitVisible(chromedp.CSS("#confirm")))
			b.judged(t, script, "what will be lost")
		})
	}
}

// What axe-core is asked finds what is wrong: a field without a name.
func TestAxeFinds(t *testing.T) {
	script := axe(t)
	b := open(t, 1)
	b.do(t, chromedp.Navigate(b.url), chromedp.WaitReady(chromedp.CSS("main")))
	eval[int](t, b, script+`; document.querySelector("main").append(document.createElement("input")); 0`)
	found, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](violations, chromedp.EvalAwaitPromise))
	if err != nil || !strings.Contains(found, "label") {
		t.Errorf("a field without a label: axe-core finds %q, %v", found, err)
	}
}
