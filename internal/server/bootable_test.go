package server

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/server/bootspec"
	"github.com/gild-dev/gild/internal/server/bootspec/bootspectest"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/machines/machinestest"
)

func TestArmingRefusesWhatNoMachineCanBoot(t *testing.T) {
	s := newMachines(t)
	st := bootspectest.Store(t, map[string]string{"plain": "", "foreign": "arm64", "good": "amd64"})
	files := &bootspec.Files{Store: st, Agent: bootspectest.Agents("amd64")}
	s.Images, s.Pins, s.Bootable = storedImages{st, slog.New(slog.DiscardHandler)}, st, files.Bootable
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
