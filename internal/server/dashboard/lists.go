package dashboard

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/gild-dev/gild/internal/api"
)

// imageView is an image with its partitions to scale.
type imageView struct {
	api.Image
	Bars []bar
}

func (d *Dashboard) images(r *http.Request) (string, frame, error) {
	images, err := d.Images.List(r.Context())
	if err != nil {
		return "", frame{}, err
	}
	var out []imageView
	for _, im := range images {
		v := imageView{Image: im}
		for _, p := range im.Partitions {
			if im.Size <= 0 {
				break
			}
			x := int(float64(p.Start) / float64(im.Size) * 1000)
			w := int(float64(p.Size) / float64(im.Size) * 1000)
			v.Bars = append(v.Bars, bar{Step: strconv.Itoa(p.Number), X: min(max(x, 0), 997), Width: min(max(w, 3), 1000)})
		}
		out = append(out, v)
	}
	return "images", frame{Title: "Images", Section: "images", Body: out}, nil
}

// logView is one page of the newest events.
type logView struct {
	Entries    []api.LogEntry
	Text       string
	Failed     bool
	Audit      bool // only what operators and the server did, and receipts
	Page       int
	Prev, Next string // addresses; empty: there is none
}

const (
	logDepth = 1000 // newest events that can be paged through
	logPage  = 100
)

func (d *Dashboard) log(r *http.Request) (string, frame, error) {
	q := r.URL.Query()
	v := logView{Text: cut(100, q.Get("q")), Failed: q.Get("failed") != "", Audit: q.Get("audit") != ""}
	entries, err := d.Room.Log(r.Context(), logDepth, v.Audit)
	if err != nil {
		return "", frame{}, err
	}
	v.Page, _ = strconv.Atoi(q.Get("page"))
	v.Page = min(max(v.Page, 1), logDepth/logPage)
	var found []api.LogEntry
	for _, e := range entries {
		if v.has(e) {
			found = append(found, e)
		}
	}
	from := min((v.Page-1)*logPage, len(found))
	to := min(from+logPage, len(found))
	v.Entries = found[from:to]
	if v.Page > 1 {
		v.Prev = logPath(v, v.Page-1)
	}
	if to < len(found) {
		v.Next = logPath(v, v.Page+1)
	}
	return "log", frame{Title: "Log", Section: "log", Live: "event", Body: v}, nil
}

func (v *logView) has(e api.LogEntry) bool {
	if v.Failed && e.Event.State != api.StateFailed && e.Event.To != api.MachineFailed {
		return false
	}
	all := strings.Join([]string{e.Machine, e.Name, e.Event.Step, e.Event.State, e.Event.Message, e.Event.Cause, e.Event.Actor, e.Event.To},
		"\n")
	return strings.Contains(strings.ToLower(all), strings.ToLower(v.Text))
}

func logPath(v logView, page int) string {
	q := url.Values{"page": {strconv.Itoa(page)}}
	if v.Text != "" {
		q.Set("q", v.Text)
	}
	if v.Failed {
		q.Set("failed", "1")
	}
	if v.Audit {
		q.Set("audit", "1")
	}
	return "/log?" + q.Encode()
}
