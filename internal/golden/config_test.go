package golden

import (
	"strings"
	"testing"
)

// What an operator is told beforehand must be what the agent will do: see
// prepareSwitch and prepareKexec of the agent.
func TestHandoff(t *testing.T) {
	boot := func(change func(*Boot)) *Boot {
		b := &Boot{Kernel: "/boot/vmlinuz", KernelRelease: "6.1", Init: "/sbin/init", Root: Root{Partition: 1, FileSystem: "ext4"}}
		change(b)
		return b
	}
	for _, tt := range []struct {
		name, way, reason string
		boot              *Boot
	}{
		{"usual", "switch_root", "the image's own", boot(func(*Boot) {})},
		{"no kernel", "reboot", "no kernel", nil},
		{"root on the whole disk", "switch_root", "the image's own", boot(func(b *Boot) { b.Root.Partition = 0 })},
		{"root that cannot be mounted", "reboot", "LVM2", boot(func(b *Boot) { b.Root.FileSystem = "LVM2" })},
		{"root of which nothing is known", "reboot", "unknown", boot(func(b *Boot) { b.Root.FileSystem = "" })},
		{"kernel from elsewhere", "switch_root", "reboot otherwise", boot(func(b *Boot) { b.Kernel = "" })},
		{"no init", "kexec", "no first program", boot(func(b *Boot) { b.Init = "" })},
		{"a root that an initrd makes", "kexec", "mount /usr", boot(func(b *Boot) { b.RootWork = []string{"mount /usr"} })},
		{
			"a root that an initrd makes, kernel from elsewhere", "reboot", "ostree=/x",
			boot(func(b *Boot) { b.Kernel, b.Cmdline = "", "ostree=/x" }),
		},
		{"no init, kernel from elsewhere", "reboot", "neither", boot(func(b *Boot) { b.Init, b.Kernel = "", "" })},
	} {
		way, reason := (&Config{Boot: tt.boot}).Handoff()
		if way != tt.way || !strings.Contains(reason, tt.reason) {
			t.Errorf("%s: Handoff() = %s, %q; want %s, %q in it", tt.name, way, reason, tt.way, tt.reason)
		}
	}
}
