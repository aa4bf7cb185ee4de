package flash

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gild-dev/gild/internal/disk/blockdev"
)

// seal writes what was held back: first all but LBA 0, then, once that is on
// the medium, LBA 0. What is behind the image, its backup table, comes after
// what is in it: see keep.go.
func (f *Flight) seal(ctx context.Context) error {
	if f.job.Move != nil {
		return f.sealLive(ctx)
	}
	extents, err := f.layout.final()
	if err != nil {
		return err
	}
	// Sorted by offset, so the first extent begins with LBA 0.
	gate, rest := cutGate(extents, f.job.Disk.SectorSize())
	parts := [][]blockdev.Extent{rest}
	if len(f.job.Keep) > 0 {
		behind := slices.IndexFunc(rest, func(e blockdev.Extent) bool { return e.Offset >= f.table.DiskSize })
		parts = [][]blockdev.Extent{rest[:behind], rest[behind:]}
	}
	body := func() error {
		for _, p := range parts {
			if err := f.medium.writeProven(ctx, p, func() error { return f.prover.proveAll(ctx) }); err != nil {
				return err
			}
		}
		return nil
	}
	if err := body(); err != nil {
		return fmt.Errorf("writing head and backup table: %w", err)
	}
	err = f.medium.writeProven(ctx, gate, func() error {
		if err := f.medium.closeGate(ctx); err != nil {
			return err
		}
		if err := f.prover.proveAll(ctx); err != nil {
			return err
		}
		return body()
	})
	if err != nil {
		// Whatever LBA 0 holds now, the flash is not known to be good.
		return fmt.Errorf("writing LBA 0: %w", errors.Join(err, f.medium.closeGate(ctx)))
	}
	return nil
}
