package handoff

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// maxLinks is how many symbolic links one path may go through, as in the
// kernel (MAXSYMLINKS).
const maxLinks = 40

// Resolve follows name inside root as a process whose root it is would:
// absolute links start at root, and ".." stops there. The result is a path
// from here, below root. Nobody else may be changing root.
func Resolve(root, name string) (string, error) {
	rest := strings.Split(name, "/")
	at, links := "/", 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, part)
		info, err := os.Lstat(filepath.Join(root, next))
		if err != nil {
			return "", fmt.Errorf("%s in the new root: %w", name, errors.Unwrap(err))
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("%s in the new root: more than %d symbolic links", name, maxLinks)
		}
		target, err := os.Readlink(filepath.Join(root, next))
		if err != nil {
			return "", fmt.Errorf("%s in the new root: %w", name, errors.Unwrap(err))
		}
		if path.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return filepath.Join(root, at), nil
}

// CheckInit looks whether the kernel could start name inside root: a regular
// file with an execute bit that is an ELF program for arch (as GOARCH) whose
// interpreter is there too, or a script whose interpreter is such a program.
// After the switch it would be too late to find out.
func CheckInit(root, name, arch string) error { return checkProgram(root, name, arch, 4) }

func checkProgram(root, name, arch string, depth int) error {
	if depth == 0 {
		return fmt.Errorf("%s: interpreters of interpreters", name)
	}
	file, err := Resolve(root, name)
	if err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("%s in the new root: %w", name, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("%s in the new root: %w", name, err)
	}
	if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return fmt.Errorf("%s in the new root is no executable file", name)
	}
	head := make([]byte, 256)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s in the new root: %w", name, err)
	}
	interpreter := ""
	if line, ok := strings.CutPrefix(string(head[:n]), "#!"); ok {
		line, _, _ = strings.Cut(line, "\n")
		if fields := strings.Fields(line); len(fields) > 0 {
			interpreter = fields[0]
		}
		if !path.IsAbs(interpreter) {
			return fmt.Errorf("%s in the new root is a script without an absolute interpreter", name)
		}
	} else if interpreter, err = checkELF(f, arch); err != nil {
		return fmt.Errorf("%s in the new root: %w", name, err)
	}
	if interpreter == "" {
		return nil
	}
	if err := checkProgram(root, interpreter, arch, depth-1); err != nil {
		return fmt.Errorf("%s needs %w", name, err)
	}
	return nil
}
