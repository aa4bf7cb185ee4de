package image

import (
	"cmp"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/ingest"
	"github.com/gild-dev/gild/internal/cli/term"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/inspect"
	"github.com/gild-dev/gild/internal/golden/pack"
	"github.com/gild-dev/gild/internal/golden/store"
	"github.com/gild-dev/gild/internal/server/fleet/specs"
	"github.com/gild-dev/gild/internal/settings"
	"github.com/gild-dev/gild/internal/units"
)

const addLong = `Store a golden image under a name.

SOURCE is a file, - for standard input, or an http(s) URL: a raw disk, qcow2,
VMDK, VHD or VHDX, optionally compressed with gzip, bzip2, xz, zstd or lz4, or a
tar, OVA or zip archive that contains one. The format is detected from the
content. Kernel, command line and modules are taken from the image; the flags
supply what cannot be found there.

Free blocks of ext2, ext3, ext4 and XFS file systems are stored as zeros, so that
deleted data is neither stored nor written to a machine; gild image export
returns zeros there as well. If a file system's block maps cannot be trusted, as
after an unclean shutdown, a note says so and everything is kept. --keep-free
stores the source byte for byte.

If it is not certain how the image's own boot loader would start it, a doubt is
reported with the alternatives and the flag that decides. --strict rejects such
an image.

With --server (or GILD_SERVER) the image is packed here, below $TMPDIR, and sent to
that server. An upload that was cut goes on when the command is run again: what
the server has, it has for a day.

--level fast, default and best trade time for size. best runs the zstd program
if it is installed, and takes minutes per gigabyte.`

// addOptions are the flags of gild image add.
type addOptions struct {
	supplied
	hash  string
	level string

	keepFree bool
	strict   bool
}

func (a commands) addCmd() *cobra.Command {
	var o addOptions
	cmd := &cobra.Command{
		Use:   "add NAME SOURCE",
		Short: "store a golden image",
		Long:  addLong,
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runAdd(cmd.Context(), args[0], args[1], o)
		},
	}
	f := cmd.Flags()
	o.register(f)
	f.StringVar(&o.hash, "hash", pack.DefaultHash.String(), "chunk hash: sha256 or blake3")
	f.StringVar(&o.level, "level", pack.Default.String(), "compression: fast, default or best")
	f.BoolVar(&o.keepFree, "keep-free", false, "store free blocks of file systems as they are, not as zeros")
	f.BoolVar(&o.strict, "strict", false, "reject an image that leaves anything in doubt")
	return cmd
}

// addedImage is `gild image add --json`.
type addedImage struct {
	Name    string   `json:"name"`
	Digest  string   `json:"digest"`
	Format  string   `json:"format"`
	Size    int64    `json:"size"`    // raw bytes
	Stored  int64    `json:"stored"`  // bytes
	Dropped int64    `json:"dropped"` // bytes of free space that were not zeros and are stored as such
	Notes   []string `json:"notes"`
	// Replaced is the digest of the image that had the name before; empty: none.
	Replaced string `json:"replaced,omitempty"`

	Doubts []golden.Doubt `json:"doubts"`
}

func (a commands) runAdd(ctx context.Context, name, from string, o addOptions) error {
	if err := store.CheckName(name); err != nil {
		return exit.Usage(err)
	}
	hash, err := golden.ParseAlgorithm(o.hash)
	if err != nil {
		return exit.Usage(err)
	}
	level, err := pack.ParseLevel(o.level)
	if err != nil {
		return exit.Usage(err)
	}
	if err := specs.CheckSettings(settings.Settings{Agent: settings.Agent{Handoff: o.handoff}}); err != nil {
		return exit.Usage(err)
	}
	given, err := o.given()
	if err != nil {
		return err
	}
	into, err := newDestination(ctx, a, name)
	if err != nil {
		return err
	}
	defer into.close()
	disk, err := ingest.Open(ctx, a.App, from)
	if err != nil {
		return err
	}
	defer disk.Close()
	result, err := ingest.Pack(ctx, a.App, disk, pack.Job{
		Store: into.store, Name: name, Given: given, Hash: hash, Level: level, KeepFree: o.keepFree, Strict: o.strict,
	})
	if err != nil {
		return err
	}
	before, err := into.deliver(ctx, name)
	if err != nil {
		return err
	}
	for _, n := range disk.Notes() {
		result.Notes = append(result.Notes, inspect.Note{What: n})
	}
	if a.JSON {
		added := addedImage{
			name, string(result.Digest), disk.Format(), result.Config.Disk.Size, result.Stored, result.Dropped,
			[]string{},
			"",
			[]golden.Doubt{},
		}
		if before != result.Digest {
			added.Replaced = string(before)
		}
		added.Doubts = append(added.Doubts, result.Config.Doubts...)
		for _, n := range result.Notes {
			added.Notes = append(added.Notes, n.String())
		}
		return a.PrintJSON(added)
	}
	fmt.Fprintf(a.Stdout, "%s is %s: %s of %s stored in %s\n",
		name, result.Digest.Short(), units.Bytes(result.Config.Disk.Size), disk.Format(), units.Bytes(result.Stored))
	switch before {
	case "":
	case result.Digest:
		fmt.Fprintln(a.Stdout, "the same as was stored under this name")
	default:
		fmt.Fprintf(a.Stdout, "it replaces %s: machines and groups that name %s get the new one, those that are armed keep the old one\n",
			before.Short(), name)
	}
	if result.Dropped > 0 {
		fmt.Fprintf(a.Stdout, "%s of free space dropped (--keep-free keeps it)\n", units.Bytes(result.Dropped))
	}
	a.printFindings(result)
	return nil
}

// printFindings says what was found in the image, and what was not.
func (a commands) printFindings(r *pack.Result) {
	way, reason := r.Config.Handoff()
	if b := r.Config.Boot; b != nil {
		fmt.Fprintf(a.Stdout, "kernel %s (%s), root on partition %d (%s)\n",
			term.Printable(b.KernelRelease), b.Arch, b.Root.Partition, cmp.Or(b.Root.FileSystem, "unknown"))
		fmt.Fprintf(a.Stdout, "command line: %s\n", term.Printable(b.Cmdline))
	}
	if m := r.Modules; m != nil {
		fmt.Fprintln(a.Stdout, m)
	}
	fmt.Fprintf(a.Stdout, "handoff: %s (%s)\n", way, reason)
	if b := r.Config.Boot; b != nil {
		fmt.Fprintf(a.Stdout, "instant handoff: %s\n", term.Printable(instantText(b.Instant)))
	}
	for _, d := range r.Config.Doubts {
		fmt.Fprintf(a.Stderr, "doubt: %s\n", term.Printable(d.String()))
	}
	for _, n := range r.Notes {
		fmt.Fprintf(a.Stderr, "note: %s\n", term.Printable(n.String()))
	}
}
