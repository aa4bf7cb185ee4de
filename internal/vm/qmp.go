package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// Event is something that QEMU reported by itself, like RESET or SHUTDOWN (QEMU
// QMP reference).
type Event struct {
	Name string
	Data json.RawMessage
	Time time.Time // when it was read
}

// CommandError is QEMU's refusal of a command.
type CommandError struct {
	Command string
	Class   string
	Desc    string
}

func (e *CommandError) Error() string {
	return fmt.Sprintf("qemu refused %s: %s", e.Command, e.Desc)
}

var errMonitorClosed = errors.New("the monitor connection is closed")

// Monitor speaks QMP, QEMU's JSON control protocol. Its methods may be called
// from several goroutines.
type Monitor struct {
	conn    io.ReadWriteCloser
	writing sync.Mutex // held while one command is on its way out

	mu      sync.Mutex
	lastID  int
	waiting map[int]chan<- message
	events  []Event
	news    chan struct{} // closed and replaced at each event, closed for good at the end
	ended   error         // why the reader stopped
}

// message is any line that QEMU sends: a greeting, an answer or an event.
type message struct {
	QMP    json.RawMessage `json:"QMP"`
	ID     *int            `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
	Event string          `json:"event"`
	Data  json.RawMessage `json:"data"`
}

// newMonitor takes the connection over, waits for QEMU's greeting and leaves
// negotiation mode.
func newMonitor(ctx context.Context, conn io.ReadWriteCloser) (*Monitor, error) {
	m := &Monitor{conn: conn, waiting: make(map[int]chan<- message), news: make(chan struct{})}
	decoder := json.NewDecoder(conn)
	greeted := make(chan error, 1)
	go func() {
		var hello message
		err := decoder.Decode(&hello)
		if err == nil && hello.QMP == nil {
			err = errors.New("the first message is no greeting")
		}
		greeted <- err
		if err == nil {
			m.read(decoder)
		}
	}()
	select {
	case err := <-greeted:
		if err != nil {
			return nil, fmt.Errorf("qmp greeting: %w", err)
		}
	case <-ctx.Done():
		conn.Close()
		return nil, fmt.Errorf("wait for qmp greeting: %w", context.Cause(ctx))
	}
	return m, m.Execute(ctx, "qmp_capabilities", nil, nil)
}

func (m *Monitor) read(decoder *json.Decoder) {
	for {
		var msg message
		if err := decoder.Decode(&msg); err != nil {
			m.mu.Lock()
			m.ended = errMonitorClosed
			for id, ch := range m.waiting {
				close(ch)
				delete(m.waiting, id)
			}
			close(m.news)
			m.mu.Unlock()
			return
		}
		m.mu.Lock()
		switch {
		case msg.Event != "":
			m.events = append(m.events, Event{Name: msg.Event, Data: msg.Data, Time: time.Now()})
			close(m.news)
			m.news = make(chan struct{})
		case msg.ID != nil && m.waiting[*msg.ID] != nil:
			m.waiting[*msg.ID] <- msg
			delete(m.waiting, *msg.ID)
		}
		m.mu.Unlock()
	}
}

// Execute runs one QMP command. Its arguments are marshalled from args and its
// answer unmarshalled into result; either may be nil. A refusal is a
// [*CommandError].
func (m *Monitor) Execute(ctx context.Context, command string, args, result any) error {
	answer := make(chan message, 1)
	m.mu.Lock()
	if m.ended != nil {
		m.mu.Unlock()
		return fmt.Errorf("qmp %s: %w", command, m.ended)
	}
	m.lastID++
	id := m.lastID
	m.waiting[id] = answer
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.waiting, id)
		m.mu.Unlock()
	}()

	line, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
		ID        int    `json:"id"`
	}{command, args, id})
	if err != nil {
		return fmt.Errorf("qmp %s: %w", command, err)
	}
	m.writing.Lock()
	_, err = m.conn.Write(append(line, '\n'))
	m.writing.Unlock()
	if err != nil {
		return fmt.Errorf("qmp %s: %w", command, err)
	}

	select {
	case msg, ok := <-answer:
		switch {
		case !ok:
			return fmt.Errorf("qmp %s: %w", command, errMonitorClosed)
		case msg.Error != nil:
			return &CommandError{Command: command, Class: msg.Error.Class, Desc: msg.Error.Desc}
		case result == nil:
			return nil
		}
		if err := json.Unmarshal(msg.Return, result); err != nil {
			return fmt.Errorf("qmp %s: read the answer: %w", command, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("qmp %s: %w", command, context.Cause(ctx))
	}
}

// Events returns every event since the machine started.
func (m *Monitor) Events() []Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.events)
}

// Count returns how many events of this name QEMU has sent. Count("RESET") == 0
// proves that the guest has not restarted. Any other number only says that it
// has: firmware adds resets of its own.
func (m *Monitor) Count(name string) int {
	n := 0
	for _, e := range m.Events() {
		if e.Name == name {
			n++
		}
	}
	return n
}

// WaitEvent returns the first event of this name, past or still to come.
func (m *Monitor) WaitEvent(ctx context.Context, name string) (Event, error) {
	for seen := 0; ; {
		m.mu.Lock()
		events, news, ended := m.events, m.news, m.ended
		m.mu.Unlock()
		for ; seen < len(events); seen++ {
			if events[seen].Name == name {
				return events[seen], nil
			}
		}
		if ended != nil {
			return Event{}, fmt.Errorf("wait for event %s: %w", name, ended)
		}
		select {
		case <-news:
		case <-ctx.Done():
			return Event{}, fmt.Errorf("wait for event %s: %w", name, context.Cause(ctx))
		}
	}
}

// Status returns the run state: "running", "paused", "shutdown", ...
func (m *Monitor) Status(ctx context.Context) (string, error) {
	var answer struct {
		Status string `json:"status"`
	}
	err := m.Execute(ctx, "query-status", nil, &answer)
	return answer.Status, err
}

// Human runs a command of the monitor that people type at, for what QMP does
// not tell ("info registers -a"), and returns what it prints.
func (m *Monitor) Human(ctx context.Context, command string) (said string, err error) {
	err = m.Execute(ctx, "human-monitor-command", map[string]any{"command-line": command}, &said)
	return said, err
}

// Reset presses the reset button.
func (m *Monitor) Reset(ctx context.Context) error {
	return m.Execute(ctx, "system_reset", nil, nil)
}

// PowerDown presses the power button once: the guest is asked to shut down.
func (m *Monitor) PowerDown(ctx context.Context) error {
	return m.Execute(ctx, "system_powerdown", nil, nil)
}

// Quit ends QEMU, flushing its disk files first; [Machine.Kill] does not.
func (m *Monitor) Quit(ctx context.Context) error {
	return m.Execute(ctx, "quit", nil, nil)
}

// SetLink plugs or pulls the cable of a card: "nic0", "nic1", ...
func (m *Monitor) SetLink(ctx context.Context, nic string, up bool) error {
	return m.Execute(ctx, "set_link", map[string]any{"name": nic, "up": up}, nil)
}
