package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// sample is what one run of a tool took.
type sample struct {
	wall float64 // seconds, the final flush included
	cpu  float64 // seconds, user and system, of all its processes
	// bytes: the sum of its processes' largest resident sets, and of what it keeps
	// in a memory file
	memory int64
	wire   int64 // bytes that came over the link
	phases map[string]float64
	verdict
}

// run measures one run of a tool. The target holds what the work begins with.
func (b *bench) run(ctx context.Context, t tool, work workName, link linkName) (s sample, err error) {
	p := b.place
	p.work = work
	if t.ram != "" {
		if p.ram, err = os.MkdirTemp("/dev/shm", "gild-bench-"); err != nil {
			return sample{}, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(p.ram)) }()
	}
	before, err := b.net.received(ctx, link)
	if err != nil {
		return sample{}, err
	}
	var said []byte
	began := time.Now()
	for _, pipeline := range t.stages(p) {
		used, err := b.pipeline(ctx, link, pipeline)
		if err != nil {
			return sample{}, fmt.Errorf("%s: %w", t.name, err)
		}
		s.cpu += used.cpu
		s.memory = max(s.memory, used.memory)
		said = used.said
	}
	if err := b.target.flush(); err != nil {
		return sample{}, fmt.Errorf("%s: final flush: %w", t.name, err)
	}
	s.wall = time.Since(began).Seconds()
	after, err := b.net.received(ctx, link)
	if err != nil {
		return sample{}, err
	}
	s.wire = after - before
	if t.ram != "" {
		info, err := os.Stat(filepath.Join(p.ram, t.ram))
		if err != nil {
			return sample{}, err
		}
		s.memory += info.Size()
	}
	if t.phases != nil {
		if s.phases, err = t.phases(said); err != nil {
			return sample{}, fmt.Errorf("%s: %w", t.name, err)
		}
	}
	return s, nil
}

// consumption is what a pipeline used. A program's own children count in its
// time and its memory.
type consumption struct {
	cpu    float64
	memory int64
	said   []byte // standard output of the last program
}

// pipeline runs programs that feed each other to their ends.
func (b *bench) pipeline(ctx context.Context, link linkName, programs []program) (c consumption, err error) {
	ctx, cancel := context.WithTimeout(ctx, b.patience)
	defer cancel()
	cmds := make([]*exec.Cmd, len(programs))
	var said bytes.Buffer
	complained := &lockedBuffer{}
	var pipes []*os.File
	for i, p := range programs {
		cmds[i] = b.net.command(ctx, link, p[0], p[1:]...)
		cmds[i].SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		cmds[i].Cancel = func() error { return syscall.Kill(-cmds[i].Process.Pid, syscall.SIGKILL) }
		cmds[i].Stderr = complained
		if i == len(programs)-1 {
			cmds[i].Stdout = &said
		}
		if i > 0 {
			// Pipes of the kernel, between the programs only.
			r, w, err := os.Pipe()
			if err != nil {
				return c, err
			}
			cmds[i-1].Stdout, cmds[i].Stdin = w, r
			pipes = append(pipes, r, w)
		}
	}
	for i, cmd := range cmds {
		if err = cmd.Start(); err != nil {
			for _, started := range cmds[:i] {
				_ = started.Cancel()
			}
			cmds = cmds[:i]
			break
		}
	}
	for _, pipe := range pipes {
		pipe.Close()
	}
	pids := make([]int, len(cmds))
	for i, cmd := range cmds {
		pids[i] = cmd.Process.Pid
	}
	memory := watchMemory(pids)
	for i, cmd := range cmds {
		if waited := cmd.Wait(); waited != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", programs[i][0], waited))
		}
		c.cpu += (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	}
	c.memory = memory.end()
	if err != nil {
		return c, fmt.Errorf("%w: %.2000s", err, strings.TrimSpace(complained.String()))
	}
	c.said = said.Bytes()
	return c, nil
}

// gildPhases reads `gild write --json`.
func gildPhases(stdout []byte) (map[string]float64, error) {
	var written struct {
		Seconds map[string]float64 `json:"seconds"`
	}
	if err := json.Unmarshal(stdout, &written); err != nil {
		return nil, fmt.Errorf("what it printed is not JSON: %w", err)
	}
	return written.Seconds, nil
}

// lockedBuffer keeps what several programs complain of.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
