package order

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gild-dev/gild/internal/agent/cmdline"
	"github.com/gild-dev/gild/internal/agent/coldplug"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/initramfs/kmod"
	"github.com/gild-dev/gild/internal/settings"
)

// Who leaves hears which of the loaded modules an initrd has work for, not
// which the image has.
func TestLeavingTellsWhatInitrdsHaveToDo(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	release := filepath.Join(root, "lib/modules/6.1")
	for name, text := range map[string]string{
		filepath.Join(release, "modules.dep"):     "kernel/nic.ko:\nkernel/hba.ko:\n",
		filepath.Join(release, "modules.alias"):   "",
		filepath.Join(release, "modules.softdep"): "",
		filepath.Join(release, "modules.builtin"): "",
		filepath.Join(root, kmod.ConfigFile):      "install nic /usr/bin/setup; modprobe -i nic\ninstall hba /usr/bin/setup; modprobe -i hba\n",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	modules, err := coldplug.New(release)
	if err != nil {
		t.Fatal(err)
	}
	modules.Insert = func(string, string) error { return nil }
	line := cmdline.Parse("root=UUID=1 quiet")
	j := testJob(t)
	boot := &golden.Boot{Undone: []string{"hba", "nic"}}
	j.Target.Image = &golden.Image{Config: &golden.Config{Boot: boot}}
	j.Target.Plan = &api.Plan{Agent: settings.Agent{Handoff: api.HandoffAuto}}
	if got := j.Leaving(line); got.Undone != nil || got.Boot != boot || got.Insist || len(got.Line) != len(line) {
		t.Errorf("without modules: Leaving() = %+v", got)
	}
	j.Target.Modules = modules
	if got := j.Leaving(line).Undone; len(got) > 0 {
		t.Errorf("with nothing loaded: undone %v", got)
	}
	if err := modules.Load("nic"); err != nil {
		t.Fatal(err)
	}
	if got := j.Leaving(line).Undone; !slices.Equal(got, []string{"nic"}) {
		t.Errorf("with nic loaded: undone %v", got)
	}
	if j.Target.Plan.Handoff = api.HandoffSwitchRoot; !j.Leaving(line).Insist {
		t.Error("an operator who chose switch_root does not insist on it")
	}
}
