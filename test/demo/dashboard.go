package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/gild-dev/gild/internal/server/local"
)

// openDashboard makes the server's dashboard reachable from the host, which no
// packet from its network reaches, and returns the address of the rack's page.
func (d *demo) openDashboard(ctx context.Context) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			// The request's own Host stays: the server compares it with the origin.
			r.Out.URL.Scheme, r.Out.URL.Host = "http", r.In.Host
		},
		Transport: local.Client{Dir: d.server.Data}.HTTP().Transport,
		ErrorLog:  log.New(io.Discard, "", 0), // a page that is left cuts its stream
	}
	d.dashboard = &http.Server{Handler: proxy, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = d.dashboard.Serve(listener) }() // ends with Close
	return "http://" + listener.Addr().String() + "/?l=" + url.QueryEscape(rack), nil
}

// takePicture says in a line what became of the picture: the demo continues
// without one.
func (d *demo) takePicture(ctx context.Context, page string) string {
	chromium, err := findChromium()
	if err == nil {
		var bars int
		if bars, err = shoot(ctx, chromium, filepath.Join(d.dir, "chromium"), page, d.picture, len(d.room)); err == nil {
			return fmt.Sprintf("the dashboard with %d bars under way: %s", bars, d.picture)
		}
	}
	return fmt.Sprintf("no picture of the dashboard: %v", err)
}

func findChromium() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("chromium is not installed")
}

// underWay counts the writes that are neither at their beginning nor at their
// end; the bars before and after are of reading.
const underWay = `[...document.querySelectorAll(".tile .bar:not(.reading) rect")].filter(r => r.width.baseVal.value >= 20 && r.width.baseVal.value <= 90).length`

// settle is for how many seconds bars must be under way: while a disk's free
// space is passed over, rates are those of no disk.
const settle = 10

// shoot takes a picture of the room with as many bars under way as there ever
// are at once. It ends when all have been, or with ctx.
func shoot(ctx context.Context, chromium, profile, page, file string, all int) (bars int, err error) {
	ctx, stopBrowser := chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium), chromedp.UserDataDir(profile), chromedp.DisableGPU,
		chromedp.NoSandbox, // Chromium refuses to have one as root; it sees one page, and that is ours
		// A demo has no business outside of its host.
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-background-networking", true))...)
	defer stopBrowser()
	ctx, stopTab := chromedp.NewContext(ctx)
	defer stopTab()
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(900, 270, chromedp.EmulateScale(2)), chromedp.Navigate(page),
		chromedp.WaitVisible(chromedp.CSS("#grid"))); err != nil {
		return 0, err
	}
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for before, steady := 0, 0; bars < all; {
		select {
		case <-ctx.Done():
			if bars == 0 {
				return 0, errors.New("it never had a bar under way")
			}
			return bars, nil
		case <-second.C:
		}
		n, err := chromedp.Run(ctx, chromedp.Evaluate[int](underWay))
		if steady++; n != before {
			before, steady = n, 0
		}
		if err != nil || n <= bars || steady < settle {
			continue // what stays broken ends with ctx
		}
		picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
		if err != nil {
			continue
		}
		if err := os.WriteFile(file, picture, 0o644); err != nil {
			return bars, err
		}
		bars = n
	}
	return bars, nil
}
