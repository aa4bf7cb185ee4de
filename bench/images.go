package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/gild-dev/gild/test/lab/images"
)

// served is a directory that is served to every tool, with the second version
// of the work image in the stored form of each, and the first as what a delta
// begins from.
type served struct {
	dir  string // what the HTTP server has as its root
	raw  [2]string
	gild string // data directory of gild
	// the raw disk that gild's stored form stands for: free blocks may be zeros in
	// it
	export string
	sparse string // while a stored form is made of it: the raw disk, all that is free a hole
	used   *usage
	stored map[string]int64 // bytes, by tool

	changed int64 // bytes in blocks that differ between the versions
}

// Names below the root of the server.
const (
	zstName    = "disk.raw.zst"
	usedName   = "disk.used.raw.zst"
	bmapName   = "disk.bmap"
	qcow2Name  = "disk.qcow2"
	caibxName  = "disk.caibx"
	caibxStore = "disk.castr"
	pclName    = "root.pcl.zst"
	headName   = "head.zst"
	tailName   = "tail.zst"
)

// gildImage is the name of the second version in gild's store.
const gildImage = "work"

type imageBuilder struct {
	cache  string
	gild   string   // program
	levels []string // of gild's compression, beside the default
	keep   bool     // gild's stored image, although gild may have changed
	log    *slog.Logger
}

func (b *imageBuilder) build(ctx context.Context) (*served, error) {
	im := &served{stored: make(map[string]int64)}
	var err error
	im.raw[0], im.raw[1], err = (&images.Builder{Cache: b.cache, Log: b.log}).Work(ctx)
	if err != nil {
		return nil, err
	}
	// The raw image's name has its version in it.
	top := filepath.Join(b.cache, "bench-"+strings.TrimSuffix(filepath.Base(im.raw[1]), ".raw"))
	im.dir, im.gild, im.export = filepath.Join(top, "http"), filepath.Join(top, "gild"), filepath.Join(top, "export.raw")
	if err := os.MkdirAll(im.dir, 0o755); err != nil {
		return nil, err
	}
	if im.used, err = readUsage(ctx, im.raw[1]); err != nil {
		return nil, err
	}
	im.sparse = filepath.Join(top, "sparse.raw")
	if _, err := os.Stat(filepath.Join(im.dir, bmapName)); err != nil {
		if err := im.used.copyUsed(ctx, im.raw[1], im.sparse); err != nil {
			return nil, err
		}
	}
	for _, form := range b.forms(im) {
		if err := b.make(ctx, im.dir, form); err != nil {
			return nil, err
		}
		if form.tool == "" {
			continue // a part of another's
		}
		if im.stored[form.tool], err = sizeOf(im.dir, form.counts); err != nil {
			return nil, err
		}
	}
	if im.stored["gild"], err = b.addGild(ctx, im); err != nil {
		return nil, err
	}
	for _, level := range b.levels {
		if im.stored["gild --level "+level], err = b.measureLevel(ctx, im, level); err != nil {
			return nil, err
		}
	}
	im.changed, err = changedBytes(ctx, im.raw[0], im.raw[1])
	return im, err
}

// form is a peer's stored form of the work image.
type form struct {
	tool   string
	name   string
	script string // makes $1 in the current directory out of the raw disk $2
	args   []string
	counts []string // what of it is stored bytes
}

func (b *imageBuilder) forms(im *served) []form {
	offset, size := images.WorkSpec().RootExtent()
	raw := im.raw[1]
	end := offset + size
	return []form{
		{"zstd", zstName, `zstd -q -3 -T0 "$2" -o "$1"`, []string{raw}, []string{zstName}},
		// bmaptool leaves alone what is a hole in the image, so its image has holes
		// where nothing is in use, and nowhere else: a hole in place of zeros that the
		// file system counts on would spoil a disk that was used.
		{
			"bmaptool", bmapName, `bmaptool create "$2" > "$1" && zstd -q -3 -T0 "$2" -o ` + usedName + ` && rm "$2"`,
			[]string{im.sparse},
			[]string{usedName, bmapName},
		},
		{"qemu-img", qcow2Name, `qemu-img convert -q -c -W -m 4 -O qcow2 -o compression_type=zstd "$2" "$1"`, []string{raw}, []string{qcow2Name}},
		{"casync", caibxName, `casync make --store=` + caibxStore + ` "$1" "$2" > /dev/null`, []string{raw}, []string{caibxName, caibxStore}},
		{"", headName, `head --bytes "$3" "$2" | zstd -q -3 -o "$1"`, []string{raw, fmt.Sprint(offset)}, nil},
		{"", tailName, `tail --bytes "$3" "$2" | zstd -q -3 -o "$1"`, []string{raw, fmt.Sprint(images.WorkSpec().Size - end)}, nil},
		{
			"partclone", pclName,
			`loop=$(losetup --find --show --read-only --offset "$3" --sizelimit "$4" "$2"); trap 'losetup --detach "$loop"' EXIT
			partclone.ext4 --clone --quiet --logfile /dev/null --source "$loop" --output - 2> /dev/null | zstd -q -3 -T0 -o "$1"`,
			[]string{raw, fmt.Sprint(offset), fmt.Sprint(size)},
			[]string{pclName, headName, tailName},
		},
	}
}

// make makes a stored form unless it is there. One that fails or is interrupted
// leaves nothing of its name.
func (b *imageBuilder) make(ctx context.Context, dir string, f form) (err error) {
	if _, err := os.Stat(filepath.Join(dir, f.name)); err == nil {
		return nil
	}
	b.log.Info("making a stored form", "tool", f.tool, "file", f.name)
	work, err := os.MkdirTemp(dir, ".work-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	script := "set -o errexit -o pipefail; " + f.script
	cmd := exec.CommandContext(ctx, "bash", append([]string{"-c", script, "form", f.name}, f.args...)...)
	cmd.Dir = work
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make %s: %w: %s", f.name, err, strings.TrimSpace(string(out)))
	}
	made, err := filepath.Glob(filepath.Join(work, "*"))
	if err != nil {
		return err
	}
	// What the form is called by comes last: it says that all is there.
	for _, path := range made {
		if name := filepath.Base(path); name != f.name {
			if err := errors.Join(os.RemoveAll(filepath.Join(dir, name)), os.Rename(path, filepath.Join(dir, name))); err != nil {
				return err
			}
		}
	}
	return os.Rename(filepath.Join(work, f.name), filepath.Join(dir, f.name))
}

// sizeOf adds up files and directories.
func sizeOf(dir string, names []string) (total int64, err error) {
	for _, name := range names {
		err = errors.Join(err, filepath.WalkDir(filepath.Join(dir, name), func(_ string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if err == nil {
				total += info.Size()
			}
			return err
		}))
	}
	return total, err
}

// addGild stores the image as gild does, and returns the size of its disk blob
// and chunk table.
func (b *imageBuilder) addGild(ctx context.Context, im *served) (int64, error) {
	_, err := os.Stat(im.export)
	if !b.keep || err != nil {
		b.log.Info("storing the work image", "tool", "gild")
		if err := errors.Join(os.RemoveAll(im.gild), os.RemoveAll(im.export)); err != nil {
			return 0, err
		}
		if _, err := output(ctx, b.gild, "--data", im.gild, "image", "add", gildImage, im.raw[1]); err != nil {
			return 0, err
		}
		if _, err := output(ctx, b.gild, "--data", im.gild, "image", "export", gildImage, im.export); err != nil {
			return 0, err
		}
	}
	return b.storedSize(ctx, im.gild)
}

// measureLevel stores the image once more at another level of compression, and
// forgets it.
func (b *imageBuilder) measureLevel(ctx context.Context, im *served, level string) (_ int64, err error) {
	b.log.Info("storing the work image", "tool", "gild", "level", level)
	data := im.gild + "-level"
	defer func() { err = errors.Join(err, os.RemoveAll(data)) }()
	if _, err := output(ctx, b.gild, "--data", data, "image", "add", "--level", level, gildImage, im.raw[1]); err != nil {
		return 0, err
	}
	return b.storedSize(ctx, data)
}

// storedSize is all that gild keeps of the image, bytes.
func (b *imageBuilder) storedSize(ctx context.Context, data string) (int64, error) {
	text, err := output(ctx, b.gild, "--data", data, "--json", "image", "show", gildImage)
	if err != nil {
		return 0, err
	}
	var shown struct {
		Stored int64 `json:"stored"`
	}
	err = json.Unmarshal(text, &shown)
	return shown.Stored, err
}

// output runs a program and returns what it prints; its complaints are in the
// error.
func output(ctx context.Context, name string, args ...string) ([]byte, error) {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return out, nil
}
