package server

import (
	"errors"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden/bootkernel"
	"github.com/gild-dev/gild/internal/server/bootspec"
	"github.com/gild-dev/gild/internal/server/bootspec/bootspectest"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/machines/machinestest"
	"github.com/gild-dev/gild/internal/server/stored"
)

func TestArmingRefusesWhatNoMachineCanBoot(t *testing.T) {
	s := newMachines(t)
	st := bootspectest.Store(t, map[string]string{"plain": "", "foreign": "arm64", "good": "amd64"})
	files := &bootspec.Files{Store: st, Agent: bootspectest.Agents("amd64")}
	s.Images, s.Pins, s.Boots = stored.Images{Store: st}, st, boots(files)
	for name, says := range map[string]string{"plain": "no kernel", "foreign": "agent for arm64", "good": ""} {
		f := machinestest.Flash(name)
		if shown, err := s.Operators().Preview(t.Context(), mac, f); err != nil || (says == "") != (shown.Refusal == "") ||
			!strings.Contains(shown.Refusal, says) {
			t.Errorf("Preview(%s) = %q, %v; want what the arm says: %q", name, shown.Refusal, err, says)
		}
		_, err := s.Operators().Flash(t.Context(), "", mac, f)
		invalid, ok := errors.AsType[*fleet.InvalidError](err)
		if (says == "") != (err == nil) || err != nil && (!ok || invalid.Hint() == "" || !strings.Contains(err.Error(), says)) {
			t.Errorf("Flash(%s) = %v; want %q", name, err, says)
		}
	}
}

// An image without a kernel is armed once there is a boot kernel, and whoever
// arms it is told before what it boots and how it leaves that.
func TestArmingOnABootKernel(t *testing.T) {
	s := newMachines(t)
	st := bootspectest.Store(t, map[string]string{"plain": ""})
	bootspectest.AddKernel(t, st, "k", bootkernel.Config{Arch: "amd64", Release: "6.12"})
	files := &bootspec.Files{Store: st, Agent: bootspectest.Agents("amd64")}
	s.Images, s.Pins, s.Boots = stored.Images{Store: st}, st, boots(files)
	f := machinestest.Flash("plain")
	shown, err := s.Operators().Preview(t.Context(), mac, f)
	want := api.Boots{Kernel: "k", Release: "6.12", Arch: "amd64", Handoff: "reboot", Why: "no kernel found in the image"}
	if err != nil || shown.Refusal != "" || shown.Boots == nil || *shown.Boots != want {
		t.Errorf("Preview = %+v, %v; want %+v", shown, err, want)
	}
	m, err := s.Operators().Flash(t.Context(), "", mac, f)
	if err != nil || m.Armed == nil || m.Armed.Boots == nil || *m.Armed.Boots != want {
		t.Errorf("Flash = %+v, %v; want it armed with %+v", m.Armed, err, want)
	}
}
