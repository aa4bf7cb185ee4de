package vm

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// guestConsole returns a console and the guest's end of it.
func guestConsole(t *testing.T, raw io.Writer, logs ...io.Writer) (*Console, net.Conn) {
	t.Helper()
	here, guest := net.Pipe()
	t.Cleanup(func() { here.Close(); guest.Close() })
	return newConsole(here, raw, logs...), guest
}

func TestExpect(t *testing.T) {
	var raw, log bytes.Buffer
	c, guest := guestConsole(t, &raw, &log)
	const sent = "Booting\r\n\x1b[0;32mgolden\x1b[0m login: \r\nlogin: again"
	go func() {
		// One byte a write: a match must not depend on how reads are cut.
		for i := range len(sent) {
			_, _ = guest.Write([]byte{sent[i]})
		}
		guest.Close()
	}()
	for _, want := range []struct{ found, before string }{
		{"login:", "Booting\ngolden "},
		{"login:", " \n"},
	} {
		found, before, err := c.Expect(t.Context(), "Kernel panic", "login:")
		if err != nil || found != want.found || before != want.before {
			t.Errorf("Expect = %q, %q, %v; want %q, %q", found, before, err, want.found, want.before)
		}
	}
	if _, _, err := c.Expect(t.Context(), "login:"); err == nil || !strings.Contains(err.Error(), "the machine ended") {
		t.Errorf("Expect after the end = %v; want that the machine ended", err)
	}
	<-c.done
	if raw.String() != sent {
		t.Errorf("raw console = %q; want %q", raw.String(), sent)
	}
	if want := "Booting\ngolden login: \nlogin: again"; log.String() != want || c.Transcript() != want {
		t.Errorf("log = %q, transcript = %q; want %q", log.String(), c.Transcript(), want)
	}
}

func TestExpectEarliestWins(t *testing.T) {
	c, guest := guestConsole(t, nil)
	go func() { _, _ = io.WriteString(guest, "panic, then login:") }()
	if _, _, err := c.Expect(t.Context(), "then"); err != nil {
		t.Fatal(err)
	}
	if found, _, err := c.Expect(t.Context(), "panic", "login:"); found != "login:" || err != nil {
		t.Errorf("Expect = %q, %v; want what came after the last match", found, err)
	}
}

func TestExpectDeadline(t *testing.T) {
	c, guest := guestConsole(t, nil)
	go func() {
		for i := range 40 {
			fmt.Fprintf(guest, "line %d\r\n\r\n", i)
		}
	}()
	if _, _, err := c.Expect(t.Context(), "line 39"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, _, err := c.Expect(ctx, "never", "not")
	if err == nil {
		t.Fatal("Expect of what never comes succeeded")
	}
	text := err.Error()
	if !strings.Contains(text, `"never" or "not"`) || !strings.Contains(text, "deadline") ||
		!strings.Contains(text, "line 10\n") || strings.Contains(text, "line 9\n") {
		t.Errorf("error = %q; want the texts, the cause and the last 30 lines", text)
	}
}

func TestSend(t *testing.T) {
	c, guest := guestConsole(t, nil)
	go func() { _ = c.Send("root") }()
	got := make([]byte, 5)
	if _, err := io.ReadFull(guest, got); err != nil || string(got) != "root\r" {
		t.Errorf("guest read %q, %v; want %q", got, err, "root\r")
	}
}

func TestTranscriptIsBounded(t *testing.T) {
	c, guest := guestConsole(t, nil)
	chunk := bytes.Repeat([]byte("x"), 1<<20)
	for range 2 * transcriptLimit / len(chunk) {
		if _, err := guest.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	go func() { _, _ = io.WriteString(guest, "end") }()
	if _, _, err := c.Expect(t.Context(), "end"); err != nil {
		t.Fatal("a match after a flood of text failed")
	}
	if n := len(c.Transcript()); n > transcriptLimit {
		t.Errorf("transcript holds %d bytes; want %d at most", n, transcriptLimit)
	}
}

func TestPlainText(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"colour", "a\x1b[1;31mb\x1b[0mc", "abc"},
		{"cursor", "\x1b[2J\x1b[01;01Hx\x1b7\x1b8", "x"},
		{"title, ended by BEL", "\x1b]0;root@golden\x07$ ", "$ "},
		{"title, ended by ST", "\x1b]0;root@golden\x1b\\$ ", "$ "},
		{"systemd's context string", "\x1b]3008;start=1\x1b\\ok", "ok"},
		{"string cut by a newline", "\x1b]0;lost\nfound", "\nfound"},
		{"character set", "\x1b(Bx", "x"},
		{"control characters", "a\r\n\tb\x00\x07\x08\x7fc", "a\n\tbc"},
		{"UTF-8", "größe", "größe"},
		{"escape inside a sequence", "\x1b[1\x1b[31mx", "x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p plainText
			if got := string(p.filter([]byte(tt.in))); got != tt.want {
				t.Errorf("filter(%q) = %q; want %q", tt.in, got, tt.want)
			}
		})
	}
}

func FuzzPlainText(f *testing.F) {
	f.Add([]byte("a\x1b[1;31mb\x1b]0;t\x07c\x1b(Bd"), 3)
	f.Add([]byte("\x1b\x1b]\x1b\x1b\\x"), 1)
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		var whole, parts plainText
		want := whole.filter(data)
		cut = max(0, min(cut, len(data)))
		got := append(parts.filter(data[:cut]), parts.filter(data[cut:])...)
		if !bytes.Equal(got, want) {
			t.Errorf("filter in two parts = %q; in one %q", got, want)
		}
		for _, b := range got {
			if b < 0x20 && b != '\n' && b != '\t' || b == 0x7f {
				t.Errorf("filter(%q) = %q; want no control characters", data, got)
			}
		}
	})
}
