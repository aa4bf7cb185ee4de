package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// leaveToOwner gives what root has made in another user's data directory to
// that user, or a server that runs as that user could not change it. It follows
// no link out of the directory.
func leaveToOwner(data string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	dir, err := os.OpenRoot(data)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	top, err := dir.Stat(".")
	if err != nil {
		return err
	}
	uid, gid := owner(top)
	if uid == 0 {
		return nil
	}
	return fs.WalkDir(dir.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err == nil {
			err = leaveFile(dir, name, e, uid, gid)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the server has just removed it
		}
		if err != nil {
			return fmt.Errorf("giving %s to the owner of %s: %w", name, data, err)
		}
		return nil
	})
}

func leaveFile(dir *os.Root, name string, e fs.DirEntry, uid, gid int) error {
	info, err := e.Info()
	if err != nil {
		return err
	}
	if of, _ := owner(info); of != 0 {
		return nil
	}
	return dir.Lchown(name, uid, gid)
}

func owner(info fs.FileInfo) (uid, gid int) {
	st := info.Sys().(*syscall.Stat_t)
	return int(st.Uid), int(st.Gid)
}
