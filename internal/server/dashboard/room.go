package dashboard

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gild-dev/gild/internal/api"
)

// roomView is the room at a glance.
type roomView struct {
	query
	Total, Shown int
	Counts       []count
	Groups       []group
	Columns      []column // of the table
	Rows         []row
	Attention    []attention
	Needs        int // how many need it
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
	Name   string // empty: there is only one
	Prefix string // that all names in it begin with; the tiles leave it out
	Tiles  []tile
	Width  string // class of the style; empty: for short names
}

// tile is one machine in the grid.
type tile struct {
	look
	ID, Href, Name string
	Prefix, Short  string // of the name: what the group shows once, and the rest
	Said           string // of its state, for who does not see shape and colour
	Note           string
	Percent        int // of the work; -1: none is under way
	Reading        bool
	Conflict       bool
}

type attention struct {
	look
	Name, Href, Cause, Course, Message string
}

// maxAttention bounds the list above the machines: a whole rack without power
// would fill it with one sentence.
const maxAttention = 50

func (d *Dashboard) room(r *http.Request) (string, frame, error) {
	v := roomView{query: queryOf(r.URL.Query())}
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
		d.attend(&v, m, l)
		if v.View == viewTable {
			v.Rows = append(v.Rows, d.row(m, l))
			continue
		}
		in := ""
		if v.Group != "" {
			in = cut(40, m.Spec.Labels[v.Group])
		}
		groups[in] = append(groups[in], d.tile(m, l))
	}
	v.Counts, v.Groups, v.Keys = v.counts(counts), groupsOf(groups, v.Group != ""), slices.Sorted(maps.Keys(keys))
	if v.View == viewTable {
		v.Columns = v.columns()
		sortRows(v.Rows, v.Sort)
	}
	title := "Room"
	if v.Needs > 0 {
		title = fmt.Sprintf("(%d) Room", v.Needs)
	}
	return "room", frame{Title: title, Section: "room", Live: "machine removed reset", Body: v}, nil
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
	t.Short, t.Note = t.Name, seconds(d.now().Sub(m.Since))
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
	t.Said = l.Word
	if t.Percent >= 0 {
		t.Said += fmt.Sprintf(" %d %%", t.Percent)
	}
	if t.Conflict {
		t.Said += ", two machines claim to be it"
	}
	return t
}

func (d *Dashboard) attend(v *roomView, m *api.Machine, l look) {
	if m.Trouble == nil && m.Conflict == "" && l.Class != "unconfirmed" {
		return
	}
	if v.Needs++; v.Needs > maxAttention {
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

// counts makes each count a link that filters by it, or undoes that.
func (q query) counts(n map[string]int) []count {
	var out []count
	for _, l := range looks {
		out = append(out, count{look: l, N: n[l.Class], Href: q.ByState(l.Class).Href(), On: q.State == l.Class})
	}
	return out
}

func groupsOf(tiles map[string][]tile, named bool) []group {
	var out []group
	for name, list := range tiles {
		if name == "" && named {
			name = "(none)"
		}
		g := group{Name: name, Prefix: prefix(list), Tiles: list}
		for i := range list {
			t := &list[i]
			t.Short = cmp.Or(strings.TrimPrefix(t.Name, g.Prefix), t.Name)
			t.Prefix = strings.TrimSuffix(t.Name, t.Short)
		}
		g.Width = widthOf(list)
		out = append(out, g)
	}
	slices.SortFunc(out, func(a, b group) int { return natural(a.Name, b.Name) })
	return out
}

// widthOf is the class of tiles that have room for the longest name. The policy
// permits no style of a group's own, so there are a few.
func widthOf(tiles []tile) string {
	longest := 0
	for _, t := range tiles {
		longest = max(longest, utf8.RuneCountInString(t.Short))
	}
	switch {
	case longest <= 7:
		return ""
	case longest <= 10:
		return "names-10"
	case longest <= 14:
		return "names-14"
	case longest <= 20:
		return "names-20"
	}
	return "names-long"
}

// prefix is what all names of a group begin with, up to a place where a name
// has a part: shown once, it need not be read on every tile. Empty: they are
// told apart from their first part on.
func prefix(tiles []tile) string {
	if len(tiles) < 2 {
		return ""
	}
	common := tiles[0].Name
	for _, t := range tiles[1:] {
		n := 0
		for n < len(common) && n < len(t.Name) && common[n] == t.Name[n] {
			n++
		}
		common = common[:n]
	}
	return common[:strings.LastIndexAny(common, "-._:")+1]
}
