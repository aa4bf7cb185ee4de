// Package flash is the engine: it streams a stored image onto a disk so that
// no cut of power, network or process, at any point, leaves a disk that boots
// half an image.
//
// The order of the writes is the promise (docs/decisions/0002-write-order.md):
//
//  1. refuse what does not fit, before anything is touched
//  2. zero LBA 0 and flush: from here on no firmware boots this disk
//  3. wipe head and tail, where old signatures live, and flush
//  4. write the data, each chunk verified before it is written
//  5. flush, read back past the page cache, hash; rewrite once what differs
//  6. write the head without LBA 0 and the backup GPT, flush, read back
//  7. write LBA 0, flush, read back: sealed
//
// Running it again after an interruption hashes what is on the disk and
// fetches only what differs. Partitions behind the image can be kept: keep.go.
package flash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/disk/partition"
	"github.com/gild-dev/gild/internal/flash/supply"
	"github.com/gild-dev/gild/internal/golden"
)

// Disk is a disk as the engine sees it; *blockdev.Device is one. Offsets and
// lengths are bytes and multiples of the sector size.
type Disk interface {
	Size() int64
	SectorSize() int
	// WriteAt returns only when the bytes have left the page cache or a later
	// Flush will carry them; it is safe for concurrent use.
	io.WriterAt
	// ZeroRange makes the range read as zeros, by whatever way the device
	// promises that for.
	ZeroRange(off, n int64) error
	// Flush empties the device's volatile cache. After an error nothing
	// written since the last good Flush may be believed.
	Flush() error
	// OpenReadBack opens the disk for reading what is on the medium, past every
	// cache of this system.
	OpenReadBack() (blockdev.ReadBack, error)
}

// Job is one image to be written to one disk.
type Job struct {
	Image  *golden.Image
	Source supply.Source
	Disk   Disk

	// Keep are partitions behind the image that stay as they are, byte for
	// byte, and in the table. Their entries must come from the disk as it is
	// now (partition.Entries).
	Keep []partition.Entry
	// Verify says how much of the disk is read back. Zero means VerifyFull.
	Verify Verify
	// Workers is how many chunks are fetched, decoded and written at a time,
	// each over its own connection. Zero means two a core, 4 to 8.
	Workers int
	// DiskPatience is how long the disk may take over one call before the
	// flash is given up with a StuckError. Zero means 5 minutes: disks that
	// recover a sector, and controllers that reset one, take most of that.
	DiskPatience time.Duration
	// Move makes the flight a live one, whose disk a system can use while it is
	// written: see Live. When all else is done, Move is called to bring the
	// system from there onto the disk itself. It lets nothing be written any
	// more, calls settle, which writes what was held back but for LBA 0, and
	// lets the system continue with the disk. The disk is sealed after that. The
	// source of a live flight is asked for ever, whatever it answers.
	Move func(ctx context.Context, settle func() error) error
	// Spare reports whether the machine has cores to spare, for a live flight
	// that is not to slow its system's start. It is asked often, by many. nil
	// means that it always has.
	Spare func() bool
	// Retry bounds how long a source may be silent. Zero fields have
	// defaults; see supply.Retry.
	Retry supply.Retry
	// Progress, when set, is called about four times a second, and once at the
	// end of each phase; never by two goroutines at a time.
	Progress func(Progress)
}

// Verify is how much of the disk is read back before it is sealed. Chunks
// are always verified before they are written, and the head always after.
type Verify int

// The kinds of read-back.
const (
	VerifyFull   Verify = iota // every byte
	VerifySample               // every hundredth chunk
	VerifyOff                  // the head only
)

var verifyNames = [...]string{VerifyFull: "full", VerifySample: "sample", VerifyOff: "off"}

func (v Verify) String() string { return verifyNames[v] }

// ParseVerify is the inverse of String.
func ParseVerify(s string) (Verify, error) {
	for v, name := range verifyNames {
		if s == name {
			return Verify(v), nil
		}
	}
	return 0, fmt.Errorf("read-back %.20q is not full, sample or off", s)
}

// Result says what a flash did. Its figures are bytes where nothing else is
// said.
type Result struct {
	Written int64 // written to the disk
	Zeroed  int64 // made zero by the disk
	Kept    int64 // already right on the disk
	Wire    int64 // fetched from the source
	// Given is who gave how much of Wire.
	Given    map[string]int64
	Repaired int // chunks that read back wrong once
	// Demanded is how often a system waited for a chunk, and Waited how long,
	// all waits added up.
	Demanded int
	Waited   time.Duration
	Phases   []PhaseTime
}

// PhaseTime is how long one phase took.
type PhaseTime struct {
	Phase Phase
	Took  time.Duration
}

// ErrUnfit is wrapped by every error that Run returns before it has touched
// the disk because disk and image do not go together.
var ErrUnfit = errors.New("the disk was not touched")

// Run writes the image. When it returns nil the disk is sealed: it holds the
// image, every byte that Verify covers was read back from the medium, and it
// boots. When it returns an error other than ErrUnfit or a StuckError the disk
// does not boot, or with Job.Keep was not yet touched, and running the same job
// again continues where this one stopped.
func Run(ctx context.Context, job Job) (Result, error) {
	f, err := New(job)
	if err != nil {
		return Result{}, err
	}
	return f.Run(ctx)
}

// Check reports whether the image can be written to the disk at all.
func Check(im *golden.Image, d Disk) error {
	switch {
	case d.SectorSize() != im.Config.Disk.SectorSize:
		return fmt.Errorf("the disk has sectors of %d bytes, the image is made for %d: use an image made for this kind of disk; %w",
			d.SectorSize(), im.Config.Disk.SectorSize, ErrUnfit)
	case d.Size() < im.Table.DiskSize:
		return fmt.Errorf("the disk has %d bytes, the image needs %d; %w", d.Size(), im.Table.DiskSize, ErrUnfit)
	case im.Table.DiskSize%int64(d.SectorSize()) != 0:
		return fmt.Errorf("the image's %d bytes are no whole number of sectors; %w", im.Table.DiskSize, ErrUnfit)
	}
	return nil
}
