package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/u-root/u-root/pkg/cpio"

	"github.com/gild-dev/gild/internal/initramfs/kmod"
)

// MaxSize is what the generic initramfs may take, in bytes. A rescue shell
// comes on top of it.
const MaxSize = 25_000_000

// AgentBudget is the part of MaxSize that the agent may take, compressed, in
// bytes.
const AgentBudget = 4 << 20

// ModulesBudget is the part of MaxSize that a module archive may take, in
// bytes.
const ModulesBudget = MaxSize - AgentBudget

// Parts is what an initramfs is made of. Only Agent is needed.
type Parts struct {
	Agent       []byte      // the program that becomes /init
	Modules     io.Reader   // an archive of [WriteModules]; nil for none
	Busybox     []byte      // a static busybox, for the rescue shell; nil for none
	Applets     []string    // names under /bin that lead to busybox
	Early       []string    // names of modules that are needed soon in any case
	Extra       []File      // whatever else, by path
	Compression Compression // empty means [Zstd]
}

// File is one extra regular file of an initramfs.
type File struct {
	Name string // path without a leading slash
	Data []byte
	Perm uint32 // permission bits; 0 means 0644
}

// Build writes an initramfs: one newc archive with one trailer, packed into one
// frame. The same parts give the same bytes.
func Build(w io.Writer, parts Parts) error {
	e, err := collect(parts)
	if err != nil {
		return fmt.Errorf("build initramfs: %w", err)
	}
	how := parts.Compression
	if how == "" {
		how = Zstd
	}
	if err := compress(w, how, e.write); err != nil {
		return fmt.Errorf("build initramfs: %w", err)
	}
	return nil
}

// collect gathers the entries of all parts.
func collect(parts Parts) (entries, error) {
	if len(parts.Agent) == 0 {
		return nil, errors.New("no agent to run as /init")
	}
	var records []cpio.Record
	for _, dir := range []string{"dev", "proc", "sys", "run", "newroot", "tmp", "etc"} {
		records = append(records, cpio.Directory(dir, 0o755))
	}
	records = append(
		records,
		// The kernel opens /dev/console for init before init can mount anything there.
		cpio.CharDev("dev/console", 0o600, 5, 1),
		cpio.CharDev("dev/null", 0o666, 1, 3),
		file("init", parts.Agent, 0o755),
	)
	if parts.Busybox != nil {
		records = append(records, file("bin/busybox", parts.Busybox, 0o755))
		for _, name := range parts.Applets {
			if name != path.Base(name) {
				return nil, fmt.Errorf("busybox applet %.100q is not a plain name", name)
			}
			if name != "busybox" { // lists itself
				records = append(records, cpio.Symlink("bin/"+name, "busybox"))
			}
		}
	}
	if parts.Early != nil {
		records = append(records, file(kmod.EarlyList, []byte(strings.Join(parts.Early, "\n")+"\n"), 0o644))
	}
	for _, f := range parts.Extra {
		if f.Perm == 0 {
			f.Perm = 0o644
		}
		if f.Perm&^0o7777 != 0 {
			return nil, fmt.Errorf("%s: %#o are not permission bits", f.Name, f.Perm)
		}
		records = append(records, file(f.Name, f.Data, uint64(f.Perm)))
	}
	e := entries{}
	for _, r := range records {
		if err := e.add(r); err != nil {
			return nil, err
		}
	}
	if parts.Modules != nil {
		if err := e.addModules(parts.Modules); err != nil {
			return nil, fmt.Errorf("module archive: %w", err)
		}
	}
	return e, nil
}

// addModules adds the records of a module archive. It may have come from a
// registry, so nothing but folders and plain files below lib/ is let in, and
// only as plain 0644 files: it cannot replace /init.
func (e entries) addModules(r io.Reader) error {
	d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(window))
	if err != nil {
		return err
	}
	defer d.Close()
	data, err := io.ReadAll(io.LimitReader(d, maxArchive+1))
	if err != nil {
		return err
	}
	if len(data) > maxArchive {
		return fmt.Errorf("larger than %d MiB", maxArchive>>20)
	}
	return e.addRecords(data)
}

// addRecords adds the records of an unpacked module archive.
func (e entries) addRecords(data []byte) error {
	if err := checkNewc(data); err != nil {
		return err
	}
	return cpio.ForEachRecord(cpio.Newc.Reader(bytes.NewReader(data)), func(r cpio.Record) error {
		switch {
		case r.Name != "lib" && !strings.HasPrefix(r.Name, "lib/"):
			return fmt.Errorf("%.100q is not below lib/", r.Name)
		case isDir(r):
			return e.add(cpio.Directory(r.Name, 0o755))
		case r.Mode&cpio.S_IFMT != cpio.S_IFREG:
			return fmt.Errorf("%.100q is neither a folder nor a file", r.Name)
		}
		r.Info = cpio.Info{Name: r.Name, Mode: cpio.S_IFREG | 0o644, FileSize: r.FileSize}
		return e.add(r)
	})
}

// checkNewc walks the headers of a newc archive up to its trailer and checks
// that every name and file lies inside of it: the reader of records allocates
// what a header says before it looks.
func checkNewc(data []byte) error {
	const header, fileSize, nameSize = 110, 54, 94 // bytes; offsets of two fields of 8 hex digits
	for rest := data; ; {
		if len(rest) < header {
			return io.ErrUnexpectedEOF
		}
		size, err := strconv.ParseUint(string(rest[fileSize:fileSize+8]), 16, 32)
		if err != nil {
			return fmt.Errorf("not a newc header: %w", err)
		}
		name, err := strconv.ParseUint(string(rest[nameSize:nameSize+8]), 16, 32)
		if err != nil {
			return fmt.Errorf("not a newc header: %w", err)
		}
		body := (header + name + 3) &^ 3
		end := (body + size + 3) &^ 3
		if name == 0 || end > uint64(len(rest)) {
			return io.ErrUnexpectedEOF
		}
		if string(rest[header:header+name]) == cpio.Trailer+"\x00" {
			return nil
		}
		rest = rest[end:]
	}
}
