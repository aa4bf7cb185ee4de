package image

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/complete"
	"github.com/gild-dev/gild/internal/cli/term"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/units"
)

func (a commands) showCmd() *cobra.Command {
	return &cobra.Command{
		Use:               "show IMAGE",
		Short:             "show what an image contains and how it is handed off",
		Args:              cobra.ExactArgs(1),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.runShow(cmd.Context(), args[0]) },
		ValidArgsFunction: complete.Images(a.App, 1),
	}
}

// shownImage is `gild image show --json`.
type shownImage struct {
	api.Image
	Data    int64            `json:"data"` // raw bytes that are not zero
	Config  *golden.Config   `json:"config"`
	Parts   map[string]int64 `json:"parts"` // stored bytes by media type
	Handoff string           `json:"handoff"`
	Reason  string           `json:"reason"`
}

func (a commands) runShow(ctx context.Context, ref string) error {
	c, err := open(a.App)
	if err != nil {
		return err
	}
	d, err := c.details(ctx, ref)
	if err != nil {
		return err
	}
	config, err := golden.ParseConfig(d.Config)
	if err != nil {
		return err
	}
	if a.JSON {
		return a.PrintJSON(shownImage{d.Image, d.Data, config, d.Parts, d.Way, d.Why})
	}
	a.printImage(d, config)
	fmt.Fprintf(a.Stdout, "handoff      %s (%s)\n", d.Way, term.Printable(d.Why))
	if b := config.Boot; b != nil {
		fmt.Fprintf(a.Stdout, "instant      %s\n", term.Printable(instantText(b.Instant)))
	}
	return nil
}

// instantText says whether a system can be entered before its disk is complete.
func instantText(instant string) string {
	switch instant {
	case golden.InstantReady:
		return "the system can start while its disk is still being written (--handoff instant)"
	case "":
		return "unknown: stored by an older version; add the image again"
	}
	return "not possible: " + instant
}

// printImage prints everything that is known of an image but its handoff.
func (a commands) printImage(d api.ImageDetails, c *golden.Config) {
	line := a.Fact
	line("name", "%s", d.Name)
	line("digest", "%s", d.Digest)
	line("raw", "%s (%d bytes, sectors of %d)", units.Bytes(c.Disk.Size), c.Disk.Size, c.Disk.SectorSize)
	line("data", "%s in %d chunks of %s", units.Bytes(d.Data), d.DataChunks, units.Bytes(d.ChunkSize))
	line("stored", "%s", units.Bytes(d.Stored))
	line("table", "%s %s", c.Disk.Scheme, c.Disk.ID)
	for _, p := range c.Disk.Partitions {
		line(fmt.Sprintf("  %d", p.Number), "%10s at %-10s %-20s %s %s", units.Bytes(p.Size), units.Bytes(p.Start), p.TypeName,
			term.OrDash(p.FileSystem), p.FSUUID)
	}
	line("firmware", "%s", term.OrDash(strings.Join(c.Firmware, ", ")))
	if b := c.Boot; b != nil {
		line("kernel", "%s %s, %s", b.KernelRelease, b.Arch, cmp.Or(b.Kernel, "not from the image"))
		line("cmdline", "%s (from %s)", b.Cmdline, b.CmdlineFrom)
		line("root", "partition %d, %s, init %s", b.Root.Partition, b.Root.FileSystem, cmp.Or(b.Init, "not found"))
		if len(b.Undone) > 0 {
			line("  by kexec", "if one of these modules is loaded, because modprobe.d has commands for it: %s", strings.Join(b.Undone, ", "))
		}
	}
	for _, by := range c.Decided {
		line("decided", "%s: %s", by.What, by.By)
	}
	for _, doubt := range c.Doubts {
		line("doubt", "%s", doubt)
	}
	for _, part := range []struct{ name, mediaType string }{{"  kernel", golden.MediaTypeKernel}, {"  modules", golden.MediaTypeModules}} {
		if size, ok := d.Parts[part.mediaType]; ok {
			line(part.name, "%s stored", units.Bytes(size))
		}
	}
}
