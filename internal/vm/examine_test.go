package vm

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// A machine without a kernel answers nothing: its registers are what there is
// to see.
func TestExamineWhatIsSilent(t *testing.T) {
	ctx, m := boot(t, Config{Disks: []Disk{{Path: bootDisk(t)}}, CPUs: 1})
	if _, _, err := m.Console.Expect(ctx, bootMessage); err != nil {
		t.Fatal(err)
	}
	var report bytes.Buffer
	m.examine(ctx, &report, 100*time.Millisecond)
	said := report.String()
	for _, want := range []string{"VM status: running", "CPU #0", "EIP=", "sysrq l: the kernel does not answer", "non-maskable interrupt"} {
		if !strings.Contains(said, want) {
			t.Errorf("Examine() does not say %q:\n%s", want, said)
		}
	}
	if n := strings.Count(said, "info registers -a"); n != 3 {
		t.Errorf("Examine() shows the registers %d times; want 3", n)
	}
}

// A kernel's answer is what comes behind the key that was sent, to where the
// console is silent again.
func TestSysRq(t *testing.T) {
	console, guest := guestConsole(t, nil)
	monitor, err := newMonitor(t.Context(), fakeQEMU(t, greeting, `{"execute":"qmp_capabilities","id":1}`, `>{"return": {}, "id": 1}`,
		`{"execute":"chardev-send-break","arguments":{"id":"serial"},"id":2}`, `>{"return": {}, "id": 2}`))
	if err != nil {
		t.Fatal(err)
	}
	go func() { fmt.Fprint(guest, "before\n") }()
	if _, _, err := console.Expect(t.Context(), "before\n"); err != nil {
		t.Fatal(err)
	}
	go answerKey(guest)
	m := &Machine{Console: console, Monitor: monitor}
	said, err := m.sysRq(t.Context(), 'w', time.Minute)
	if want := "sysrq: Show Blocked State\ntask:kworker\n"; said != want || err != nil {
		t.Errorf("sysRq() = %q, %v; want %q", said, err, want)
	}
}

// answerKey plays a kernel.
func answerKey(guest net.Conn) {
	var key [1]byte
	if n, err := guest.Read(key[:]); n == 1 && err == nil && key[0] == 'w' {
		fmt.Fprint(guest, "sysrq: Show Blocked State\n")
		fmt.Fprint(guest, "task:kworker\n")
	}
}
