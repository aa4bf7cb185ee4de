// Package lab makes the surroundings of whole-boot tests, in networks that
// exist only for one test.
//
// Everything is gone when it is closed. Tests of several packages may use the
// lab at the same time.
package lab

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/tier"
	"github.com/gild-dev/gild/internal/vm"
	"github.com/gild-dev/gild/test/lab/host"
	"github.com/gild-dev/gild/test/lab/images"
)

// Image is the name under which a room's server has its golden image.
const Image = "golden"

// Room is what one machine needs to be flashed in a test: a network, a server
// in it that has an image, and power. All of it ends with the test.
type Room struct {
	Net    *Network
	Server *Server
	Dir    string // for disks; gone with the test
	// consoles, what the server said, what came of a failure; kept with go test
	// -artifacts
	Logs string

	Accel vm.Accel

	t        testing.TB
	consoles []string // a log of each power-on
}

// RoomFor makes a room whose server has the image of this layout and is not
// started yet.
func RoomFor(t *testing.T, spec images.Spec) *Room {
	t.Helper()
	tier.Slow(t, "whole boots take minutes")
	host.Need(t, "ip", "qemu-system-x86_64")
	image, err := images.Golden(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	r := NewRoom(t)
	r.Gild("image", "add", Image, image)
	return r
}

// NewRoom makes a room whose server has no image and is not started yet. The
// binary under test is $GILD, else bin/gild as make leaves it.
func NewRoom(t *testing.T) *Room {
	t.Helper()
	tier.Slow(t, "whole boots take minutes")
	host.Need(t, "ip", "qemu-system-x86_64")
	program, err := gildBinary()
	if err != nil {
		t.Fatal(err)
	}
	cache, err := host.Cache()
	if err != nil {
		t.Fatal(err)
	}
	choice, err := (&images.Builder{Cache: cache}).Accel(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := &Room{Net: NetworkFor(t), Dir: t.TempDir(), Logs: t.ArtifactDir(), t: t, Accel: choice.Accel}
	log, err := os.Create(filepath.Join(r.Logs, "server.log"))
	if err != nil {
		t.Fatal(err)
	}
	r.Server = &Server{Program: program, Data: filepath.Join(r.Dir, "data"), Net: r.Net, Log: log}
	t.Cleanup(func() {
		if t.Failed() {
			r.tellMachines()
		}
		if err := r.Server.Stop(); err != nil {
			t.Error(err)
		}
		log.Close()
		if t.Failed() {
			r.tellLastWords()
		}
	})
	return r
}

// tellMachines logs what the server knows of the machines of a test that has
// failed, and keeps all of their events.
func (r *Room) tellMachines() {
	ctx, cancel := context.WithTimeout(context.Background(), commandWait)
	defer cancel()
	said, err := r.Server.Gild(ctx, "machine", "ls")
	if err != nil {
		said = err.Error() // as good as any: the server may be what failed
	}
	r.t.Logf("the machines:\n%s", said)
	if said, err = r.Server.Gild(ctx, "events", "--lines", "10000"); err != nil {
		said = err.Error()
	}
	if err := os.WriteFile(filepath.Join(r.Logs, "events.log"), []byte(said), 0o644); err != nil {
		r.t.Log(err)
	}
}

// tellLastWords logs how events, the server's log and the consoles of a test
// that has failed end, those last: where only a part of a long output is kept,
// it is the end, and they say why a machine hangs.
func (r *Room) tellLastWords() {
	for _, log := range append([]string{filepath.Join(r.Logs, "events.log"), filepath.Join(r.Logs, "server.log")}, r.consoles...) {
		r.t.Logf("%s ends with:\n%s", filepath.Base(log), fileTail(log, 30))
	}
}

// gildBinary finds the program under test from any directory of the module.
func gildBinary() (string, error) {
	if program := os.Getenv("GILD"); program != "" {
		return filepath.Abs(program)
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; !host.IsThere(filepath.Join(dir, "go.mod")); dir = filepath.Dir(dir) {
		if dir == filepath.Dir(dir) {
			return "", errors.New("not inside the module: name the binary with GILD")
		}
	}
	program := filepath.Join(dir, "bin", "gild")
	if !host.IsThere(program) {
		return "", errors.New("bin/gild is not there: run make first")
	}
	return program, nil
}

// AddTiny gives the server a tiny image, under the name [Image].
func (r *Room) AddTiny(spec images.TinySpec) {
	r.t.Helper()
	cache, err := host.Cache()
	if err != nil {
		r.t.Fatal(err)
	}
	tiny, err := (&images.Builder{Cache: cache}).Tiny(r.t.Context(), spec)
	if err != nil {
		r.t.Fatal(err)
	}
	r.Gild("image", "add", "--root", "2", "--kernel", tiny.Kernel, "--modules", tiny.Modules,
		"--cmdline", "console=ttyS0,115200 quiet "+vm.Steady, Image, tiny.Disk)
}

// Serve starts the server with further arguments.
func (r *Room) Serve(args ...string) {
	r.t.Helper()
	r.Server.Args = append(args, "-v")
	if err := r.Server.Start(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// Gild runs a gild command that must succeed and returns its standard output.
func (r *Room) Gild(args ...string) string {
	r.t.Helper()
	out, err := r.Server.Gild(r.t.Context(), args...)
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// Machine is what the server knows of a machine.
func (r *Room) Machine(mac string) Machine {
	r.t.Helper()
	m, err := r.Server.Machine(r.t.Context(), mac)
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

// WaitFor waits until the server sees a machine as wanted, which the text names
// for the failure.
func (r *Room) WaitFor(mac, what string, limit time.Duration, wanted func(Machine) bool) Machine {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), limit)
	defer cancel()
	m, err := r.Server.WaitFor(ctx, mac, wanted)
	if err != nil {
		r.t.Fatalf("%s: %v", what, err)
	}
	return m
}

// Disk makes an empty disk and returns its path.
func (r *Room) Disk(name string, size int64) string {
	r.t.Helper()
	path := filepath.Join(r.Dir, name+".raw")
	f, err := os.Create(path)
	if err == nil {
		err = errors.Join(f.Truncate(size), f.Close())
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return path
}

// Tap plugs a cable in.
func (r *Room) Tap(name string) string {
	r.t.Helper()
	tap, err := r.Net.Tap(r.t.Context(), name)
	if err != nil {
		r.t.Fatal(err)
	}
	return tap
}

// fileTail returns the last lines of a file.
func fileTail(path string, lines int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(bytes.ToValidUTF8(data, []byte("?")))), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// ServerLog is what the server has said so far, over all its starts.
func (r *Room) ServerLog() string {
	r.t.Helper()
	data, err := os.ReadFile(filepath.Join(r.Logs, "server.log"))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(data)
}
