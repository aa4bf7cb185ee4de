package images

import (
	"context"
	"fmt"
	"os"

	"github.com/gild-dev/gild/internal/vm"
)

// Accel chooses what the lab's machines run on: $GILD_VM_ACCEL ("kvm" or
// "tcg"), else KVM where the golden kernel was seen to run under it, else
// emulation.
func (b *Builder) Accel(ctx context.Context) (vm.Choice, error) {
	switch forced := vm.Accel(os.Getenv("GILD_VM_ACCEL")); forced {
	case "":
	case vm.KVM, vm.TCG:
		return vm.Choice{Accel: forced, Reason: "GILD_VM_ACCEL says so"}, nil
	default:
		return vm.Choice{}, fmt.Errorf("GILD_VM_ACCEL is %q: want %q or %q", forced, vm.KVM, vm.TCG)
	}
	kernel, _, err := b.Kernel(ctx)
	if err != nil {
		return vm.Choice{}, err
	}
	return (&vm.Prober{Kernel: kernel, CacheDir: b.Cache}).Choose(ctx)
}
