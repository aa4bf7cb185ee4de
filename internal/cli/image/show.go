package image

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/complete"
	"github.com/gild-dev/gild/internal/cli/term"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/server/stored"
	"github.com/gild-dev/gild/internal/units"
)

func (a commands) showCmd() *cobra.Command {
	return &cobra.Command{
		Use:               "show IMAGE",
		Short:             "show what an image contains and how it is handed off",
		Args:              cobra.ExactArgs(1),
		RunE:              func(_ *cobra.Command, args []string) error { return a.runShow(args[0]) },
		ValidArgsFunction: complete.Stored(a.App),
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

func (a commands) runShow(ref string) error {
	st, err := a.OpenStore()
	if err != nil {
		return err
	}
	im, err := st.Image(ref)
	if err != nil {
		return err
	}
	way, reason := im.Config.Handoff()
	if a.JSON {
		parts := map[string]int64{}
		for _, l := range im.Manifest.Layers {
			parts[l.MediaType] = l.Size
		}
		return a.PrintJSON(shownImage{stored.Summary(ref, im), im.Table.DataSize(), im.Config, parts, way, reason})
	}
	a.printImage(ref, im)
	fmt.Fprintf(a.Stdout, "handoff      %s (%s)\n", way, reason)
	if b := im.Config.Boot; b != nil {
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
func (a commands) printImage(name string, im *golden.Image) {
	line := a.Fact
	c := im.Config
	line("name", "%s", name)
	line("digest", "%s", im.Digest)
	line("raw", "%s (%d bytes, sectors of %d)", units.Bytes(c.Disk.Size), c.Disk.Size, c.Disk.SectorSize)
	line("data", "%s in %d chunks of %s", units.Bytes(im.Table.DataSize()), dataChunks(im.Table), units.Bytes(im.Table.ChunkSize))
	line("stored", "%s", units.Bytes(stored.Summary(name, im).Stored))
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
	for _, d := range c.Decided {
		line("decided", "%s: %s", d.What, d.By)
	}
	for _, d := range c.Doubts {
		line("doubt", "%s", d)
	}
	for _, part := range []struct{ name, mediaType string }{{"  kernel", golden.MediaTypeKernel}, {"  modules", golden.MediaTypeModules}} {
		if l, err := im.Manifest.Layer(part.mediaType); err == nil {
			line(part.name, "%s stored", units.Bytes(l.Size))
		}
	}
}

func dataChunks(t *golden.Table) int {
	var n int
	for i := range t.Len() {
		if !t.Zero(i) {
			n++
		}
	}
	return n
}
