package dashboard

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// axeVersion is that of axe-core, which judges the pages for those who do not
// see them, or use no mouse.
const axeVersion = "4.14.1"

// axe is its script, as its package has it.
func axe(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("npm is not installed, so axe-core cannot be had")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	if out, err := exec.CommandContext(ctx, "npm", "pack", "--silent", "--pack-destination", dir,
		"axe-core@"+axeVersion).CombinedOutput(); err != nil {
		t.Skipf("axe-core cannot be had: %v: %.300s", err, out)
	}
	f, err := os.Open(filepath.Join(dir, "axe-core-"+axeVersion+".tgz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	packed, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for files := tar.NewReader(packed); ; {
		h, err := files.Next()
		if err != nil {
			t.Fatalf("axe.min.js in the package: %v", err)
		}
		if h.Name == "package/axe.min.js" {
			script, err := io.ReadAll(files)
			if err != nil {
				t.Fatal(err)
			}
			return string(script)
		}
	}
}

// violations are what axe-core finds on the page that is shown.
const violations = `axe.run(document, { resultTypes: ["violations"] }).then((r) => r.violations.map((v) =>
  v.id + ": " + v.nodes.map((n) => n.html.slice(0, 120)).slice(0, 2).join(" ")).join("; "))`

// judged has axe-core judge the page that is shown.
func (b *browser) judged(t *testing.T, axe, what string) {
	t.Helper()
	b.do(t, chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Run(ctx, chromedp.Evaluate[any](axe+"; 0"))
		return err
	}))
	found, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](violations, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	if found != "" {
		t.Errorf("%s: axe-core finds %s", what, found)
	}
}

func TestAxe(t *testing.T) {
	script := axe(t)
	b := open(t, 40)
	for _, path := range pages {
		if path == "/nothing" || path == "/machines/nobody" {
			continue // an answer of 404 is an error on its console
		}
		for width, d := range map[int64]bool{390: false, 1440: true} {
			b.do(t, dark(d), chromedp.EmulateViewport(width, 900), chromedp.Navigate(b.url+path), chromedp.WaitReady(chromedp.CSS("main")))
			b.judged(t, script, path)
		}
	}
}
