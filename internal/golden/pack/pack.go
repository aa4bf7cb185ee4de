// Package pack turns a golden image into a stored image.
//
// It cuts the disk into chunks, looks into it for the way it boots, and commits
// the whole or nothing.
package pack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/inspect"
	"github.com/gild-dev/gild/internal/golden/store"
	"github.com/gild-dev/gild/internal/initramfs"
	"github.com/gild-dev/gild/internal/initramfs/pick"
)

// Job is one golden image to be stored.
type Job struct {
	Store *store.Store
	Name  string // checked with store.CheckName
	Disk  Disk
	Given inspect.Given
	Hash  golden.Algorithm // zero means DefaultHash
	Level Level
	// KeepFree stores the free blocks of file systems as they are, not as zeros.
	KeepFree bool
	// Strict refuses an image that leaves anything in doubt.
	Strict bool
	// Progress, when set, hears of every chunk, from one goroutine: raw bytes
	// read and bytes stored so far.
	Progress func(raw, stored int64)
	// Again, when set, hears the same of the second pass, which is made where
	// free space was found or the level is Best: size is that of the disk.
	Again func(raw, stored, size int64)
}

// DefaultHash is the hash of chunks where none is asked for:
// docs/decisions/0011.
const DefaultHash = golden.BLAKE3

// Result says what was stored.
type Result struct {
	Digest  golden.Digest
	Config  *golden.Config
	Stored  int64 // bytes of all parts
	Dropped int64 // bytes of free space that held data and were stored as zeros
	Notes   []inspect.Note
	Modules *pick.Report // nil when there are none
}

// InputError says that the golden image itself cannot be stored: reading it
// failed, or it is no disk. Every other error of Add is the store's.
type InputError struct{ Err error }

func (e *InputError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *InputError) Unwrap() error { return e.Err }

// Add stores the image. Nothing is visible in the store until all of it is
// there; a name that was another image's moves in the same step.
func Add(ctx context.Context, job Job) (*Result, error) {
	if err := store.CheckName(job.Name); err != nil {
		return nil, err
	}
	if job.Hash == 0 {
		job.Hash = DefaultHash
	}
	a := &assembly{store: job.Store}
	defer a.close()
	table, err := a.addDisk(ctx, job)
	if err != nil {
		return nil, err
	}
	// What is looked into is what was stored, not what was read.
	reader, err := golden.NewReader(table, a.drafts[0])
	if err != nil {
		return nil, err
	}
	found, err := inspect.Look(reader, table.DiskSize, job.Given)
	if err != nil {
		return nil, &InputError{err}
	}
	if sector := int64(found.Disk.SectorSize); table.DiskSize%sector != 0 {
		return nil, &InputError{fmt.Errorf("the image has %d bytes, which is no whole number of its sectors of %d bytes: is it cut off?",
			table.DiskSize, sector)}
	}
	report, err := a.addBoot(found)
	if err != nil {
		return nil, err
	}
	// Neither inspection nor modules heed ctx; they take seconds.
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	doubts := append(found.Doubts, a.doubts...)
	if job.Strict && len(doubts) > 0 {
		return nil, &InputError{golden.DoubtsError(doubts)}
	}
	config := &golden.Config{Disk: found.Disk, Firmware: found.Firmware, Boot: found.Boot, Decided: found.Decided, Doubts: doubts}
	config.Disk.ChunkSize, config.Disk.Hash = table.ChunkSize, table.Hash.String()
	digest, err := a.commit(ctx, job.Name, config)
	if err != nil {
		return nil, err
	}
	return &Result{
		Digest: digest, Config: config, Stored: a.stored, Dropped: a.dropped, Notes: append(found.Notes, a.notes...),
		Modules: report,
	}, nil
}

// assembly is a stored image in the making.
type assembly struct {
	store  *store.Store
	drafts []*store.Draft
	layers []golden.Descriptor
	stored int64

	dropped int64 // bytes of free space
	notes   []inspect.Note
	doubts  []golden.Doubt // of what may be dropped
}

func (a *assembly) close() {
	for _, d := range a.drafts {
		_ = d.Close()
	}
}

// add writes one part and describes it.
func (a *assembly) add(mediaType string, write func(io.Writer) error) (golden.Descriptor, error) {
	d, err := a.store.Draft()
	if err != nil {
		return golden.Descriptor{}, err
	}
	a.drafts = append(a.drafts, d)
	if err := write(d); err != nil {
		return golden.Descriptor{}, err
	}
	described := d.Descriptor(mediaType)
	a.stored += described.Size
	return described, nil
}

func (a *assembly) addLayer(mediaType string, write func(io.Writer) error) error {
	d, err := a.add(mediaType, write)
	a.layers = append(a.layers, d)
	return err
}

// describe makes a draft that is already written the next layer.
func (a *assembly) describe(mediaType string, d *store.Draft) {
	described := d.Descriptor(mediaType)
	a.layers = append(a.layers, described)
	a.stored += described.Size
}

// addDisk stores the disk in two passes: many a source can be read only once,
// and its maps are read when all of it is here. The first pass makes a draft
// of it, which becomes the part itself where the second has nothing to change.
func (a *assembly) addDisk(ctx context.Context, job Job) (*golden.Table, error) {
	first := draft{level: job.Level}
	if job.Level == Best { // for one pass that takes its time
		first.level = Fast
	}
	d, err := a.store.Draft()
	if err != nil {
		return nil, err
	}
	a.drafts = append(a.drafts, d)
	first.blob = d
	disk := &tailed{disk: job.Disk}
	first.table, err = cutter{job.Hash, first.level, maxChunks, job.Progress}.cut(ctx, disk, d)
	if err != nil {
		return nil, err
	}
	if first.table.DiskSize == 0 {
		return nil, &InputError{errors.New("the image is empty")}
	}
	reader, err := golden.NewReader(first.table, first.blob)
	if err != nil {
		return nil, err
	}
	if a.notes, err = disk.missing(reader); err != nil {
		return nil, &InputError{err}
	}
	free, err := a.lookForFree(ctx, job, reader)
	if err != nil {
		return nil, err
	}
	if len(free) == 0 && first.level == job.Level {
		a.describe(golden.MediaTypeDisk, d)
		return first.table, a.addTable(first.table)
	}
	a.drafts = a.drafts[:0]
	defer d.Close()
	table, err := a.again(ctx, job, first, free)
	if err != nil {
		return nil, err
	}
	return table, a.addTable(table)
}

// lookForFree finds what may be dropped of the draft.
func (a *assembly) lookForFree(ctx context.Context, job Job, disk *golden.Reader) (freeSpace, error) {
	if job.KeepFree {
		return nil, nil
	}
	free, notes, err := lookForFree(ctx, disk, disk.Size())
	a.notes = append(a.notes, notes...)
	return free, err
}

// again makes the second pass.
func (a *assembly) again(ctx context.Context, job Job, from draft, free freeSpace) (table *golden.Table, err error) {
	k := cutter{hash: job.Hash, level: job.Level}
	if job.Again != nil {
		k.progress = func(raw, stored int64) { job.Again(raw, stored, from.table.DiskSize) }
	}
	err = a.addLayer(golden.MediaTypeDisk, func(w io.Writer) (err error) {
		table, a.dropped, err = k.recut(ctx, from, free, w)
		return err
	})
	return table, err
}

func (a *assembly) addTable(t *golden.Table) error {
	return a.addLayer(golden.MediaTypeChunks, func(w io.Writer) error {
		_, err := t.WriteTo(w)
		return err
	})
}

// addBoot stores the kernel, and the modules that its initramfs needs.
func (a *assembly) addBoot(found *inspect.Finding) (*pick.Report, error) {
	if found.Boot == nil {
		return nil, nil
	}
	if err := a.addLayer(golden.MediaTypeKernel, writeBytes(found.Kernel)); err != nil || found.Modules == nil {
		return nil, err
	}
	var report pick.Report
	err := a.addLayer(golden.MediaTypeModules, func(w io.Writer) (err error) {
		report, err = initramfs.WriteModules(w, found.Modules, initramfs.ModulesBudget)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("storing the modules: %w", err)
	}
	return &report, nil
}

func (a *assembly) commit(ctx context.Context, name string, config *golden.Config) (golden.Digest, error) {
	p, err := config.Marshal()
	if err != nil {
		return "", fmt.Errorf("describing the image: %w", err)
	}
	if _, err := golden.ParseConfig(p); err != nil {
		return "", &InputError{err}
	}
	described, err := a.add(golden.MediaTypeConfig, writeBytes(p))
	if err != nil {
		return "", err
	}
	manifest, err := (&golden.Manifest{
		SchemaVersion: 2,
		MediaType:     golden.MediaTypeManifest,
		ArtifactType:  golden.ArtifactType,
		Config:        described,
		Layers:        a.layers,
	}).Marshal()
	if err != nil {
		return "", fmt.Errorf("describing the image: %w", err)
	}
	// A flash refuses what does not parse; better to find that here.
	if _, err := golden.ParseManifest(manifest); err != nil {
		return "", err
	}
	return a.store.Commit(ctx, name, manifest, a.drafts...)
}

func writeBytes(p []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.Copy(w, bytes.NewReader(p))
		return err
	}
}
