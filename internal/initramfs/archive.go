// Package initramfs writes the archive that a machine boots: the agent as /init
// with the kernel modules chosen for it.
//
// Two archives matter. [WriteModules] makes the module archive, stored with an
// image when the image is added. [Build] joins it with the agent of the day
// into the initramfs. Both are newc cpio, sorted, all owned by root and dated
// zero: the same input gives the same bytes.
package initramfs

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/u-root/u-root/pkg/cpio"

	"github.com/gild-dev/gild/internal/initramfs/pick"
)

// maxArchive bounds an archive, decompressed, in bytes. It lies in the
// machine's memory.
const maxArchive = 768 << 20

// entries collects what goes into one archive, by name. Folders above each
// entry come by themselves: the kernel makes none.
type entries map[string]cpio.Record

// add puts a record in. A name twice is an error unless both are folders: which
// of two files a machine gets must not depend on an order.
func (e entries) add(r cpio.Record) error {
	if !fs.ValidPath(r.Name) || r.Name == "." || len(r.Name) > 1024 || strings.ContainsRune(r.Name, 0) || r.Name == cpio.Trailer {
		return fmt.Errorf("%.100q is not a name for a file of an archive", r.Name)
	}
	if r.FileSize > maxArchive {
		return fmt.Errorf("%s: larger than %d MiB", r.Name, maxArchive>>20)
	}
	for dir := path.Dir(r.Name); dir != "."; dir = path.Dir(dir) {
		above, ok := e[dir]
		if !ok {
			e[dir] = cpio.Directory(dir, 0o755)
		} else if !isDir(above) {
			return fmt.Errorf("%s is a file and the folder of %s", dir, r.Name)
		}
	}
	if old, ok := e[r.Name]; ok && (!isDir(old) || !isDir(r)) {
		return fmt.Errorf("%s is in the archive twice", r.Name)
	}
	e[r.Name] = r
	return nil
}

func isDir(r cpio.Record) bool { return r.Mode&cpio.S_IFMT == cpio.S_IFDIR }

// write writes all entries sorted by name, which puts a folder before what is
// in it, and the trailer.
func (e entries) write(w io.Writer) error {
	records := make([]cpio.Record, 0, len(e))
	for _, r := range e {
		r = cpio.MakeReproducible(r)
		// No two names share a file, so none needs a number; and one link each, as a
		// folder's true count would change with what is in it.
		r.Ino, r.NLink = 0, 1
		records = append(records, r)
	}
	slices.SortFunc(records, func(a, b cpio.Record) int { return cmp.Compare(a.Name, b.Name) })
	out := cpio.Newc.Writer(w)
	if err := cpio.WriteRecords(out, records); err != nil {
		return err
	}
	return cpio.WriteTrailer(out)
}

// WriteModules writes the module archive of a selection: newc in one zstd
// frame. Its compressed size stays within budget bytes as far as leaving out
// firmware can bring it there, the largest files first; what is left out is in
// the report, which is the selection's with that added. Modules alone beyond
// the budget are an error, found when all is written: the caller discards what
// w got.
func WriteModules(w io.Writer, sel *pick.Selection, budget int64) (pick.Report, error) {
	report := sel.Report
	firmware, err := fit(sel, budget, &report)
	if err != nil {
		return report, err
	}
	e := entries{}
	for _, f := range append(slices.Clone(sel.Modules), firmware...) {
		if err := e.add(file(f.Name, f.Data, 0o644)); err != nil {
			return report, fmt.Errorf("write module archive: %w", err)
		}
	}
	var size counter
	if err := compress(io.MultiWriter(w, &size), Zstd, e.write); err != nil {
		return report, fmt.Errorf("write module archive: %w", err)
	}
	if int64(size) > budget {
		return report, fmt.Errorf("write module archive: modules of kernel %s: %w: %d bytes, %d are allowed", sel.Release, errBudget, size,
			budget)
	}
	return report, nil
}

var errBudget = errors.New("too large even without firmware")

// fit returns the firmware for which there is room. Small files go first: that
// serves the most devices. Sizes are those of each file compressed alone, a
// little more than it takes in the archive.
func fit(sel *pick.Selection, budget int64, report *pick.Report) ([]pick.File, error) {
	if len(sel.Firmware) == 0 {
		return nil, nil // nothing to leave out: spare the seconds of the measurement
	}
	size, err := compressedSize(sel.Modules...)
	if err != nil {
		return nil, err
	}
	type sized struct {
		pick.File
		size int64
	}
	var files []sized
	for _, f := range sel.Firmware {
		n, err := compressedSize(f)
		if err != nil {
			return nil, err
		}
		files = append(files, sized{f, n})
	}
	slices.SortStableFunc(files, func(a, b sized) int { return cmp.Compare(a.size, b.size) })
	var kept []pick.File
	for _, f := range files {
		if size+f.size > budget {
			report.FirmwareLeft = append(report.FirmwareLeft, f.Name)
			report.Firmware--
			report.FirmwareBytes -= int64(len(f.Data))
			continue
		}
		size += f.size
		kept = append(kept, f.File)
	}
	slices.Sort(report.FirmwareLeft)
	return kept, nil
}

// compressedSize returns what files take in a compressed archive.
func compressedSize(files ...pick.File) (int64, error) {
	var n counter
	err := compress(&n, Zstd, func(w io.Writer) error {
		for _, f := range files {
			if _, err := w.Write(f.Data); err != nil {
				return err
			}
		}
		return nil
	})
	return int64(n), err
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

func file(name string, data []byte, perm uint64) cpio.Record {
	return cpio.StaticRecord(data, cpio.Info{Name: name, Mode: cpio.S_IFREG | perm})
}
