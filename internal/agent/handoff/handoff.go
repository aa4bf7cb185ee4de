// Package handoff leaves the machine to the system on its disk.
//
// Each way has a part that can fail and changes nothing (checks, loading a
// kernel), and a jump that does not return. Whoever chooses runs the first
// parts in order and records why a way was not taken.
package handoff

import (
	"context"
	"errors"
	"fmt"

	"github.com/gild-dev/gild/internal/agent/cmdline"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
)

// Way is one way to leave.
type Way interface {
	// Name is one of api.Handoffs.
	Name() string
	// Prepare does everything that can fail, and changes nothing that the next
	// way could not do without. Its error says why this way is not possible.
	// After an error nothing stays mounted; before the jump, NewRoot may be.
	Prepare(ctx context.Context, t Target) (Jump, error)
}

// Jump leaves the machine. It returns only with an error; committed says that
// nothing but a reboot is possible any more.
type Jump func() (committed bool, err error)

// Target is the system on the disk, as ways see it.
type Target struct {
	Boot       *golden.Boot // nil: the image names no system
	Partitions []golden.Partition
	Line       cmdline.Line // of the running kernel
	// Insist takes a way although the system would be left other than by a boot
	// from its disk: the operator has asked for just this way.
	Insist bool
	// Undone are loaded modules with a command in modprobe.d that nobody has run.
	Undone []string
	// Replace puts the IDs that the disk was given into a text; nil: it has the
	// image's.
	Replace func(string) string
	// Mount mounts a partition of the disk at dir.
	Mount func(ctx context.Context, number int, fsType, dir string, flags uintptr, data string) error
}

// NewRoot is where the new system is mounted.
const NewRoot = "/newroot"

// replace puts new IDs into a text.
func (t Target) replace(text string) string {
	if t.Replace == nil {
		return text
	}
	return t.Replace(text)
}

// SwitchRoot is the way that an instant handoff takes too.
var SwitchRoot Way = switchRoot{}

// ways are all of them, in the order in which they are tried. A reboot comes
// last: a finished disk boots by itself.
var ways = []Way{SwitchRoot, kexec{}, reboot{}}

// Ways returns what to try for a plan's choice, in order, with a complete disk.
func Ways(choice string) ([]Way, error) {
	switch choice {
	case api.HandoffAuto, api.HandoffInstant, "":
		return ways, nil
	}
	last := len(ways) - 1
	for i, w := range ways[:last] {
		if w.Name() == choice {
			return []Way{ways[i], ways[last]}, nil
		}
	}
	if ways[last].Name() == choice {
		return ways[last:], nil
	}
	return nil, fmt.Errorf("unknown handoff %.40q, want one of %s", choice, api.HandoffList())
}

// ErrNoKernel is of an image that has no system to enter.
var ErrNoKernel = errors.New("the image names no Linux system to enter")
