package dashboard

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

// row is one machine in the table.
type row struct {
	look
	ID, Href, Name string
	Image          string
	Labels         []string
	Address        string
	Serial         string
	Since          time.Time
	Note           string // how far it is, or why it is in trouble
	Conflict       bool
}

func (d *Dashboard) row(m *api.Machine, l look) row {
	t := d.tile(m, l)
	return row{
		look: l, ID: m.ID, Href: t.Href, Name: t.Name, Image: imageOf(m), Labels: labelsOf(m), Address: cut(45, m.Address),
		Serial: cut(60, serialOf(m)), Since: m.Since, Note: t.Note, Conflict: t.Conflict,
	}
}

// imageOf is the image that a machine is to have, or has.
func imageOf(m *api.Machine) string {
	switch {
	case m.Armed != nil:
		return cut(60, m.Armed.Plan.Image.Name)
	case m.System != nil:
		return cut(60, m.System.Name)
	}
	return ""
}

func serialOf(m *api.Machine) string {
	if m.Spec.Serial == "" && m.Inventory != nil {
		return m.Inventory.Serial
	}
	return m.Spec.Serial
}

func labelsOf(m *api.Machine) (all []string) {
	for k, v := range m.Spec.Labels {
		all = append(all, cut(63, k)+"="+cut(63, v))
	}
	slices.Sort(all)
	return all
}

// sortRows sorts by a column, by name where that says nothing, which is also
// the order of one that is not known.
func sortRows(rows []row, by string) {
	name, reverse := strings.CutPrefix(by, "-")
	slices.SortStableFunc(rows, func(a, b row) int {
		order := compare(a, b, name)
		if reverse {
			order = -order
		}
		return cmp.Or(order, natural(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
}

func compare(a, b row, by string) int {
	switch by {
	case "name":
		return natural(a.Name, b.Name)
	case "state":
		return cmp.Compare(rank(a.Class), rank(b.Class))
	case "image":
		return natural(a.Image, b.Image)
	case "labels":
		return natural(strings.Join(a.Labels, ","), strings.Join(b.Labels, ","))
	case "address":
		x, _ := netip.ParseAddr(a.Address)
		y, _ := netip.ParseAddr(b.Address)
		return x.Compare(y)
	case "serial":
		return natural(a.Serial, b.Serial)
	case "since":
		return b.Since.Compare(a.Since) // the newest first
	}
	return 0
}

// rank is the place of a state in the order of what needs an operator first.
func rank(class string) int {
	return slices.IndexFunc(looks, func(l look) bool { return l.Class == class })
}

// natural compares text as people count: n9 before n10.
func natural(a, b string) int {
	for a != "" && b != "" {
		x, y := digits(a), digits(b)
		if x == 0 || y == 0 {
			if order := cmp.Compare(a[0], b[0]); order != 0 {
				return order
			}
			a, b = a[1:], b[1:]
			continue
		}
		m, n := strings.TrimLeft(a[:x], "0"), strings.TrimLeft(b[:y], "0")
		if order := cmp.Or(cmp.Compare(len(m), len(n)), cmp.Compare(m, n)); order != 0 {
			return order
		}
		a, b = a[x:], b[y:]
	}
	return cmp.Compare(len(a), len(b))
}

// digits is how many of them a text begins with.
func digits(s string) int {
	return len(s) - len(strings.TrimLeft(s, "0123456789"))
}
