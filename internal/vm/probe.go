package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gild-dev/gild/internal/wholefile"
)

// probeWait is how long a kernel may take to its panic under KVM. It needs
// about two seconds; one that hangs never gets there.
const probeWait = 20 * time.Second

// Prober decides whether guests run under KVM. A device node proves nothing: on
// some hosts, mostly virtual ones, /dev/kvm opens and a boot sector runs, but
// an ordinary kernel hangs. So it boots one.
//
// The zero value never chooses KVM. A Prober may be used from several
// goroutines.
type Prober struct {
	Kernel string // a Linux kernel for x86-64; "" means that KVM cannot be proved
	// keeps the answer until the host restarts; "" means only this Prober remembers
	// it
	CacheDir string
	Binary   string // as in Config

	mu     sync.Mutex
	answer *Choice
}

// Choice is a chosen accelerator.
type Choice struct {
	Accel  Accel  `json:"accel"`
	Reason string `json:"reason"` // for the operator: what was seen
	Boot   string `json:"boot"`   // the host's boot id, for which it holds
}

// Choose returns the accelerator to run guests with. It takes seconds once for
// each start of the host, and fails only when ctx ends: whatever else goes
// wrong is a reason for emulation.
func (p *Prober) Choose(ctx context.Context) (Choice, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.answer != nil {
		return *p.answer, nil
	}
	boot := hostBoot()
	answer, ok := p.recall(boot)
	if !ok {
		answer = p.probe(ctx)
		if ctx.Err() != nil {
			return Choice{}, fmt.Errorf("probe KVM: %w", context.Cause(ctx))
		}
		answer.Boot = boot
		p.remember(answer)
	}
	p.answer = &answer
	return answer, nil
}

func (p *Prober) probe(ctx context.Context) Choice {
	emulate := func(why string, cause error) Choice {
		// The first line only: the console of a hung guest is long and says nothing.
		first, _, _ := strings.Cut(cause.Error(), "\n")
		return Choice{Accel: TCG, Reason: why + ": " + first}
	}
	if p.Kernel == "" {
		return Choice{Accel: TCG, Reason: "there is no kernel to try KVM with"}
	}
	kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return emulate("KVM is not usable", err)
	}
	kvm.Close()

	ctx, cancel := context.WithTimeoutCause(ctx, probeWait, fmt.Errorf("nothing for %v", probeWait))
	defer cancel()
	m, err := Start(ctx, Config{
		Binary: p.Binary, Accel: KVM, Memory: 512, CPUs: 2, NoReboot: true,
		Kernel: p.Kernel, Cmdline: "console=ttyS0 panic=-1",
	})
	if err != nil {
		return emulate("QEMU does not start with KVM", err)
	}
	defer m.Close()
	defer m.Kill() // no flush to wait for; runs before Close
	// The panic for want of a root file system comes after all drivers have started
	// on all CPUs.
	for _, sign := range []string{"Linux version", "Kernel panic"} {
		if _, _, err := m.Console.Expect(ctx, sign); err != nil {
			return emulate("a kernel does not run under KVM here", err)
		}
	}
	return Choice{Accel: KVM, Reason: "a kernel ran under KVM"}
}

func (p *Prober) file() string { return filepath.Join(p.CacheDir, "kvm-probe.json") }

// recall reads an earlier answer. One made for want of a kernel does not hold
// for a Prober that has one.
func (p *Prober) recall(boot string) (Choice, bool) {
	if p.CacheDir == "" || p.Kernel == "" || boot == "" {
		return Choice{}, false
	}
	data, err := os.ReadFile(p.file())
	if err != nil {
		return Choice{}, false
	}
	var c Choice
	if json.Unmarshal(data, &c) != nil || c.Boot != boot || c.Accel != KVM && c.Accel != TCG {
		return Choice{}, false
	}
	return c, true
}

// remember keeps an answer for other processes. Failing to do so costs them
// seconds, nothing else.
func (p *Prober) remember(c Choice) {
	if p.CacheDir == "" || p.Kernel == "" || c.Boot == "" {
		return
	}
	data, err := json.Marshal(c)
	if err != nil {
		return
	}
	_ = errors.Join(os.MkdirAll(p.CacheDir, 0o755), wholefile.Bytes(p.file(), 0o644, data))
}

// hostBoot identifies the host's running kernel, "" where it cannot be told.
func hostBoot() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}
