package vm

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
)

// sysRqs are what a Linux kernel is asked for, in this order
// (Documentation/admin-guide/sysrq.rst): where each processor is, what waits
// for the disk, the memory, every task.
const sysRqs = "lwmt"

const (
	// answerWait is how long a guest may take to begin its answer.
	answerWait = 10 * time.Second
	// answerLength bounds one answer: a long list of tasks over a serial port,
	// emulated.
	answerLength = time.Minute
	// answerQuiet is how long a console that has begun to answer is silent when the
	// answer is whole.
	answerQuiet = 2 * time.Second
)

// Examine writes down what keeps a machine that says nothing: what QEMU knows
// of it, the registers of its processors twice, a second apart, so that a loop
// can be told from a halt, and what its kernel says of itself when it is asked
// by a break on the serial port, which takes kernel.sysrq = 1 (sysctl.d(5)). A
// kernel that does not hear that either gets a non-maskable interrupt, and its
// registers are written down once more. The machine is no use afterwards.
func (m *Machine) Examine(ctx context.Context, to io.Writer) { m.examine(ctx, to, answerWait) }

func (m *Machine) examine(ctx context.Context, to io.Writer, patience time.Duration) {
	human := func(commands ...string) {
		for _, command := range commands {
			said, err := m.Monitor.Human(ctx, command)
			if err != nil {
				said = err.Error()
			}
			fmt.Fprintf(to, "(qemu) %s\n%s\n", command, strings.ReplaceAll(strings.TrimSpace(said), "\r", ""))
		}
	}
	human("info status", "info cpus", "info block", "info network", "info registers -a")
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
	}
	human("info registers -a")
	var err error
	for _, key := range sysRqs {
		var said string
		if said, err = m.sysRq(ctx, key, patience); err != nil {
			fmt.Fprintf(to, "sysrq %c: %v\n", key, err)
			break
		}
		fmt.Fprintf(to, "sysrq %c\n%s\n", key, said)
	}
	if err == nil {
		return
	}
	from := len(m.Console.Transcript())
	if err := m.Monitor.Execute(ctx, "inject-nmi", nil, nil); err != nil {
		fmt.Fprintln(to, err)
	}
	fmt.Fprintf(to, "non-maskable interrupt\n%s\n", m.Console.untilQuiet(ctx, from, patience))
	human("info registers -a")
}

// sysRq sends one magic key and returns what the console says to it.
func (m *Machine) sysRq(ctx context.Context, key rune, patience time.Duration) (string, error) {
	from := len(m.Console.Transcript())
	if err := m.Monitor.Execute(ctx, "chardev-send-break", map[string]any{"id": "serial"}, nil); err != nil {
		return "", err
	}
	if _, err := io.WriteString(m.Console.conn, string(key)); err != nil {
		return "", fmt.Errorf("type on the console: %w", err)
	}
	said := m.Console.untilQuiet(ctx, from, patience)
	if !strings.Contains(said, "sysrq") {
		return "", fmt.Errorf("the kernel does not answer; the console says %q", said)
	}
	return said, nil
}

// untilQuiet returns what a console says behind from once it has said
// something, for which it has patience, and is quiet again.
func (c *Console) untilQuiet(ctx context.Context, from int, patience time.Duration) string {
	late := time.After(answerLength)
	for {
		c.mu.Lock()
		text, news, ended := string(c.text[min(from, len(c.text)):]), c.news, c.ended
		c.mu.Unlock()
		if ended {
			return text
		}
		wait := patience
		if text != "" {
			wait = answerQuiet
		}
		select {
		case <-news:
		case <-time.After(wait):
			return text
		case <-late:
			return text
		case <-ctx.Done():
			return text
		}
	}
}
