package etcd

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
)

// damaged says that a state is there and cannot be used: the way back is a
// backup. What the system refuses is no damage.
func damaged(dir string, err error) error {
	for _, refused := range []error{
		fs.ErrPermission, syscall.EROFS, syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM,
	} {
		if errors.Is(err, refused) {
			return NewDirError(dir, err)
		}
	}
	etcd := filepath.Join(dir, "etcd")
	return &DirError{
		Dir: dir, What: "holds a state that is damaged",
		Help: "move " + etcd +
			" away and bring back a backup: gild state restore FILE. Without a backup a new start begins with no machines: each boots its " +
			"local disk until it is armed again",
		Err: err,
	}
}

// inspect looks for damage that etcd would only meet as a panic or a fault in
// one of its goroutines, which would end the process. A database that can be
// made anew from the log is put aside.
func inspect(dir string, log *slog.Logger) error {
	member := filepath.Join(dir, "etcd", "member")
	if info, err := os.Stat(member); errors.Is(err, fs.ErrNotExist) {
		return nil // a first start
	} else if err != nil {
		return NewDirError(dir, err)
	} else if !info.IsDir() {
		return damaged(dir, fmt.Errorf("%s is no directory", member))
	}
	wals, err := filepath.Glob(filepath.Join(member, "wal", "*.wal"))
	if err != nil {
		return NewDirError(dir, err)
	}
	db := filepath.Join(member, "snap", "db")
	keys, err := readThrough(db)
	switch {
	case err != nil && len(wals) > 0 && wholeLog(member):
		log.Warn("the database of the state is damaged and is made anew from its log", "kept", db+".damaged", "err", err)
		if err := os.Rename(db, db+".damaged"); err != nil {
			return NewDirError(dir, err)
		}
	case err != nil:
		return damaged(dir, fmt.Errorf("its database: %w", err))
	case len(wals) == 0 && keys > 0:
		return damaged(dir, errors.New("its write-ahead log is missing"))
	}
	return nil
}

// wholeLog reports whether the log goes back to the beginning, so that the
// database is no more than what it says.
func wholeLog(member string) bool {
	snaps, _ := filepath.Glob(filepath.Join(member, "snap", "*.snap"))
	_, err := os.Stat(filepath.Join(member, "wal", fmt.Sprintf("%016x-%016x.wal", 0, 0)))
	return len(snaps) == 0 && err == nil
}

// keyBucket is where etcd keeps the keys and their past.
const keyBucket = "key"

// readThrough reads every page of a database that is in use and counts the
// keys in it. One that is not there, or empty, has none.
func readThrough(path string) (keys int, err error) {
	if info, err := os.Stat(path); err != nil || info.Size() == 0 {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return 0, err
	}
	// A page behind the end of the file is a fault, a page of the wrong kind a
	// panic.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a page is damaged: %v", p)
		}
	}()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return 0, err
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			n, err := readBucket(b)
			if string(name) == keyBucket {
				keys = n
			}
			return err
		})
	})
	return keys, err
}

// readBucket touches every page of a bucket.
func readBucket(b *bbolt.Bucket) (keys int, err error) {
	var last []byte
	var sum byte
	err = b.ForEach(func(k, v []byte) error {
		if keys > 0 && bytes.Compare(k, last) <= 0 {
			return errors.New("keys are out of order")
		}
		last = append(last[:0], k...)
		for i := 0; i < len(v); i += os.Getpagesize() {
			sum ^= v[i]
		}
		keys++
		return nil
	})
	_ = sum
	return keys, err
}
