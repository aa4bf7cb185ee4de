package handoff

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gild-dev/gild/internal/agent/cmdline"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/flash"
)

func TestInitArgs(t *testing.T) {
	for _, test := range []struct {
		name, line string
		args, want []string
	}{
		{"BIOS", "initrd=initramfs root=/dev/sda1 ro single", []string{"single"}, []string{"single"}},
		{"UEFI", "vmlinuz initrd=initramfs root=/dev/sda1 ro", []string{"vmlinuz"}, nil},
		{"UEFI with a word of the image", "vmlinuz initrd=initramfs single", []string{"vmlinuz", "single"}, []string{"single"}},
		{"the image's own word", "single vmlinuz", []string{"single", "vmlinuz"}, []string{"single", "vmlinuz"}},
		{"none", "", nil, nil},
	} {
		got := initArgs(cmdline.Parse(test.line), test.args)
		if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: initArgs(%q, %q) (-want +got):\n%s", test.name, test.line, test.args, diff)
		}
	}
}

// The server tells no phases apart that it does not know.
func TestPhasesAreOfTheAPI(t *testing.T) {
	for p := flash.PhasePrepare; p <= flash.PhaseSeal; p++ {
		if !slices.Contains(api.Phases, p.String()) {
			t.Errorf("api.Phases has no %q", p)
		}
	}
}
