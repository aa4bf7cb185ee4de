package dashboard

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/specs"
)

// maxSelected bounds how many machines one form is about.
const maxSelected = 1000

// What is done to the machines that are selected, as the form says it.
const (
	doFlash  = "flash"
	doCancel = "cancel"
	doLabel  = "label"
)

// selecting answers what is done to several machines at once.
type selecting struct{ *Dashboard }

// selectedView is something to be done to several machines: what it would do to
// each, then their number, typed.
type selectedView struct {
	order          // of a flash
	Labels  string // KEY=VALUE and KEY-, as they were typed
	Do      string // one of the words above
	Asked   bool   // what is to be done is known: Fates say what it would do
	Fates   []fate // of all that are selected
	Done    bool   // Fates say what it has done
	Problem string // why nothing was done
}

// fate is what becomes of one machine.
type fate struct {
	ID, Name, Href string
	Says           []string // what is lost, or changes
	Warnings       []string
	Refusal        string // why the machine is left alone; empty: it is not
	Shown          string // digest of the preview
}

// Ready are those that it would be done to, or was.
func (v selectedView) Ready() (all []fate) {
	for _, f := range v.Fates {
		if f.Refusal == "" {
			all = append(all, f)
		}
	}
	return all
}

// Left are those that are left alone.
func (v selectedView) Left() int { return len(v.Fates) - len(v.Ready()) }

// Title is what is done to how many.
func (v selectedView) Title() string {
	word := map[string]string{doFlash: "Flash", doCancel: "Cancel", doLabel: "Label"}[v.Do]
	if len(v.Fates) == 1 {
		return word + " 1 machine"
	}
	return fmt.Sprintf("%s %d machines", word, len(v.Fates))
}

// ask asks what is to be done to the machines, then shows what that would
// do. It changes nothing; a form can hold more machines than an address.
func (d selecting) ask(w http.ResponseWriter, r *http.Request) {
	if d.readForm(w, r) {
		d.show(w, r, r.PostForm.Get("do"), "")
	}
}

// show shows the page, with why nothing was done.
func (d selecting) show(w http.ResponseWriter, r *http.Request, do, problem string) {
	v, err := d.selection(r, do)
	if err != nil {
		d.fail(w, r, err)
		return
	}
	status := http.StatusOK
	if v.Problem = problem; problem != "" {
		status = http.StatusUnprocessableEntity
	}
	d.write(w, status, v)
}

func (d selecting) write(w http.ResponseWriter, status int, v selectedView) {
	d.render(w, status, "selected", frame{Title: v.Title(), Section: "room", Body: v})
}

// errNothing refuses a form that is about no machine.
var errNothing = &fleet.InvalidError{Problem: "no machine is selected, or more than 1000", Help: "go back, and select some in the table"}

// selection tells what would become of the machines of a form.
func (d selecting) selection(r *http.Request, do string) (selectedView, error) {
	form := r.PostForm
	v := selectedView{Do: do, Labels: strings.TrimSpace(form.Get("labels"))}
	tell, err := d.teller(&v, form)
	if err != nil {
		return v, err
	}
	ids := form["m"]
	if len(ids) == 0 || len(ids) > maxSelected {
		return v, errNothing
	}
	for _, id := range ids {
		m, err := d.Room.Machine(r.Context(), id)
		if err != nil {
			v.Fates = append(v.Fates, fate{ID: id, Name: cut(63, id), Href: machinePath(id), Refusal: d.refusal(r, err)})
			continue
		}
		f := fate{ID: m.ID, Name: name(&m), Href: machinePath(m.ID)}
		if v.Asked {
			tell(r, &m, &f)
		}
		v.Fates = append(v.Fates, f)
	}
	return v, nil
}

func (d selecting) refusal(r *http.Request, err error) string {
	_, text := d.explain(r, err)
	return cut(300, text)
}

// teller gives what says of one machine what would become of it.
func (d selecting) teller(v *selectedView, form url.Values) (func(*http.Request, *api.Machine, *fate), error) {
	switch v.Do {
	case doFlash:
		v.Req, v.Asked = flashRequest(form), form.Has("preview")
		return func(r *http.Request, m *api.Machine, f *fate) { d.previewOne(r, m.ID, v.Req, f) }, nil
	case doCancel:
		v.Asked = true
		return func(_ *http.Request, m *api.Machine, f *fate) { cancelOne(m, f) }, nil
	case doLabel:
		v.Asked = v.Labels != ""
		return func(_ *http.Request, m *api.Machine, f *fate) { labelOne(m, v.Labels, f) }, nil
	}
	return nil, errNothing
}

func (d selecting) previewOne(r *http.Request, id string, req api.FlashRequest, f *fate) {
	p, err := d.Room.Preview(r.Context(), id, req)
	if err != nil {
		f.Refusal = d.refusal(r, err)
		return
	}
	f.Refusal, f.Warnings, f.Shown = cut(300, p.Refusal), p.Warnings, p.Digest
	f.Says = append([]string{"image " + p.Image.Name}, p.Lost...)
	if p.Disk != nil {
		f.Says[0] += " to " + p.Disk.Name
	}
	if len(p.Lost) == 0 {
		f.Says = append(f.Says, "nothing is known to be lost")
	}
}

func cancelOne(m *api.Machine, f *fate) {
	if m.Armed == nil {
		f.Refusal = "it is not armed"
		return
	}
	f.Says = []string{"armed with " + m.Armed.Plan.Image.Name}
	if m.Writing {
		f.Warnings = []string{"its disk is being written: while its agent lives this is refused, and its own page cuts the flash off"}
	}
}

func labelOne(m *api.Machine, text string, f *fate) {
	if _, err := specs.Pairs(m.Spec.Labels, labelChanges(text)); err != nil {
		f.Refusal = err.Error()
		return
	}
	for _, c := range labelChanges(text) {
		key, value, set := strings.Cut(c, "=")
		was, had := m.Spec.Labels[strings.TrimSuffix(key, "-")]
		switch {
		case set && had && was != value:
			f.Says = append(f.Says, fmt.Sprintf("%s=%s, was %s", key, value, was))
		case set && !had:
			f.Says = append(f.Says, c)
		case !set && had:
			f.Says = append(f.Says, strings.TrimSuffix(key, "-")+" is removed, was "+was)
		}
	}
	if len(f.Says) == 0 {
		f.Refusal = "its labels are so already"
	}
}

// labelChanges are those of a text: apart by commas or white space.
func labelChanges(text string) []string {
	return strings.FieldsFunc(text, func(c rune) bool { return c == ',' || c == ' ' || c == '\t' })
}

// flash arms the machines that were shown, each as it was shown.
func (d selecting) flash(w http.ResponseWriter, r *http.Request) {
	d.do(w, r, doFlash, func(id string, i int) error {
		f := flashRequest(r.PostForm)
		f.Shown = at(r.PostForm["shown"], i)
		if f.Shown == "" {
			return &fleet.InvalidError{Problem: "it was not shown what will be lost", Help: "select it again"}
		}
		_, err := d.Room.Flash(r.Context(), api.ActorOperator, id, f)
		return err
	})
}

func (d selecting) cancel(w http.ResponseWriter, r *http.Request) {
	d.do(w, r, doCancel, func(id string, _ int) error {
		_, err := d.Room.Cancel(r.Context(), api.ActorOperator, id, false)
		return err
	})
}

func (d selecting) label(w http.ResponseWriter, r *http.Request) {
	d.do(w, r, doLabel, func(id string, _ int) error {
		m, err := d.Room.Machine(r.Context(), id)
		if err != nil {
			return err
		}
		if m.Spec.Labels, err = specs.Pairs(m.Spec.Labels, labelChanges(r.PostForm.Get("labels"))); err != nil {
			return &fleet.InvalidError{Problem: err.Error(), Help: "nothing was changed"}
		}
		_, err = d.Room.Edit(r.Context(), api.ActorOperator, m.ID, m.SpecRevision, m.Spec)
		return err
	})
}

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return ""
}

// do does it to each, once their number was typed. What becomes of one
// does not depend on the others.
func (d selecting) do(w http.ResponseWriter, r *http.Request, do string, one func(id string, i int) error) {
	if !d.readForm(w, r) {
		return
	}
	ids := r.PostForm["m"]
	if slices.Contains(ids, "") || len(ids) == 0 || len(ids) > maxSelected {
		d.fail(w, r, errNothing)
		return
	}
	if strings.TrimSpace(r.PostForm.Get("confirm")) != strconv.Itoa(len(ids)) {
		r.PostForm.Set("preview", "1")
		d.show(w, r, do, fmt.Sprintf("Nothing was done: what was typed is not %d, the number of machines.", len(ids)))
		return
	}
	v := selectedView{Do: do, Asked: true, Done: true}
	for i, id := range ids {
		f := fate{ID: id, Name: cut(63, id), Href: machinePath(id)}
		if m, err := d.Room.Machine(r.Context(), id); err == nil {
			f.Name = name(&m)
		}
		if err := one(id, i); err != nil {
			f.Refusal = d.refusal(r, err)
		}
		v.Fates = append(v.Fates, f)
	}
	if v.Left() == 0 {
		http.Redirect(w, r, query{View: viewTable}.Href(), http.StatusSeeOther)
		return
	}
	d.write(w, http.StatusConflict, v)
}
