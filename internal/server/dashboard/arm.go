package dashboard

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/gild-dev/gild/internal/api"
)

// armView is the arm dialog: a form, then what it would do, then the name.
type armView struct {
	M       api.Machine
	Name    string
	Images  []api.Image
	Req     api.FlashRequest
	Preview *api.Preview
	Problem string
}

// maxForm bounds a form in bytes.
const maxForm = 64 << 10

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
	v := armView{M: m, Name: name(&m), Req: flashRequest(form), Problem: problem}
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
	f := api.FlashRequest{
		Image: q.Get("image"), Disk: strings.TrimSpace(q.Get("disk")), Identity: strings.TrimSpace(q.Get("identity")),
		ReadBack: q.Get("readBack"), Handoff: q.Get("handoff"),
		Wipe: q.Get("wipe") != "", NoGrow: q.Get("noGrow") != "", HoldReboot: q.Get("holdReboot") != "", Unseen: q.Get("unseen") != "", Shown: q.Get("shown"),
	}
	for part := range strings.SplitSeq(q.Get("keep"), ",") {
		if part = strings.TrimSpace(part); part != "" {
			f.Keep = append(f.Keep, part)
		}
	}
	f.Expires, _ = strconv.Atoi(q.Get("expires"))
	return f
}

// arm takes the form with the machine's name typed by the operator.
func (d *Dashboard) arm(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		d.problem(w, http.StatusBadRequest, "The form could not be read.")
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
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		d.problem(w, http.StatusBadRequest, "The form could not be read.")
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
