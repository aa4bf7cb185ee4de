package dashboard

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/settings"
)

// armView is the arm dialog: a form, then what it would do, then the name.
type armView struct {
	order
	M       api.Machine
	Name    string
	Preview *api.Preview
	Problem string
}

// order is the form of what to flash.
type order struct {
	Images []api.Image
	Req    api.FlashRequest
}

// setting is one of them in the form, with what it is set to.
type setting struct {
	*settings.Field
	Value string
}

// Settings are those that the form asks for, in their order.
func (v order) Settings() []setting {
	var all []setting
	for i := range settings.Fields {
		if f := &settings.Fields[i]; f.Kind != settings.Other {
			all = append(all, setting{f, strings.Join(f.Strings(&v.Req.Settings), ", ")})
		}
	}
	return all
}

// maxForm bounds a form in bytes.
const maxForm = 256 << 10

// readForm reads a form, or says that it cannot.
func (d *Dashboard) readForm(w http.ResponseWriter, r *http.Request) bool {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		d.problem(w, http.StatusBadRequest, "The form could not be read.")
		return false
	}
	return true
}

// armForm shows the form and, once it is filled in, what it would do. That
// changes nothing, so it is a GET and can be gone back to.
func (d *Dashboard) armForm(r *http.Request) (string, frame, error) {
	return d.armPage(r, r.URL.Query(), "")
}

func (d *Dashboard) armPage(r *http.Request, form url.Values, problem string) (string, frame, error) {
	m, err := d.Room.Machine(r.Context(), r.PathValue("machine"))
	if err != nil {
		return "", frame{}, err
	}
	v := armView{M: m, Name: name(&m), order: order{Req: flashRequest(form)}, Problem: problem}
	if v.Images, err = d.Images.List(r.Context()); err != nil {
		return "", frame{}, err
	}
	if form.Has("preview") {
		p, err := d.Room.Preview(r.Context(), m.ID, v.Req)
		if err == nil {
			v.Preview = &p
		} else {
			_, v.Problem = d.explain(r, err)
		}
	} else {
		v.Req.Image = m.Spec.Flash.Image
	}
	return "arm", frame{Title: "Arm " + v.Name, Section: "room", Body: v}, nil
}

// flashRequest reads the form; what is empty is left to the machine's own
// settings and those of its groups.
func flashRequest(q url.Values) api.FlashRequest {
	f := api.FlashRequest{Wipe: q.Get("wipe") != "", NoGrow: q.Get("noGrow") != "", Unseen: q.Get("unseen") != "", Shown: q.Get("shown")}
	for i := range settings.Fields {
		if s := &settings.Fields[i]; s.Kind != settings.Other {
			s.Parse(&f.Settings, q.Get(s.Name))
		}
	}
	f.Expires, _ = strconv.Atoi(q.Get("expires"))
	return f
}

// arm takes the form with the machine's name typed by the operator.
func (d *Dashboard) arm(w http.ResponseWriter, r *http.Request) {
	if !d.readForm(w, r) {
		return
	}
	m, err := d.Room.Machine(r.Context(), r.PathValue("machine"))
	if err != nil {
		d.fail(w, r, err)
		return
	}
	f := flashRequest(r.PostForm)
	status, problem := 0, ""
	switch {
	case strings.TrimSpace(r.PostForm.Get("confirm")) != name(&m):
		status, problem = http.StatusUnprocessableEntity, "Nothing was armed: what was typed is not this machine's name."
	case f.Shown == "":
		// The operator has not seen what will be lost.
		status, problem = http.StatusUnprocessableEntity, "Nothing was armed: look first at what will be lost."
	default:
		if _, err = d.Room.Flash(r.Context(), api.ActorOperator, m.ID, f); err != nil {
			status, problem = d.explain(r, err)
		}
	}
	if problem == "" {
		http.Redirect(w, r, machinePath(m.ID), http.StatusSeeOther)
		return
	}
	form := r.PostForm
	form.Set("preview", "1")
	page, fr, err := d.armPage(r, form, problem)
	if err != nil {
		d.fail(w, r, err)
		return
	}
	d.render(w, status, page, fr)
}

// cancel takes an arm back. One that is forced cuts a flash off, and takes the
// machine's name as an arm does.
func (d *Dashboard) cancel(w http.ResponseWriter, r *http.Request) {
	if !d.readForm(w, r) {
		return
	}
	m, err := d.Room.Machine(r.Context(), r.PathValue("machine"))
	if err != nil {
		d.fail(w, r, err)
		return
	}
	force := r.PostForm.Get("force") != ""
	if force && strings.TrimSpace(r.PostForm.Get("confirm")) != name(&m) {
		d.problem(w, http.StatusUnprocessableEntity, "Nothing was cancelled: what was typed is not this machine's name.")
		return
	}
	if m, err = d.Room.Cancel(r.Context(), api.ActorOperator, m.ID, force); err != nil {
		d.fail(w, r, err)
		return
	}
	http.Redirect(w, r, machinePath(m.ID), http.StatusSeeOther)
}
