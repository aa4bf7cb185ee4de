package dashboard

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet/specs"
)

// editing answers what an operator says of a machine.
type editing struct{ *Dashboard }

// editView is what an operator says of a machine, as a form; and, for one that
// is known, the way to forget it.
type editView struct {
	M       *api.Machine // nil: a new one
	Name    string
	Path    string // of the form
	Fields  []field
	Problem string
}

// field is one line of the form.
type field struct {
	Name, Title, Value, Help string
	Max                      int // characters
}

func fieldsOf(s api.Spec) []field {
	var labels []string
	for k, v := range s.Labels {
		labels = append(labels, k+"="+v)
	}
	slices.Sort(labels)
	return []field{
		{"name", "Name", s.Name, "unique: letters, digits, hyphens, dots", 63},
		{"macs", "MAC addresses", strings.Join(s.MACs, ", "), "several with commas", 700},
		{"uuid", "UUID", s.UUID, "SMBIOS UUID", 36},
		{"serial", "Serial number", s.Serial, "SMBIOS serial number", 128},
		{"labels", "Labels", strings.Join(labels, ", "), "rack=b7, role=web", 1000},
	}
}

// spec is what a form makes of a spec.
func spec(r *http.Request, of api.Spec) (api.Spec, error) {
	f := r.PostForm
	of.Name, of.UUID, of.Serial = strings.TrimSpace(f.Get("name")), strings.TrimSpace(f.Get("uuid")), strings.TrimSpace(f.Get("serial"))
	of.MACs = labelChanges(f.Get("macs"))
	labels, err := specs.Pairs(nil, labelChanges(f.Get("labels")))
	of.Labels = labels
	if err != nil {
		err = fmt.Errorf("labels: %w", err)
	}
	return of, err
}

func (d editing) addForm(*http.Request) (string, frame, error) {
	return "edit", frame{Title: "Add a machine", Section: "room", Body: editView{Path: "/machines/add", Fields: fieldsOf(api.Spec{})}}, nil
}

func (d editing) add(w http.ResponseWriter, r *http.Request) {
	if !d.readForm(w, r) {
		return
	}
	s, err := spec(r, api.Spec{})
	var m api.Machine
	status, problem := http.StatusUnprocessableEntity, ""
	if err != nil {
		problem = err.Error()
	} else if m, err = d.Room.Register(r.Context(), api.ActorOperator, s); err != nil {
		status, problem = d.explain(r, err)
	}
	if problem != "" {
		v := editView{Path: "/machines/add", Fields: typed(r, fieldsOf(s)), Problem: problem}
		d.render(w, status, "edit", frame{Title: "Add a machine", Section: "room", Body: v})
		return
	}
	http.Redirect(w, r, machinePath(m.ID), http.StatusSeeOther)
}

// typed are fields as they were typed: a mistake is mended, not typed anew.
func typed(r *http.Request, fields []field) []field {
	for i := range fields {
		fields[i].Value = cut(fields[i].Max, r.PostForm.Get(fields[i].Name))
	}
	return fields
}

func (d editing) editForm(r *http.Request) (string, frame, error) {
	m, err := d.Room.Machine(r.Context(), r.PathValue("machine"))
	if err != nil {
		return "", frame{}, err
	}
	return d.editPage(&m, fieldsOf(m.Spec), "")
}

func (d editing) editPage(m *api.Machine, fields []field, problem string) (string, frame, error) {
	v := editView{M: m, Name: name(m), Path: machinePath(m.ID) + "/edit", Fields: fields, Problem: problem}
	return "edit", frame{Title: "Edit " + v.Name, Section: "room", Body: v}, nil
}

// edit stores the form, if nobody changed the machine since it was shown.
func (d editing) edit(w http.ResponseWriter, r *http.Request) {
	m, ok := d.formOf(w, r)
	if !ok {
		return
	}
	s, err := spec(r, m.Spec)
	status, problem := http.StatusUnprocessableEntity, ""
	if err != nil {
		problem = err.Error()
	} else if _, err = d.Room.Edit(r.Context(), api.ActorOperator, m.ID, r.PostForm.Get("revision"), s); err != nil {
		status, problem = d.explain(r, err)
	}
	d.editEnds(w, r, &m, status, problem, machinePath(m.ID))
}

// formOf reads a form about a machine, and finds that.
func (d editing) formOf(w http.ResponseWriter, r *http.Request) (api.Machine, bool) {
	if !d.readForm(w, r) {
		return api.Machine{}, false
	}
	m, err := d.Room.Machine(r.Context(), r.PathValue("machine"))
	if err != nil {
		d.fail(w, r, err)
	}
	return m, err == nil
}

// editEnds goes to where one sees what was done, or says on the form why it was
// not.
func (d editing) editEnds(w http.ResponseWriter, r *http.Request, m *api.Machine, status int, problem, to string) {
	if problem == "" {
		http.Redirect(w, r, to, http.StatusSeeOther)
		return
	}
	fields := fieldsOf(m.Spec)
	if r.PostForm.Has("labels") {
		fields = typed(r, fields)
	}
	page, f, _ := d.editPage(m, fields, problem)
	d.render(w, status, page, f)
}

// forget removes a machine whose name was typed.
func (d editing) forget(w http.ResponseWriter, r *http.Request) {
	m, ok := d.formOf(w, r)
	if !ok {
		return
	}
	status, problem := http.StatusUnprocessableEntity, ""
	if strings.TrimSpace(r.PostForm.Get("confirm")) != name(&m) {
		problem = "Nothing was forgotten: what was typed is not this machine's name."
	} else if err := d.Room.Delete(r.Context(), api.ActorOperator, m.ID, r.PostForm.Get("force") != ""); err != nil {
		status, problem = d.explain(r, err)
	}
	d.editEnds(w, r, &m, status, problem, "/")
}
