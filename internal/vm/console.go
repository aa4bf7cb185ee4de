package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
)

// transcriptLimit bounds the text kept of one console, bytes: a guest that
// prints in a loop must not take the host's memory. The oldest half goes first.
const transcriptLimit = 8 << 20

// failureLines is how much of the console a failed Expect shows.
const failureLines = 30

var errConsoleEnded = errors.New("the machine ended")

// Console is a machine's first serial port. Searches see plain text: escape
// sequences are gone.
type Console struct {
	conn io.ReadWriteCloser
	logs []io.Writer // receive plain text
	raw  io.Writer   // receives what the guest sent; may be nil

	mu    sync.Mutex
	text  []byte
	taken int           // text[:taken] has been matched by Expect
	news  chan struct{} // closed and replaced when text grows, closed for good at the end
	ended bool
	done  chan struct{}
}

func newConsole(conn io.ReadWriteCloser, raw io.Writer, logs ...io.Writer) *Console {
	c := &Console{conn: conn, raw: raw, logs: logs, news: make(chan struct{}), done: make(chan struct{})}
	go c.read()
	return c
}

func (c *Console) read() {
	defer close(c.done)
	var plain plainText
	buf := make([]byte, 4096)
	for {
		n, err := c.conn.Read(buf)
		if n > 0 {
			if c.raw != nil {
				_, _ = c.raw.Write(buf[:n])
			}
			c.add(plain.filter(buf[:n]))
		}
		if err != nil {
			c.mu.Lock()
			c.ended = true
			close(c.news)
			c.mu.Unlock()
			return
		}
	}
}

func (c *Console) add(text []byte) {
	if len(text) == 0 {
		return
	}
	for _, w := range c.logs {
		_, _ = w.Write(text)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text = append(c.text, text...)
	if len(c.text) > transcriptLimit {
		cut := len(c.text) - transcriptLimit/2
		c.text = slices.Delete(c.text, 0, cut)
		c.taken = max(0, c.taken-cut)
	}
	close(c.news)
	c.news = make(chan struct{})
}

// Expect waits until the console has shown one of the texts since the last
// match, and returns that text and what came before it. Of several, the one
// that starts first in the output wins. The deadline is ctx's; the error on a
// miss ends with the console's last lines.
//
// Name the ways to fail among the texts ("Kernel panic"), so that a test need
// not wait for its deadline.
func (c *Console) Expect(ctx context.Context, texts ...string) (found, before string, err error) {
	for {
		c.mu.Lock()
		found, before, ok := c.match(texts)
		news, ended := c.news, c.ended
		c.mu.Unlock()
		if ok {
			return found, before, nil
		}
		if ended {
			return "", "", c.missed(texts, errConsoleEnded)
		}
		select {
		case <-news:
		case <-ctx.Done():
			return "", "", c.missed(texts, context.Cause(ctx))
		}
	}
}

// match consumes the text up to the end of the first match.
func (c *Console) match(texts []string) (found, before string, ok bool) {
	rest := c.text[c.taken:]
	first := -1
	for _, text := range texts {
		if i := bytes.Index(rest, []byte(text)); i >= 0 && (first < 0 || i < first) {
			first, found = i, text
		}
	}
	if first < 0 {
		return "", "", false
	}
	c.taken += first + len(found)
	return found, string(rest[:first]), true
}

func (c *Console) missed(texts []string, cause error) error {
	quoted := make([]string, len(texts))
	for i, text := range texts {
		quoted[i] = fmt.Sprintf("%q", text)
	}
	return fmt.Errorf("expect %s on the console: %w; its last lines:\n%s",
		strings.Join(quoted, " or "), cause, lastLines(c.Transcript(), failureLines))
}

// Send types a line: text and the return key.
func (c *Console) Send(line string) error {
	if _, err := io.WriteString(c.conn, line+"\r"); err != nil {
		return fmt.Errorf("type on the console: %w", err)
	}
	return nil
}

// Transcript returns the console's text so far, or its last 4 MiB at least.
func (c *Console) Transcript() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.text)
}

// lastLines returns the last n lines of text that hold anything.
func lastLines(text string, n int) string {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
	lines = slices.DeleteFunc(lines, func(line string) bool { return strings.TrimSpace(line) == "" })
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
