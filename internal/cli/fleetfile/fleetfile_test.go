package fleetfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/settings"
)

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The files of a directory add up, and know where everything stands.
func TestLoadDirectory(t *testing.T) {
	dir := t.TempDir()
	a := write(t, dir, "a.yaml", "machines:\n- name: n1\n  macs: 52:54:00:00:00:01\n---\nimages: {web: x}\n")
	b := write(t, dir, "b.yml", `# machines of the second rack
machines:
  - name: n2
    serial: 0042
    flash: {confirm: {probe: "tcp:22", within: 60}, keep: [data]}
identities:
  node: {files: [{path: /etc/key, content: !file keys/secret, mode: 0600}]}
`)
	write(t, dir, "keys/secret", "s3cret\n")
	write(t, dir, "notes.txt", "machines: nonsense")
	write(t, dir, ".hidden.yaml", "machines: nonsense")

	got, err := Load([]string{dir}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := api.Fleet{
		Machines: []api.Spec{
			{Name: "n1", MACs: []string{"52:54:00:00:00:01"}},
			{Name: "n2", Serial: "0042", Flash: settings.Settings{
				Confirm: &settings.Confirm{Probe: "tcp:22", Within: 60},
				Agent:   settings.Agent{Keep: []string{"data"}},
			}},
		},
		Identities: map[string]api.Identity{"node": {Files: []api.File{{Path: "/etc/key", Content: "s3cret\n", Mode: "0600"}}}},
		Images:     map[string]string{"web": "x"},
	}
	if diff := cmp.Diff(want, got.Fleet); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for path, at := range map[string]string{
		"machines[0].name": a + ":2:9", "machines[1]": b + ":3:5", "machines[1].flash.disk": b + ":5:12",
		"identities.node.files[0].content": b + ":7:44", "images.web": a + ":5:15", "prune": "",
	} {
		if got.At(path) != at {
			t.Errorf("At(%s) = %q; want %q", path, got.At(path), at)
		}
	}
}

func TestErrors(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "1.yaml", "machines:\n- nme: x\nidentities: {node: {}}\nprune: true\n")
	write(t, dir, "2.yaml", "identities: {node: {}}\ngroups: {a: b}\n")
	_, err := Load([]string{dir}, nil)
	if err == nil {
		t.Fatal("Load = nil")
	}
	got := strings.ReplaceAll(err.Error(), dir+"/", "")
	want := `1.yaml:2:3: machines[0].nme: unknown key; is name meant?
1.yaml:4:1: prune: unknown key; there are groups, identities, images, machines
2.yaml:1:20: identities.node: is said in ` + "1.yaml:3:20" + ` already
2.yaml:2:9: groups: want a list, not keys and values`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for name, path := range map[string]string{
		"gone": filepath.Join(dir, "gone.yaml"), "empty directory": t.TempDir(), "empty": write(t, t.TempDir(), "e.yaml", "# nothing\n"),
	} {
		if _, err := Load([]string{path}, nil); err == nil {
			t.Errorf("%s: Load = nil; want an error", name)
		}
	}
	if f, err := Load([]string{"-"}, strings.NewReader("images: {a: b}")); err != nil || f.Images["a"] != "b" {
		t.Errorf("Load(-) = %+v, %v", f, err)
	}
}
