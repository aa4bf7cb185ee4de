package dashboard

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// cropped finds names on tiles that are not seen whole.
const cropped = `[...document.querySelectorAll(".tile b")].filter((e) => e.scrollWidth > e.clientWidth ||
  e.getBoundingClientRect().bottom > e.closest(".tile").getBoundingClientRect().bottom).map((e) => e.textContent).slice(0, 5).join(" ")`

// timeless finds times on tiles that are not seen whole: one without its unit
// misleads.
const timeless = `[...document.querySelectorAll(".tile i")].filter((e) => e.scrollWidth > e.clientWidth && / (s|min|h|d)$/.test(e.textContent))
  .map((e) => e.lastChild.nodeValue).slice(0, 5).join(", ")`

// Tiles are as wide as the names in them, where no prefix is common to all.
func TestNamesInChromium(t *testing.T) {
	b := open(t, 40)
	for _, kinds := range [][]string{
		{"node-%03d"},
		{"web-%02d", "db-%02d"},
		{"db-prod-%02d", "rack12-u%02d"},
		{"mail.example.org-%02d", "www.example.net-%02d"},
		{"a-%02d", strings.Repeat("W", 59) + "-%02d"},
		{"52:54:00:00:07:%02d", "éé%02dñ"},
	} {
		for i := range b.room.machines {
			b.room.machines[i].Spec.Name = fmt.Sprintf(kinds[i%len(kinds)], i)
		}
		for _, width := range []int64{390, 1440} {
			b.do(t, chromedp.EmulateViewport(width, 900), chromedp.Navigate(b.url), chromedp.WaitVisible(chromedp.CSS("#grid .tile")))
			if got := eval[string](t, b, cropped); got != "" {
				t.Errorf("%q at %d pixels: cut are %s", kinds, width, got)
			}
			if got := eval[int](t, b, `document.documentElement.scrollWidth`); int64(got) > width {
				t.Errorf("%q: the page is %d pixels wide at %d", kinds, got, width)
			}
			b.picture(t, fmt.Sprintf("names-%s-%d", strings.Trim(kinds[0][:4], "-.%"), width))
		}
	}
}

// A row of the table is one line high on a narrow screen too.
func TestTableRowsInChromium(t *testing.T) {
	b := open(t, 40)
	b.do(t, chromedp.EmulateViewport(390, 900), chromedp.Navigate(b.url+"/?view=table"), chromedp.WaitVisible(chromedp.CSS("#table")))
	if got := eval[int](t, b, `Math.round(Math.max(...[...document.querySelectorAll("#rows tr")].map((r) => r.offsetHeight)))`); got > 40 {
		t.Errorf("a row is %d pixels high", got)
	}
	b.picture(t, "table-390")
}
