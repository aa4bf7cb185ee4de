// Package ingest takes a golden image in from wherever it is.
package ingest

import (
	"context"
	"os"

	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/golden/pack"
	"github.com/gild-dev/gild/internal/golden/source"
	"github.com/gild-dev/gild/internal/units"
)

// Pack does a job on a disk, with a progress bar for a person: one for each
// pass.
func Pack(ctx context.Context, a *app.App, disk *source.Disk, job pack.Job) (*pack.Result, error) {
	bar := a.Bar("storing "+job.Name, disk.SourceSize())
	defer func() { bar.Done() }()
	tell := func(raw, stored int64) { bar.Note(units.Bytes(raw) + " raw, " + units.Bytes(stored) + " stored") }
	job.Disk = disk
	job.Progress = func(raw, stored int64) {
		bar.Set(disk.Read())
		tell(raw, stored)
	}
	again := false
	job.Again = func(raw, stored, size int64) {
		if !again {
			bar.Done()
			bar, again = a.Bar("packing "+job.Name, size), true
		}
		bar.Set(raw)
		tell(raw, stored)
	}
	return pack.Add(ctx, job)
}

// Open opens a golden image wherever it is.
func Open(ctx context.Context, a *app.App, from string) (*source.Disk, error) {
	disk, err := source.Open(ctx, from, source.Options{Stdin: a.Stdin, HTTPClient: a.HTTPClient(), TempDir: spoolDir(a)})
	if err != nil {
		return nil, exit.Input(err)
	}
	return disk, nil
}

// spoolDir is where a qcow2 image that comes as a stream is kept meanwhile:
// beside the images, where there is room for one, or in the system's place for
// temporary files as long as there are none.
func spoolDir(a *app.App) string {
	if info, err := os.Stat(a.Data); err == nil && info.IsDir() {
		return a.Data
	}
	return ""
}
