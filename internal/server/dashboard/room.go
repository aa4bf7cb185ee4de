package dashboard

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/api"
)

// roomView is the room at a glance.
type roomView struct {
	Total, Shown int
	Counts       []count
	Groups       []group
	Attention    []attention
	Text         string // of the filter
	Selector     string
	State        string
	Group        string
	Keys         []string // labels that can be grouped by
	Rate         float64  // bytes of data a second, of all flashes
	Wire         float64  // bytes a second that they fetch
	Servers      int
	Alarms       []alarm // of the servers
	StateFull    int     // percent of the state database; 0: it has room
	StateClosed  bool    // it takes no changes
}

type count struct {
	look
	N    int
	Href string
	On   bool
}

type group struct {
	Name  string // empty: there is only one
	Tiles []tile
}

// tile is one machine in the grid.
type tile struct {
	look
	ID, Href, Name, Short, Note, Label string
	Percent                            int // of the work; -1: none is under way
	Reading                            bool
	Conflict                           bool
}

type attention struct {
	look
	Name, Href, Cause, Course, Message string
}

// maxAttention bounds the list below the grid: a whole rack without power
// would fill it with one sentence.
const maxAttention = 50

func (d *Dashboard) room(r *http.Request) (string, frame, error) {
	q := r.URL.Query()
	v := roomView{Text: cut(100, q.Get("q")), Selector: q.Get("l"), State: q.Get("state"), Group: q.Get("group")}
	machines, err := d.Room.Machines(r.Context(), v.Selector)
	if err != nil {
		return "", frame{}, err
	}
	servers, err := d.Room.Servers(r.Context())
	if err != nil {
		return "", frame{}, err
	}
	v.Total, v.Servers, v.Alarms = len(machines), len(servers), alarmsOf(servers)
	// That it cannot be told is no reason for no page.
	if usage, err := d.Room.StateUsage(r.Context()); err == nil && (usage.Full || usage.Percent() >= api.StateNearlyFull) {
		v.StateFull, v.StateClosed = usage.Percent(), usage.Full
	}
	keys, counts, groups := map[string]bool{}, map[string]int{}, map[string][]tile{}
	for i := range machines {
		m := &machines[i]
		for k := range m.Spec.Labels {
			keys[k] = true
		}
		if !matches(m, v.Text) {
			continue
		}
		l := lookOf(m)
		counts[l.Class]++
		if e := m.Estimate; e != nil && e.Phase == "write" {
			v.Rate, v.Wire = v.Rate+e.Rate, v.Wire+e.WireRate
		}
		if v.State != "" && v.State != l.Class {
			continue
		}
		v.Shown++
		in := ""
		if v.Group != "" {
			in = cut(40, m.Spec.Labels[v.Group])
		}
		groups[in] = append(groups[in], d.tile(m, l))
		d.attend(&v, m, l)
	}
	v.Counts, v.Groups = countsOf(counts, q), groupsOf(groups, v.Group != "")
	for k := range keys {
		v.Keys = append(v.Keys, k)
	}
	slices.Sort(v.Keys)
	return "room", frame{Title: "Room", Section: "room", Live: "machine removed reset", Body: v}, nil
}

// alarm is something that is wrong with a server.
type alarm struct{ Name, Message string }

func alarmsOf(servers []api.Server) (all []alarm) {
	for _, s := range servers {
		for _, a := range s.Alarms {
			all = append(all, alarm{cut(40, s.Name), cut(400, a.Text)})
		}
	}
	return all
}

// matches looks for the text in what a machine is known by.
func matches(m *api.Machine, text string) bool {
	if text == "" {
		return true
	}
	all := []string{m.ID, m.Spec.Name, m.MAC, m.Spec.UUID, m.Spec.Serial, m.Address, m.State}
	if m.Inventory != nil {
		all = append(all, m.Inventory.Serial, m.Inventory.UUID, m.Inventory.Product)
	}
	if m.Armed != nil {
		all = append(all, m.Armed.Plan.Image.Name)
	}
	if m.System != nil {
		all = append(all, m.System.Name)
	}
	if m.Trouble != nil {
		all = append(all, m.Trouble.Cause)
	}
	return strings.Contains(strings.ToLower(strings.Join(all, "\n")), strings.ToLower(text))
}

func (d *Dashboard) tile(m *api.Machine, l look) tile {
	t := tile{look: l, ID: "t-" + m.ID, Href: machinePath(m.ID), Name: name(m), Percent: -1, Conflict: m.Conflict != ""}
	t.Short, t.Note = tail(9, t.Name), seconds(d.now().Sub(m.Since))
	if e := m.Estimate; e != nil && e.DataTotal > 0 {
		t.Percent, t.Reading = e.Percent, e.Phase != "write"
		t.Note = e.LeftText()
	}
	if tr := m.Trouble; tr != nil {
		t.Note = cut(40, tr.Cause)
		if l.Class == "stuck" {
			t.Note = seconds(d.now().Sub(tr.Since))
		}
	}
	t.Label = t.Name + ": " + l.Word
	if t.Percent >= 0 {
		t.Label += fmt.Sprintf(" %d %%", t.Percent)
	}
	t.Label += ", " + t.Note
	if t.Conflict {
		t.Label += ", two machines claim to be it"
	}
	return t
}

func (d *Dashboard) attend(v *roomView, m *api.Machine, l look) {
	if m.Trouble == nil && m.Conflict == "" && l.Class != "unconfirmed" || len(v.Attention) == maxAttention {
		return
	}
	a := attention{look: l, Name: name(m), Href: machinePath(m.ID), Message: cut(160, m.Message)}
	if m.Conflict != "" {
		a.Message = cut(160, m.Conflict)
	}
	if tr := m.Trouble; tr != nil {
		a.Cause, a.Course, a.Message = cut(40, tr.Cause), tr.Course(d.now()), cut(160, tr.Message)
	}
	v.Attention = append(v.Attention, a)
}

// countsOf makes each count a link that filters by it, or takes that back.
func countsOf(n map[string]int, q url.Values) []count {
	var out []count
	for _, l := range looks {
		to := url.Values{}
		for _, k := range []string{"q", "l", "group"} {
			if q.Get(k) != "" {
				to.Set(k, q.Get(k))
			}
		}
		on := q.Get("state") == l.Class
		if !on {
			to.Set("state", l.Class)
		}
		out = append(out, count{look: l, N: n[l.Class], Href: "/?" + to.Encode(), On: on})
	}
	return out
}

func groupsOf(tiles map[string][]tile, named bool) []group {
	var out []group
	for name, list := range tiles {
		if name == "" && named {
			name = "(none)"
		}
		out = append(out, group{name, list})
	}
	slices.SortFunc(out, func(a, b group) int { return strings.Compare(a.Name, b.Name) })
	return out
}
