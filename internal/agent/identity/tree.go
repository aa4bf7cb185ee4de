package identity

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// tree is a file system that somebody else made. Every path is resolved by the
// kernel with the tree's own top as its root, so that no symbolic link of an
// image leads out of it (openat2(2), RESOLVE_IN_ROOT).
type tree struct {
	top *os.File
}

// owner is who a file belongs to, by number.
type owner struct{ uid, gid int }

var root = owner{0, 0}

func openTree(dir string) (*tree, error) {
	f, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return &tree{f}, nil
}

func (t *tree) close() { t.top.Close() }

// open resolves an absolute path inside the tree.
func (t *tree) open(name string, flags int) (*os.File, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC),
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	fd, err := unix.Openat2(int(t.top.Fd()), name, &how)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// dir opens a directory, for use with the *at calls.
func (t *tree) dir(name string) (*os.File, error) {
	return t.open(name, unix.O_PATH|unix.O_DIRECTORY)
}

// exists reports whether a path leads to something.
func (t *tree) exists(name string) bool {
	f, err := t.open(name, unix.O_PATH)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// firstOf returns the first of several paths that exists; empty: none does.
func (t *tree) firstOf(names ...string) string {
	for _, name := range names {
		if t.exists(name) {
			return name
		}
	}
	return ""
}

// maxText bounds a file of the image that is read, in bytes.
const maxText = 1 << 20

// text reads a small file of the image. One that is not there is empty.
func (t *tree) text(name string) (string, error) {
	f, err := t.open(name, unix.O_RDONLY|unix.O_NONBLOCK)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return "", errors.Join(err, fmt.Errorf("%s is no plain file", name))
	}
	p, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if len(p) > maxText {
		return "", fmt.Errorf("%s is larger than %d bytes", name, maxText)
	}
	return string(p), err
}

// mkdir makes a directory and those above it that are missing; only those it
// makes get the mode and the owner.
func (t *tree) mkdir(name string, mode uint32, who owner) error {
	if f, err := t.dir(name); err == nil {
		f.Close()
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	above, base := path.Split(strings.TrimSuffix(name, "/"))
	if err := t.mkdir(path.Clean(above), 0o755, root); err != nil {
		return err
	}
	parent, err := t.dir(path.Clean(above))
	if err != nil {
		return err
	}
	defer parent.Close()
	fd := int(parent.Fd())
	if err := unix.Mkdirat(fd, base, mode); err != nil {
		return &fs.PathError{Op: "mkdir", Path: name, Err: err}
	}
	// The mode went through the umask, the owner is that of this process.
	return errors.Join(
		unix.Fchmodat(fd, base, mode, 0),
		unix.Fchownat(fd, base, who.uid, who.gid, unix.AT_SYMLINK_NOFOLLOW),
		relabel(fd, base, parent))
}

// write makes or replaces a file, whole or not at all. A link in its place is
// replaced and not followed.
func (t *tree) write(name, content string, mode uint32, who owner) (err error) {
	above, base := path.Split(name)
	above = path.Clean(above)
	if err := t.mkdir(above, 0o755, root); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	parent, err := t.dir(above)
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	defer parent.Close()
	dir, temporary := int(parent.Fd()), ".gild-"+rand.Text()
	defer func() {
		if err != nil {
			_ = unix.Unlinkat(dir, temporary, 0)
			err = fmt.Errorf("writing %s: %w", name, err)
		}
	}()
	fd, err := unix.Openat(dir, temporary, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), name)
	_, err = f.WriteString(content)
	// The owner first: changing it takes set-user-ID bits away.
	err = errors.Join(err, unix.Fchown(fd, who.uid, who.gid), unix.Fchmod(fd, mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := relabel(dir, temporary, parent, base); err != nil {
		return err
	}
	return unix.Renameat(dir, temporary, dir, base)
}

// link makes or replaces a symbolic link.
func (t *tree) link(target, name string) error {
	above, base := path.Split(name)
	above = path.Clean(above)
	if err := t.mkdir(above, 0o755, root); err != nil {
		return err
	}
	parent, err := t.dir(above)
	if err != nil {
		return err
	}
	defer parent.Close()
	dir := int(parent.Fd())
	if err := unix.Unlinkat(dir, base, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "unlink", Path: name, Err: err}
	}
	if err := unix.Symlinkat(target, dir, base); err != nil {
		return &fs.PathError{Op: "symlink", Path: name, Err: err}
	}
	return relabel(dir, base, parent)
}

// remove unlinks a file, not what a link leads to. One that is not there is
// no error.
func (t *tree) remove(name string) error {
	above, base := path.Split(name)
	parent, err := t.dir(path.Clean(above))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			return nil
		}
		return err
	}
	defer parent.Close()
	if err := unix.Unlinkat(int(parent.Fd()), base, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "unlink", Path: name, Err: err}
	}
	return nil
}

// rename gives a file of a directory another name there.
func (t *tree) rename(dir, from, to string) error {
	parent, err := t.dir(dir)
	if err != nil {
		return err
	}
	defer parent.Close()
	fd := int(parent.Fd())
	if err := unix.Renameat(fd, from, fd, to); err != nil {
		return &fs.PathError{Op: "rename", Path: path.Join(dir, from), Err: err}
	}
	return nil
}

// list returns the names in a directory; none when there is no such one.
func (t *tree) list(name string) ([]string, error) {
	f, err := t.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(10_000)
	if errors.Is(err, io.EOF) { // it is empty
		err = nil
	}
	return names, err
}

// selinux is where SELinux keeps a file's label.
const selinux = "security.selinux"

// relabel gives a new file the label that SELinux expects there, as well as it
// can be known without the policy: that of the file it replaces, else that of
// its directory. A system without labels gets none.
func relabel(dir int, name string, parent *os.File, replaces ...string) error {
	var label [256]byte
	at := func(base string) string { return fmt.Sprintf("/proc/self/fd/%d/%s", dir, base) }
	n, err := 0, error(unix.ENODATA)
	for _, base := range replaces {
		if n, err = unix.Lgetxattr(at(base), selinux, label[:]); err == nil {
			break
		}
	}
	if err != nil {
		n, err = unix.Getxattr(fmt.Sprintf("/proc/self/fd/%d", parent.Fd()), selinux, label[:])
	}
	if err != nil || n == 0 {
		return nil //nolint:nilerr // no label to take over
	}
	if err := unix.Lsetxattr(at(name), selinux, label[:n], 0); err != nil {
		return fmt.Errorf("labelling %s: %w", name, err)
	}
	return nil
}
