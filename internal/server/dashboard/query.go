package dashboard

import "net/url"

// query is what of the room is shown, and how: the address of the page.
type query struct {
	Text     string // looked for in what a machine is known by
	Selector string // of labels
	State    string // class of a look
	Group    string // label that tiles are grouped by
	View     string // viewTable; empty: tiles
	Sort     string // column of the table, a hyphen before it: the other way round
}

const viewTable = "table"

func queryOf(q url.Values) query {
	v := query{Text: cut(100, q.Get("q")), Selector: q.Get("l"), State: q.Get("state"), Group: q.Get("group"), Sort: q.Get("sort")}
	if q.Get("view") == viewTable {
		v.View = viewTable
	}
	return v
}

// Href is the address of what is shown.
func (q query) Href() string {
	to := url.Values{}
	for k, v := range map[string]string{
		"q": q.Text, "l": q.Selector, "state": q.State, "group": q.Group, "view": q.View, "sort": q.Sort,
	} {
		if v != "" {
			to.Set(k, v)
		}
	}
	if len(to) == 0 {
		return "/"
	}
	return "/?" + to.Encode()
}

// Filtered reports whether less than all is asked for.
func (q query) Filtered() bool { return q.Text != "" || q.Selector != "" || q.State != "" }

// JSON is where programs find the machines of the selector.
func (q query) JSON() string {
	if q.Selector == "" {
		return "/api/v1/machines"
	}
	return "/api/v1/machines?" + url.Values{"selector": {q.Selector}}.Encode()
}

// ByState shows one state alone, or all again.
func (q query) ByState(class string) query {
	if q.State == class {
		class = ""
	}
	q.State = class
	return q
}

// As shows tiles or the table.
func (q query) As(view string) query {
	q.View, q.Sort = view, ""
	return q
}

// By sorts by a column, or the other way round when it is sorted by that.
func (q query) By(column string) query {
	if q.Sort == column {
		column = "-" + column
	}
	q.Sort = column
	return q
}

// column is one of the table, with the way it is sorted: see aria-sort.
type column struct {
	Name, Title, Sorted, Href string
}

// columns are those of the table.
func (q query) columns() (all []column) {
	titles := []string{"Name", "State", "Image", "Labels", "Address", "Serial", "Since"}
	for i, name := range []string{"name", "state", "image", "labels", "address", "serial", "since"} {
		c := column{Name: name, Title: titles[i], Sorted: "none", Href: q.By(name).Href()}
		switch q.Sort {
		case name:
			c.Sorted = "ascending"
		case "-" + name:
			c.Sorted = "descending"
		}
		all = append(all, c)
	}
	return all
}
