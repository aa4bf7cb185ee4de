// Package write is the command that writes an image to a local disk.
package write

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/complete"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/ingest"
	"github.com/gild-dev/gild/internal/cli/term"
	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/disk/partition"
	"github.com/gild-dev/gild/internal/flash"
	"github.com/gild-dev/gild/internal/flash/supply"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/pack"
	"github.com/gild-dev/gild/internal/golden/source"
	"github.com/gild-dev/gild/internal/golden/store"
	"github.com/gild-dev/gild/internal/units"
)

// commands are run with what every command works with.
type commands struct{ *app.App }

const long = `Write an image to a local disk, card or file with the engine that flashes
machines: the same write order, every byte verified before it is written and
read back afterwards.

IMAGE is the name of a stored image, any source that gild image add accepts, or
an image in a registry or on a gild server:
oci+http://HOST:PORT/NAME[:TAG|@DIGEST], where NAME is golden/IMAGE on a gild
server. From there only the chunks that the target lacks are fetched, and no
copy is kept.
TARGET is a whole disk that is not in use, or a file. Its content is erased.`

// options are the flags of gild write.
type options struct {
	yes      bool
	readBack string
}

// Command is `gild write`.
func Command(with *app.App) *cobra.Command {
	a := commands{with}
	var o options
	cmd := &cobra.Command{
		Use:   "write IMAGE TARGET",
		Short: "write an image to a local disk, card or file",
		Long:  long,
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.run(cmd.Context(), args[0], args[1], o)
		},
		ValidArgsFunction: complete.Stored(a.App),
	}
	cmd.Flags().BoolVar(&o.yes, "yes", false, "do not ask for confirmation")
	cmd.Flags().StringVar(&o.readBack, "read-back", "full", "how much to read back: full, sample or off")
	return cmd
}

func (a commands) run(ctx context.Context, ref, target string, o options) error {
	verify, err := flash.ParseVerify(o.readBack)
	if err != nil {
		return exit.Usage(err)
	}
	im, src, cleanup, err := a.openImage(ctx, ref)
	if err != nil {
		return err
	}
	defer cleanup()
	isNew, err := makeFile(target, im.Table.DiskSize)
	if err != nil {
		return err
	}
	disk, err := blockdev.Open(target, blockdev.Options{AllowFile: true, FileSectorSize: im.Config.Disk.SectorSize})
	if err != nil {
		return exit.Refused(err)
	}
	defer disk.Close()
	if err := flash.Check(im, disk); err != nil {
		return err
	}
	if err := a.confirm(ctx, target, disk, o.yes || isNew); err != nil {
		return err
	}
	// The engine keeps a few buffers and makes hardly any garbage. At the usual
	// setting the collector would let that little grow to as much again.
	debug.SetGCPercent(25)
	result, err := a.flash(ctx, flash.Job{
		Image: im, Source: supply.Blob{Ranges: src, Table: im.Table, Name: ref}, Disk: disk, Verify: verify,
	})
	if errors.Is(err, flash.ErrMedium) {
		return exit.Hint(err, "the target is failing and does not boot now; check its cabling, or replace it")
	}
	if err != nil {
		return exit.Hint(err, "the target does not boot now; run the same command again to continue where it stopped")
	}
	// A loop device without partition scanning has none to show: EINVAL.
	if err := showPartitions(ctx, disk); err != nil && !errors.Is(err, unix.EINVAL) {
		fmt.Fprintf(a.Stderr, "note: the kernel did not re-read the partition table (%v); unplug the disk or run partprobe\n", err)
	}
	return a.printWritten(target, im, result)
}

// showPartitions makes the kernel show what was written.
func showPartitions(ctx context.Context, disk *blockdev.Device) error {
	table, err := partition.Read(disk, disk.Size(), disk.SectorSize())
	if err != nil {
		return err
	}
	return disk.RereadPartitions(ctx, table.Partitions)
}

// openImage opens what the operator named: an image of a registry, one of this
// store, or anything that can be stored. cleanup closes it.
func (a commands) openImage(ctx context.Context, ref string) (im *golden.Image, src supply.Ranges, cleanup func(), err error) {
	if isRemote(ref) {
		im, src, err = a.openRemote(ctx, ref)
		return im, src, func() {}, err
	}
	st, im, remove, err := a.imageOrSource(ctx, ref)
	if err != nil {
		return nil, nil, nil, err
	}
	blob, err := st.OpenBlob(im.Disk.Digest)
	if err != nil {
		remove()
		return nil, nil, nil, err
	}
	return im, blobSource{blob}, func() { blob.Close(); remove() }, nil
}

// imageOrSource finds a stored image of that name, or stores the source for
// as long as the command runs. cleanup removes that again.
func (a commands) imageOrSource(ctx context.Context, ref string) (st *store.Store, im *golden.Image, cleanup func(), err error) {
	nothing := func() {}
	if st, err = a.OpenStore(); err != nil {
		return nil, nil, nil, err
	}
	im, err = st.Image(ref)
	if err == nil {
		return st, im, nothing, nil
	}
	if !errors.Is(err, store.ErrNotFound) {
		return nil, nil, nil, err
	}
	disk, err := ingest.Open(ctx, a.App, ref)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil, fmt.Errorf("%.120q is neither a stored image (see `gild image ls`) nor a file: %w", ref, store.ErrNotFound)
	}
	if err != nil {
		return nil, nil, nil, err
	}
	defer disk.Close()
	dir, err := os.MkdirTemp("", "gild-write-")
	if err != nil {
		return nil, nil, nil, fmt.Errorf("making room for the image: %w", err)
	}
	remove := func() { _ = os.RemoveAll(dir) }
	st, im, err = a.storeIn(ctx, dir, disk)
	if err != nil {
		remove()
		return nil, nil, nil, err
	}
	return st, im, remove, nil
}

// storeIn makes a store of one image, which is thrown away after: the disk as
// it is, packed in a hurry.
func (a commands) storeIn(ctx context.Context, dir string, disk *source.Disk) (*store.Store, *golden.Image, error) {
	st, err := store.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	if _, err = ingest.Pack(ctx, a.App, disk, pack.Job{Store: st, Name: "source", Level: pack.Fast, KeepFree: true}); err != nil {
		return nil, nil, err
	}
	im, err := st.Image("source")
	return st, im, err
}

// makeFile makes the target when it does not exist: a file of the image's
// size. Below /dev nothing is made: a mistyped disk would fill the memory.
func makeFile(target string, size int64) (isNew bool, err error) {
	_, err = os.Stat(target)
	if !errors.Is(err, fs.ErrNotExist) {
		return false, nil // there, or Open says what is wrong with it
	}
	abs, err := filepath.Abs(target)
	if err != nil {
		return false, fmt.Errorf("making %s: %w", target, err)
	}
	if strings.HasPrefix(abs, "/dev/") {
		return false, fmt.Errorf("there is no disk %s: %w", target, fs.ErrNotExist)
	}
	f, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if err != nil {
		return false, fmt.Errorf("making %s: %w", target, err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return false, fmt.Errorf("making %s: %w", target, err)
	}
	return true, nil
}

// confirm shows what is about to be lost and asks. A file in which nothing was
// ever written is not worth a question.
func (a commands) confirm(ctx context.Context, target string, disk *blockdev.Device, yes bool) error {
	if yes || isEmptyFile(target) {
		return nil
	}
	holds := blockdev.Signatures(disk, disk.Size())
	fmt.Fprintf(a.Stderr, "%s: %s\n", target, describeDisk(target, disk))
	fmt.Fprintf(a.Stderr, "it holds: %s\n", cmp.Or(term.Printable(strings.Join(holds, ", ")), "no known data"))
	if !a.Interactive() {
		return exit.Refused(exit.Hint(errors.New("not a terminal, so nothing was written"), "add --yes to skip the prompt"))
	}
	fmt.Fprint(a.Stderr, "All of it will be erased. Type yes to continue: ")
	if answer := a.Ask(ctx); answer != "yes" {
		return exit.Refused(errors.New("not confirmed; nothing was written"))
	}
	return nil
}

// isEmptyFile reports a regular file that is one hole from end to end.
func isEmptyFile(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	_, err = f.Seek(0, unix.SEEK_DATA)
	return errors.Is(err, unix.ENXIO)
}

func describeDisk(target string, disk *blockdev.Device) string {
	text := units.Disk(disk.Size())
	real, err := filepath.EvalSymlinks(target)
	if err != nil {
		real = target
	}
	disks, err := blockdev.List(blockdev.ListOptions{Loop: true})
	if err != nil {
		return text
	}
	for _, d := range disks {
		if d.Path == real {
			return term.Printable(strings.Join(strings.Fields(text+" "+d.Transport+" "+d.Vendor+" "+d.Model+" "+d.Serial), " "))
		}
	}
	return text
}

// flash runs the engine with a bar for each phase.
func (a commands) flash(ctx context.Context, job flash.Job) (flash.Result, error) {
	var current *term.Bar
	last := flash.Phase(-1)
	job.Progress = func(p flash.Progress) {
		if p.Total == 0 {
			return
		}
		if p.Phase != last {
			if current != nil {
				current.Done()
			}
			last, current = p.Phase, a.Bar(p.Phase.String(), p.Total)
		}
		current.Set(p.Done)
		if p.Unanswered > 0 {
			current.Note(fmt.Sprintf("the disk has not answered for %.0f s", p.Unanswered.Seconds()))
		}
	}
	result, err := flash.Run(ctx, job)
	if current != nil {
		current.Done()
	}
	return result, err
}

// written is `gild write --json`.
type written struct {
	Target   string             `json:"target"`
	Image    string             `json:"image"`
	Written  int64              `json:"written"`
	Zeroed   int64              `json:"zeroed"`
	Kept     int64              `json:"kept"`
	Repaired int                `json:"repaired"`
	Seconds  map[string]float64 `json:"seconds"`
}

func (a commands) printWritten(target string, im *golden.Image, r flash.Result) error {
	w := written{target, string(im.Digest), r.Written, r.Zeroed, r.Kept, r.Repaired, map[string]float64{}}
	var total time.Duration
	for _, p := range r.Phases {
		w.Seconds[p.Phase.String()] = p.Took.Seconds()
		total += p.Took
	}
	if a.JSON {
		return a.PrintJSON(w)
	}
	fmt.Fprintf(a.Stdout, "%s holds the image: %s written, %s zeroed, %s unchanged, in %.1f s\n",
		target, units.Bytes(w.Written), units.Bytes(w.Zeroed), units.Bytes(w.Kept), total.Seconds())
	return nil
}

// blobSource gives ranges of a blob in the store.
type blobSource struct{ blob io.ReaderAt }

func (s blobSource) ReadRange(_ context.Context, off, length int64) (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(s.blob, off, length)), nil
}
