package server

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/store"
	"github.com/gild-dev/gild/internal/initramfs/agentbin"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/machines"
	"github.com/gild-dev/gild/internal/server/machines/machinestest"
)

// giveKernel makes a stored image one that claims to have a kernel for arch.
func giveKernel(t *testing.T, st *store.Store, name, arch string) {
	t.Helper()
	im, err := st.Image(name)
	if err != nil {
		t.Fatal(err)
	}
	im.Config.Boot = &golden.Boot{Arch: arch, KernelRelease: "6.1", Cmdline: "ro"}
	config, err := im.Config.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	d, err := st.Draft()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Write(config); err != nil {
		t.Fatal(err)
	}
	im.Manifest.Config = d.Descriptor(golden.MediaTypeConfig)
	manifest, err := im.Manifest.Marshal()
	if err == nil {
		_, err = st.Commit(t.Context(), name, manifest, d)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// agents is a build with the agent for some architectures.
func agents(with ...string) func(string) ([]byte, error) {
	return func(arch string) ([]byte, error) {
		for _, a := range with {
			if a == arch {
				return []byte("agent"), nil
			}
		}
		return nil, &agentbin.MissingError{Arch: arch}
	}
}

// A gild without the agent must say so to the operator, not to each machine.
func TestServeNeedsTheAgentOfItsImages(t *testing.T) {
	for _, tt := range []struct {
		name   string
		images map[string]string // by name: the architecture of the kernel, or none
		with   []string
		ok     bool
	}{
		{"no agent, no image", nil, nil, true},
		{"no agent, no kernel", map[string]string{"a": ""}, nil, true},
		{"no agent", map[string]string{"a": "", "b": "amd64"}, nil, false},
		{"another agent", map[string]string{"a": "arm64"}, []string{"amd64"}, false},
		{"the agent", map[string]string{"a": "amd64"}, []string{"amd64"}, true},
	} {
		st := storeWith(t)
		for name, arch := range tt.images {
			addTo(t, st, name)
			if arch != "" {
				giveKernel(t, st, name, arch)
			}
		}
		files := &bootFiles{builder: InitramfsBuilder{Store: st, Agent: agents(tt.with...)}, dir: t.TempDir()}
		_, _, err := files.open(slog.New(slog.DiscardHandler))(t.Context(), &machines.Core{})
		missing, ok := errors.AsType[*agentbin.MissingError](err)
		if (err == nil) != tt.ok || err != nil && (!ok || missing.Hint() == "") {
			t.Errorf("%s: open = %v; want ok %v, or a MissingError", tt.name, err, tt.ok)
		}
	}
}

func TestArmingRefusesWhatNoMachineCanBoot(t *testing.T) {
	s := newMachines(t)
	st := storeWith(t, "plain", "foreign", "good")
	giveKernel(t, st, "foreign", "arm64")
	giveKernel(t, st, "good", "amd64")
	files := &bootFiles{builder: InitramfsBuilder{Store: st, Agent: agents("amd64")}}
	s.Images, s.Pins, s.Bootable = storedImages{st, slog.New(slog.DiscardHandler)}, st, files.check
	for name, says := range map[string]string{"plain": "no kernel", "foreign": "agent for arm64", "good": ""} {
		f := machinestest.Flash(name)
		if shown, err := s.Operators().Preview(t.Context(), mac, f); err != nil || (says == "") != (shown.Refusal == "") || !strings.Contains(shown.Refusal, says) {
			t.Errorf("Preview(%s) = %q, %v; want what the arm says: %q", name, shown.Refusal, err, says)
		}
		_, err := s.Operators().Flash(t.Context(), "", mac, f)
		invalid, ok := errors.AsType[*fleet.InvalidError](err)
		if (says == "") != (err == nil) || err != nil && (!ok || invalid.Hint() == "" || !strings.Contains(err.Error(), says)) {
			t.Errorf("Flash(%s) = %v; want %q", name, err, says)
		}
	}
}
