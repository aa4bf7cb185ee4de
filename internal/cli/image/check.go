package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/cli/complete"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/finding"
	"github.com/gild-dev/gild/internal/cli/ingest"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/bootkernel"
	"github.com/gild-dev/gild/internal/golden/fsread"
	"github.com/gild-dev/gild/internal/golden/inspect"
	"github.com/gild-dev/gild/internal/golden/leftovers"
	"github.com/gild-dev/gild/internal/golden/pack"
	"github.com/gild-dev/gild/internal/golden/source"
	"github.com/gild-dev/gild/internal/golden/store"
	"github.com/gild-dev/gild/internal/server/bootspec"
	"github.com/gild-dev/gild/internal/units"
)

const checkLong = `Check what a machine would make of an image: whether it can be flashed over the
network, how its system is entered, whether the disk starts by itself afterwards,
and what every clone would have in common. Each point comes with its remedy.

IMAGE is the name of a stored image, or whatever gild image add takes. That is
stored as gild image add would, beside the store, and removed again: both decide
by the same rules, and take the same flags for what the image does not say. Exit
code 1 means that machines cannot be flashed with it.`

func (a commands) checkCmd() *cobra.Command {
	var o supplied
	cmd := &cobra.Command{
		Use:               "check IMAGE",
		Short:             "check whether an image is fit to be flashed",
		Long:              checkLong,
		Args:              cobra.ExactArgs(1),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.runCheck(cmd.Context(), args[0], o) },
		ValidArgsFunction: complete.Stored(a.App),
	}
	o.register(cmd.Flags())
	return cmd
}

func (a commands) runCheck(ctx context.Context, from string, o supplied) error {
	c, done, err := a.candidate(ctx, from, o)
	if err != nil {
		return err
	}
	defer done()
	all := c.findings()
	if a.JSON {
		err = a.PrintJSON(all)
	} else {
		for _, f := range all {
			f.Print(&a.Console)
		}
	}
	if n := finding.Problems(all); n > 0 {
		err = errors.Join(err, fmt.Errorf("machines cannot be flashed with this image: %d of its points are problems", n))
	}
	return err
}

// candidate is an image that is looked at, in the store or in one of its own.
type candidate struct {
	name  string
	store *store.Store
	image *golden.Image
	notes []inspect.Note // that are not kept with the image; none of a stored one
	// kernels are the boot kernels of the data directory.
	kernels []*bootkernel.BootKernel
}

// candidate finds the image, or stores it for as long as it is looked at.
func (a commands) candidate(ctx context.Context, from string, o supplied) (c candidate, done func(), err error) {
	given, err := o.given()
	if err != nil {
		return c, nil, err
	}
	st, err := a.OpenStore()
	if err != nil {
		return c, nil, err
	}
	kernels, err := st.Kernels().List()
	if err != nil {
		return c, nil, err
	}
	if _, err := os.Stat(from); err != nil {
		im, err := st.Image(from) // what it was given then, it has
		if err == nil || !errors.Is(err, store.ErrNotFound) || store.CheckName(from) == nil {
			return candidate{name: from, store: st, image: im, kernels: kernels}, func() {}, err
		}
	}
	disk, err := ingest.Open(ctx, a.App, from)
	if err != nil {
		return c, nil, err
	}
	defer disk.Close()
	dir, err := os.MkdirTemp(a.spare(), "check-")
	if err != nil {
		return c, nil, fmt.Errorf("making room for the image: %w", err)
	}
	done = func() { _ = os.RemoveAll(dir) }
	if c, err = a.storeIn(ctx, dir, disk, given); err != nil {
		done()
		return c, nil, exit.Input(err)
	}
	c.kernels = kernels
	return c, done, nil
}

// storeIn stores an image in a directory.
func (a commands) storeIn(ctx context.Context, dir string, disk *source.Disk, given inspect.Given) (c candidate, err error) {
	c.name = "candidate"
	if c.store, err = store.Open(dir); err != nil {
		return c, err
	}
	result, err := ingest.Pack(ctx, a.App, disk, pack.Job{Store: c.store, Name: c.name, Given: given, Level: pack.Fast})
	if err != nil {
		return c, err
	}
	c.notes = result.Notes
	c.image, err = c.store.Image(c.name)
	return c, err
}

// spare is where there is room for an image: where the store is, if it is.
func (a commands) spare() string {
	if _, err := os.Stat(a.Data); err != nil {
		return ""
	}
	return a.Data
}

// findings are in the order in which a machine would meet them.
func (c candidate) findings() (all []finding.Finding) {
	say := func(check, level, says, remedy string) {
		all = append(all, finding.Finding{Check: check, Level: level, Says: says, Remedy: remedy})
	}
	c.disk(say)
	c.boots(say)
	c.entered(say)
	c.alone(say)
	for _, d := range c.image.Config.Doubts {
		remedy := "tell gild image add"
		if d.Settle != "" {
			remedy += ": " + d.Settle
		}
		say("in doubt", finding.Warning, d.About+": "+d.Why, remedy)
	}
	for _, n := range c.notes {
		remedy := ""
		if n.Flag != "" {
			remedy = "gild image add " + n.Flag
		}
		say("note", finding.Warning, n.What, remedy)
	}
	c.clones(say)
	return all
}

type sayer = func(check, level, says, remedy string)

// disk is what is to be written.
func (c candidate) disk(say sayer) {
	d := c.image.Config.Disk
	text := fmt.Sprintf("%s with sectors of %d bytes, %s of it data", units.Bytes(d.Size), d.SectorSize, units.Bytes(c.image.Table.DataSize()))
	if d.Scheme == "none" {
		say("disk", finding.Warning, text+", without a partition table", "a partition table lets it be recognised, kept in part, and grown")
		return
	}
	say("disk", finding.OK, fmt.Sprintf("%s, %s with %d partitions", text, d.Scheme, len(d.Partitions)), "")
}

// boots is whether a machine can be started to receive it.
func (c candidate) boots(say sayer) {
	b := c.image.Config.Boot
	if b == nil {
		c.bootKernel(say)
		return
	}
	say("kernel", finding.OK, fmt.Sprintf("%s (%s), %s", b.KernelRelease, b.Arch, cmp.Or(b.Kernel, "not from the image")), "")
	if err := (&bootspec.Files{Store: c.store}).Bootable(c.image.Digest); err != nil {
		say("network boot", finding.Problem, err.Error(), exit.HintOf(err))
		return
	}
	say("network boot", finding.OK, "machines can be started with its kernel and modules", "")
}

// bootKernel is what runs the agent for an image without a kernel of its own.
func (c candidate) bootKernel(say sayer) {
	if len(c.kernels) == 0 {
		say("kernel", finding.Problem, "none was found in the image, and no boot kernel is stored that could run the agent",
			"gild kernel add NAME FILE.deb stores one for all such images; gild image add --kernel host, or --kernel FILE with --modules DIR, "+
				"gives this image one")
		return
	}
	var names []string
	for _, k := range c.kernels {
		names = append(names, fmt.Sprintf("%s (%s, %s)", k.Name, k.Config.Release, k.Config.Arch))
	}
	say("kernel", finding.OK, "none was found in the image: the agent runs on a boot kernel, "+strings.Join(names, " or "), "")
}

// entered is how its system is started from the agent.
func (c candidate) entered(say sayer) {
	way, reason := c.image.Config.Handoff()
	say("handoff", finding.OK, way+": "+reason, "")
	b := c.image.Config.Boot
	if b == nil {
		return
	}
	if b.Init == "" {
		say("first program", finding.Warning, "the root has no /sbin/init, or could not be read",
			"gild image add --root NUMBER, if another partition is the root")
	} else {
		say("first program", finding.OK, b.Init, "")
	}
	switch b.Instant {
	case golden.InstantReady:
		say("instant handoff", finding.OK, "its system can start while its disk still arrives", "")
	default:
		level := finding.OK
		if b.Handoff == "instant" {
			level = finding.Problem
		}
		say("instant handoff", level, instantText(b.Instant), "")
	}
}

// alone is whether the disk starts by itself.
func (c candidate) alone(say sayer) {
	firmware := c.image.Config.Firmware
	if len(firmware) == 0 {
		say("boot loader", finding.Warning, "none was found: a machine runs it after the flash, and does not start from its disk",
			"install GRUB or systemd-boot in the image; for UEFI also as EFI/BOOT/BOOTX64.EFI")
		return
	}
	text := "its disk starts by itself on " + strings.Join(firmware, " and ")
	if len(firmware) == 1 {
		text += " only"
	}
	say("boot loader", finding.OK, text, "")
}

// clones is what all machines with it would share.
func (c candidate) clones(say sayer) {
	root, done, err := c.root()
	if err != nil {
		say("clones", finding.Unknown, "the root file system was not looked into: "+err.Error(), "")
		return
	}
	defer done()
	found := leftovers.Look(root)
	for _, l := range found {
		remedy := "in the image: " + l.Remedy
		if l.Identity {
			remedy += "; or give machines an identity, which replaces it"
		}
		say("clones", finding.Warning, l.Path+": "+l.Why, remedy)
	}
	if len(found) == 0 {
		say("clones", finding.OK, "nothing of the machine that it was made on is left", "")
	}
}

// root opens the root file system, until done.
func (c candidate) root() (root *fsread.FS, done func(), err error) {
	b := c.image.Config.Boot
	if b == nil {
		return nil, nil, errors.New("it is not known which one it is")
	}
	layer, err := c.image.Manifest.Layer(golden.MediaTypeDisk)
	if err != nil {
		return nil, nil, err
	}
	blob, err := c.store.OpenBlob(layer.Digest)
	if err != nil {
		return nil, nil, err
	}
	disk, err := golden.NewReader(c.image.Table, blob)
	if err == nil {
		start, size := int64(0), c.image.Config.Disk.Size
		for _, p := range c.image.Config.Disk.Partitions {
			if p.Number == b.Root.Partition {
				start, size = p.Start, p.Size
			}
		}
		root, err = fsread.Open(io.NewSectionReader(disk, start, size), size)
	}
	if err != nil {
		blob.Close()
		return nil, nil, err
	}
	return root, func() { blob.Close() }, nil
}
