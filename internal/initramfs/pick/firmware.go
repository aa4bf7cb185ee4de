package pick

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
)

// readFirmware looks for the files that the chosen modules name and reads those
// that the image has. A compressed one is decompressed: whether the kernel
// could do it depends on its configuration.
func (p *picker) readFirmware(names []string) error {
	slices.Sort(names)
	bases := p.firmwareDirs()
	for _, name := range slices.Compact(names) {
		data, err := p.readBlob(bases, name)
		if errors.Is(err, fs.ErrNotExist) {
			p.sel.Report.FirmwareLacks = append(p.sel.Report.FirmwareLacks, name)
			continue
		}
		if err != nil {
			p.sel.Report.Broken = append(p.sel.Report.Broken, fmt.Sprintf("firmware %s: %v", name, err))
			continue
		}
		if p.total += int64(len(data)); p.total > maxTotal {
			return fmt.Errorf("more than %d MiB with its modules", maxTotal>>20)
		}
		p.sel.Firmware = append(p.sel.Firmware, File{Name: path.Join("lib/firmware", name), Data: data})
		p.sel.Report.Firmware++
		p.sel.Report.FirmwareBytes += int64(len(data))
	}
	return nil
}

// firmwareDirs returns the folders that the image has of those where the kernel
// looks, in its order (drivers/base/firmware_loader/main.c).
func (p *picker) firmwareDirs() (dirs []string) {
	for _, base := range []string{"lib/firmware", "usr/lib/firmware"} {
		for _, sub := range []string{"updates/" + p.sel.Release, "updates", p.sel.Release, "."} {
			dir := path.Join(base, sub)
			if info, err := fs.Stat(p.root, dir); err == nil && info.IsDir() {
				dirs = append(dirs, dir)
			}
		}
	}
	return dirs
}

// readBlob reads one firmware file. The name is a module's word: it stays
// inside of those folders.
func (p *picker) readBlob(dirs []string, name string) ([]byte, error) {
	if !fs.ValidPath(name) || name == "." {
		return nil, fmt.Errorf("%.100q is not a file name", name)
	}
	for _, dir := range dirs {
		for _, suffix := range []string{"", ".zst", ".xz"} {
			f, err := p.root.Open(path.Join(dir, name) + suffix)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			defer f.Close()
			if suffix == "" {
				return readAll(f)
			}
			return decompress(f)
		}
	}
	return nil, fs.ErrNotExist
}
