package grub

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// device finds a device by GRUB's name, with or without parentheses. It is nil
// where there is none; known is false where one may be on a machine that is not
// in an image, or be made of what is not read here.
func (r *runner) device(name string) (d *Device, known bool) {
	name = strings.TrimSuffix(strings.TrimPrefix(name, "("), ")")
	if isUnknown(name) {
		return nil, false
	}
	if _, ok := r.looped[name]; ok {
		return nil, false
	}
	disk, part, _ := strings.Cut(name, ",")
	if disk != "" && disk != "hd0" {
		for _, kind := range strings.Fields("hd fd cd usb ata ahci http tftp lvm/ lvmid/ md/ mduuid/ crypto cryptouuid/ ldm/ memdisk") {
			if strings.HasPrefix(disk, kind) {
				return nil, false
			}
		}
		return nil, true
	}
	number := strings.TrimLeft(part, "abcdefghijklmnopqrstuvwxyz")
	scheme := part[:len(part)-len(number)]
	n, err := strconv.Atoi(number)
	if part != "" && (err != nil || n < 1) {
		return nil, true
	}
	for i := range r.m.Devices {
		d := &r.m.Devices[i]
		if d.Number == n && (scheme == "" || scheme == d.Scheme) {
			return d, true
		}
	}
	return nil, true
}

// file takes the device off a path; without one it is on $root.
func (r *runner) file(name string) (f File, known bool) {
	dev := r.vars["root"]
	if rest, ok := strings.CutPrefix(name, "("); ok {
		if dev, name, ok = strings.Cut(rest, ")"); !ok {
			return File{}, true
		}
	}
	d, known := r.device(dev)
	return File{d, name}, known && !isUnknown(name)
}

// rel is a path as io/fs has it.
func rel(name string) string {
	if p := strings.TrimPrefix(path.Clean("/"+name), "/"); p != "" {
		return p
	}
	return "."
}

// stat looks a file up. known is false where the file system cannot tell.
func (r *runner) stat(f File, follow bool) (info fs.FileInfo, exists, known bool) {
	switch {
	case f.Device == nil:
		return nil, false, true
	case f.Device.FS == nil:
		return nil, false, f.Device.Kind == ""
	case !strings.HasPrefix(f.Path, "/"):
		return nil, false, true
	}
	var err error
	if follow || strings.HasSuffix(f.Path, "/") {
		info, err = fs.Stat(f.Device.FS, rel(f.Path))
	} else {
		info, err = fs.Lstat(f.Device.FS, rel(f.Path))
	}
	return info, err == nil, err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid)
}

// lookup is stat by a name that may hold a device.
func (r *runner) lookup(name string, follow bool) (info fs.FileInfo, exists, known bool) {
	f, known := r.file(name)
	if !known {
		return nil, false, false
	}
	return r.stat(f, follow)
}

// read reads a script or an environment block.
func (r *runner) read(f File) (data string, exists, known bool) {
	info, exists, known := r.stat(f, true)
	if !exists || !known || !info.Mode().IsRegular() {
		return "", false, known
	}
	file, err := f.Device.FS.Open(rel(f.Path))
	if err != nil {
		return "", false, false
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil || len(b) > maxFile || r.spend(len(b)) {
		return "", false, false
	}
	if name := f.String(); !slices.Contains(r.reads, name) {
		r.reads = append(r.reads, name)
	}
	return string(b), true, true
}

// envSignature begins an environment block (include/grub/lib/envblk.h).
const envSignature = "# GRUB Environment Block\n"

// variable is a record of an environment block.
type variable struct{ name, value string }

// parseEnv reads an environment block (lib/envblk.c). Its size is not checked
// when it is read. A backslash takes the byte behind it as it is; a record
// without a newline is none.
func parseEnv(data string) (list []variable, ok bool) {
	if !strings.HasPrefix(data, envSignature) {
		return nil, false
	}
	rest := data[len(envSignature):]
	for rest != "" {
		if rest[0] == '#' {
			i := strings.IndexByte(rest, '\n')
			if i < 0 {
				break
			}
			rest = rest[i+1:]
			continue
		}
		name, value, found := strings.Cut(rest, "=")
		if !found {
			break
		}
		var b strings.Builder
		i := 0
		for i < len(value) && value[i] != '\n' {
			if value[i] == '\\' && i+1 < len(value) {
				i++
			}
			b.WriteByte(value[i])
			i++
		}
		if i >= len(value) {
			break
		}
		list = append(list, variable{name, b.String()})
		rest = value[i+1:]
	}
	return list, true
}
