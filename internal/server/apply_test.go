package server

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/operatorclient"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/settings"
)

// fourHundred is a room as its files say it.
func fourHundred() api.Fleet {
	f := api.Fleet{
		Groups:     []api.Group{{Name: "web", Selector: "rack in (r0,r1)", Flash: settings.Settings{Image: "debian", Identity: "node"}}},
		Identities: map[string]api.Identity{"node": {Credentials: map[string]string{"pw": "CANARYCANARY"}}},
		Images:     map[string]string{"debian": string(golden.DigestOf([]byte("manifest")))},
	}
	for i := range 400 {
		f.Machines = append(f.Machines, api.Spec{
			Name: fmt.Sprintf("n%03d", i), MACs: []string{fmt.Sprintf("52:54:01:00:%02x:%02x", i/256, i%256)},
			Labels: map[string]string{"rack": fmt.Sprintf("r%d", i/40)},
		})
	}
	return f
}

func TestApply(t *testing.T) {
	s := newServer(t, t.TempDir())
	r := start(t, s)
	f := fourHundred()
	dry, err := r.operator.Fleet().Apply(t.Context(), f, true)
	if err != nil || len(dry.Changes) != 402 {
		t.Fatalf("dry run = %d changes, %v; want 402", len(dry.Changes), err)
	}
	if list, err := r.operator.Machines(t.Context(), ""); err != nil || len(list) != 0 {
		t.Fatalf("%d machines after a dry run, %v; want none", len(list), err)
	}
	begin := time.Now()
	diff, err := r.operator.Fleet().Apply(t.Context(), f, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("400 machines applied in %s", time.Since(begin))
	if d := cmp.Diff(dry.Changes, diff.Changes); d != "" {
		t.Errorf("what was done differs from the dry run:\n%s", d)
	}
	list, err := r.operator.Machines(t.Context(), "rack=r7")
	if err != nil || len(list) != 40 {
		t.Errorf("%d machines in a rack, %v; want 40", len(list), err)
	}
	if diff, err = r.operator.Fleet().Apply(t.Context(), f, false); err != nil || len(diff.Changes) != 0 {
		t.Errorf("applied again: %v, %v; want no change", diff.Changes, err)
	}

	// What is of no one machine is in the log of what operators did.
	log, err := r.operator.Log(t.Context(), 1000, true)
	noted := slices.ContainsFunc(log, func(e api.LogEntry) bool {
		return e.Machine == "" && e.Event.ByOperator() && e.Event.Message == "group web: add, identity node: add"
	})
	if err != nil || !noted {
		t.Errorf("the log for audit does not tell of the group and the identity: %v", err)
	}

	// Groups and identities take part in an arm, by their names.
	m, err := r.operator.Flash(t.Context(), "n001", api.FlashRequest{Unseen: true})
	if err != nil || m.Armed == nil || m.Armed.Plan.Image.Name != "debian" || m.Armed.IdentityName != "node" {
		t.Errorf("Flash without a request = %+v, %v; want the image and identity of the group", m.Armed, err)
	}

	// Everything that is wrong is told, and nothing is done.
	bad := fourHundred()
	bad.Machines[7].Name = "n008"
	bad.Machines[9].MACs[0] = "52:54"
	bad.Groups[0].Selector = "rack="
	_, err = r.operator.Fleet().Apply(t.Context(), bad, false)
	said, ok := errors.AsType[*operatorclient.ProblemError](err)
	var at []string
	if ok {
		for _, e := range said.Errors {
			at = append(at, e.Location)
		}
	}
	if d := cmp.Diff([]string{"body.machines[8]", "body.machines[9]", "body.groups[0].selector"}, at); d != "" {
		t.Errorf("Apply = %v; want what is wrong by place, -want +got:\n%s", err, d)
	}
	_, err = r.operator.Fleet().Apply(t.Context(), api.Fleet{Images: map[string]string{
		"debian": "sha256:" + strings.Repeat("0", 64),
		"gone":   "sha256:" + strings.Repeat("0", 64),
	}}, true)
	if err == nil || !strings.Contains(err.Error(), "images.debian: sha256:") ||
		!strings.Contains(err.Error(), `images.gone: unknown image "gone"`) {
		t.Errorf("Apply of another digest = %v; want it refused", err)
	}

	// A prune takes what applies have named, and no armed machine.
	if diff, err = r.operator.Fleet().Apply(t.Context(), api.Fleet{Prune: true}, false); err != nil {
		t.Fatal(err)
	}
	list, err = r.operator.Machines(t.Context(), "")
	if err != nil || len(list) != 1 || list[0].Spec.Name != "n001" {
		t.Errorf("%d machines after a prune, %v; want the armed one alone", len(list), err)
	}
	applied, err := r.operator.Fleet().Applied(t.Context())
	if err != nil || len(applied.Machines) != 1 || len(applied.Groups)+len(applied.Identities) != 0 {
		t.Errorf("Applied = %+v, %v; want the armed machine alone", applied, err)
	}
	if text := fmt.Sprint(dry, diff, list, applied); strings.Contains(text, "CANARY") {
		t.Error("a secret of an identity is shown")
	}
}
