package settings

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// A new setting is a field with its tags: whatever goes over the table has it
// then, with its flag, title, help, values and text.
func TestAFieldIsEnough(t *testing.T) {
	type more struct {
		Settings
		Pace  string   `json:"pace,omitempty" enum:",slow,fast" doc:"how fast to write"`
		Spare []string `json:"spareDisks,omitempty" arg:"disk" doc:"disk to leave alone"`
	}
	all := fieldsOf(reflect.TypeFor[more]())
	if len(all) != len(Fields)+2 {
		t.Fatalf("%d fields; want two more than %d", len(all), len(Fields))
	}
	pace, spare := all[len(all)-2], all[len(all)-1]
	want := Field{Name: "pace", Flag: "pace", Title: "Pace", Doc: "how fast to write", Kind: Choice, Allowed: []string{"slow", "fast"}}
	if diff := cmp.Diff(want, pace, cmpopts.IgnoreUnexported(Field{})); diff != "" {
		t.Errorf("pace (-want +got):\n%s", diff)
	}
	if spare.Flag != "spare-disks" || spare.Title != "Spare disks" || spare.Kind != List {
		t.Errorf("spareDisks = %+v", spare)
	}
	if got, want := pace.Usage()+"; "+spare.Usage(), "how fast to write: slow or fast; `disk` to leave alone"; got != want {
		t.Errorf("usage %q; want %q", got, want)
	}
	m := more{Spare: []string{"sdb, the old one"}}
	if !said(spare.value(&m)) || said(pace.value(&m)) {
		t.Error("what is said is not told from what is not")
	}
}

func TestEveryFieldIsWhole(t *testing.T) {
	for _, f := range Fields {
		if f.Kind == Other {
			if _, ok := f.In(&Settings{}).(**Confirm); !ok {
				t.Errorf("%s: what has flags of its own needs a place in cli/flags", f.Name)
			}
			continue
		}
		if f.Doc == "" || f.Arg != "" && !strings.Contains(f.Doc, f.Arg) {
			t.Errorf("%s: doc %q, arg %q", f.Name, f.Doc, f.Arg)
		}
		if (f.Kind == Text) != (f.MaxLength > 0) {
			t.Errorf("%s is a %s of at most %d bytes", f.Name, f.Kind, f.MaxLength)
		}
	}
	for name := range checks {
		if f := Named(name); f == nil || f.Kind != Text {
			t.Errorf("there is a check of %q, which is no text", name)
		}
	}
}

func TestTexts(t *testing.T) {
	s := Settings{
		Image: "web", Confirm: &Confirm{Probe: "ping", Within: 60},
		Agent: Agent{Keep: []string{"a b", "4"}, HoldReboot: true},
	}
	got := map[string]string{}
	for _, f := range Fields {
		if f.Said(&s) {
			got[f.Name] = f.String(&s)
		}
	}
	want := map[string]string{"image": "web", "keep": `["a b" "4"]`, "holdReboot": "true", "confirm": "probe ping within 60 s, 0 boots"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("texts (-want +got):\n%s", diff)
	}
	// What a form shows, it reads the same.
	var back Settings
	for i := range Fields {
		if f := &Fields[i]; f.Kind == Other {
			f.Copy(&back, &s)
		} else {
			f.Parse(&back, strings.Join(f.Strings(&s), ", "))
		}
	}
	if diff := cmp.Diff(s, back); diff != "" {
		t.Errorf("read from a form (-want +got):\n%s", diff)
	}
	for _, f := range Fields {
		if !f.Equal(&s, &back) || f.Said(&s) == f.Equal(&s, &Settings{}) {
			t.Errorf("%s: what is equal is not told from what is not", f.Name)
		}
	}
	if f := Named("keep"); f.Said(&Settings{Agent: Agent{Keep: []string{}}}) {
		t.Error("an empty list says something")
	}
}

func TestCheck(t *testing.T) {
	for _, s := range []Settings{
		{},
		{Image: "x", Identity: "none", Confirm: &Confirm{}},
		{Confirm: &Confirm{Probe: "tcp:22"}, Agent: Agent{Disk: "smallest", ReadBack: "off", Handoff: "kexec"}},
	} {
		if err := Check(&s); err != nil {
			t.Errorf("Check(%+v) = %v", s, err)
		}
	}
	for says, s := range map[string]Settings{
		"readBack": {Agent: Agent{ReadBack: "some"}},
		"handoff":  {Agent: Agent{Handoff: "jump"}},
		"rule":     {Agent: Agent{Disk: "size>=many"}},
		"negative": {Confirm: &Confirm{Boots: -1}},
		"tcp:PORT": {Confirm: &Confirm{Probe: "tcp:0"}},
	} {
		err := Check(&s)
		if bad, ok := errors.AsType[*InvalidError](err); !ok || bad.Help == "" {
			t.Errorf("Check(%+v) = %v; want what is wrong, with help (%s)", s, err, says)
		}
	}
}

// The manual has a row for each.
func TestManual(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, flash, _ := strings.Cut(string(text), "\n## A flash\n")
	_, table, _ := strings.Cut(flash, "| flag | default | |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	for _, f := range Fields {
		if !strings.Contains(table, "`--"+f.Flag+"`") && !strings.Contains(table, "`--"+f.Flag+" ") {
			t.Errorf("docs/operations.md, the flags of a flash: --%s is missing", f.Flag)
		}
		for _, v := range f.Allowed {
			if !strings.Contains(table, "`"+v+"`") {
				t.Errorf("docs/operations.md, --%s: %s is missing", f.Flag, v)
			}
		}
	}
}
