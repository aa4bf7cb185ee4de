package vm

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// fakeQEMU plays QEMU's side of a conversation: lines that begin with ">" are
// sent, others must be received.
func fakeQEMU(t *testing.T, script ...string) net.Conn {
	t.Helper()
	here, qemu := net.Pipe()
	t.Cleanup(func() { here.Close(); qemu.Close() })
	go func() {
		defer qemu.Close()
		lines := bufio.NewReader(qemu)
		for _, step := range script {
			if text, send := strings.CutPrefix(step, ">"); send {
				if _, err := io.WriteString(qemu, text+"\n"); err != nil {
					return
				}
				continue
			}
			got, err := lines.ReadString('\n')
			if strings.TrimSpace(got) != step {
				t.Errorf("qemu received %q, %v; want %q", got, err, step)
				return
			}
		}
		_, _ = io.Copy(io.Discard, lines)
	}()
	return here
}

const greeting = `>{"QMP": {"version": {"qemu": {"major": 7}}, "capabilities": ["oob"]}}`

func TestMonitor(t *testing.T) {
	conn := fakeQEMU(t, greeting,
		`{"execute":"qmp_capabilities","id":1}`,
		`>{"timestamp": {"seconds": 1}, "event": "RESUME"}`,
		`>{"return": {}, "id": 1}`,
		`{"execute":"query-status","id":2}`,
		`>{"return": {"status": "running", "running": true}, "id": 2}`,
		`{"execute":"set_link","arguments":{"name":"nic0","up":false},"id":3}`,
		`>{"error": {"class": "DeviceNotFound", "desc": "Device 'nic0' not found"}, "id": 3}`,
		`{"execute":"system_reset","id":4}`,
		`>{"event": "RESET", "data": {"guest": false}}`,
		`>{"return": {}, "id": 4}`,
	)
	m, err := newMonitor(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	if status, err := m.Status(t.Context()); status != "running" || err != nil {
		t.Errorf("Status = %q, %v; want running", status, err)
	}
	var refusal *CommandError
	if err := m.SetLink(t.Context(), "nic0", false); !errors.As(err, &refusal) || refusal.Class != "DeviceNotFound" {
		t.Errorf("SetLink = %v; want QEMU's refusal", err)
	}
	if n := m.Count("RESET"); n != 0 {
		t.Errorf("Count(RESET) = %d; want 0", n)
	}
	if err := m.Reset(t.Context()); err != nil {
		t.Error(err)
	}
	event, err := m.WaitEvent(t.Context(), "RESET")
	if err != nil || string(event.Data) != `{"guest": false}` {
		t.Errorf("WaitEvent = %s, %v; want the event's data", event.Data, err)
	}
	if n := m.Count("RESET"); n != 1 {
		t.Errorf("Count(RESET) = %d; want 1", n)
	}
}

func TestMonitorDeadlines(t *testing.T) {
	conn := fakeQEMU(t, greeting, `{"execute":"qmp_capabilities","id":1}`, `>{"return": {}, "id": 1}`)
	m, err := newMonitor(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := m.Reset(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Reset of a silent QEMU = %v; want %v", err, context.DeadlineExceeded)
	}
	if _, err := m.WaitEvent(ctx, "RESET"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("WaitEvent = %v; want %v", err, context.DeadlineExceeded)
	}
}

func TestMonitorEnds(t *testing.T) {
	conn := fakeQEMU(t, greeting, `{"execute":"qmp_capabilities","id":1}`, `>{"return": {}, "id": 1}`,
		`{"execute":"query-status","id":2}`, `>not JSON`)
	m, err := newMonitor(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	waited := make(chan error)
	go func() {
		_, err := m.WaitEvent(t.Context(), "SHUTDOWN")
		waited <- err
	}()
	if _, err := m.Status(t.Context()); !errors.Is(err, errMonitorClosed) {
		t.Errorf("Status = %v; want %v", err, errMonitorClosed)
	}
	if err := <-waited; !errors.Is(err, errMonitorClosed) {
		t.Errorf("WaitEvent = %v; want %v", err, errMonitorClosed)
	}
	if err := m.Quit(t.Context()); !errors.Is(err, errMonitorClosed) {
		t.Errorf("Quit = %v; want %v", err, errMonitorClosed)
	}
}

func TestMonitorGreeting(t *testing.T) {
	for name, conn := range map[string]net.Conn{
		"no greeting": fakeQEMU(t, `>{"return": {}}`),
		"not JSON":    fakeQEMU(t, `>SSH-2.0`),
	} {
		if _, err := newMonitor(t.Context(), conn); err == nil || !strings.Contains(err.Error(), "greeting") {
			t.Errorf("%s: newMonitor = %v; want an error about the greeting", name, err)
		}
	}
}
