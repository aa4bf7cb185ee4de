// Package volume holds what the readers of the formats share: an inode, an
// entry of a directory, the map of a file on its device, the limits that a
// hostile image meets.
package volume

import (
	"io/fs"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/printable"
)

// Limits of one directory. A module tree has some hundreds of entries a
// directory; at this bound a listing takes tens of MiB, which a hostile image
// may cost but not more.
const (
	MaxDirBytes   = 256 << 20
	maxDirEntries = 1 << 18
	MaxSymlink    = 4096 // PATH_MAX: no kernel follows a longer one
)

// Volume is what one file system format answers; walking, caching and the io/fs
// side are shared.
type Volume interface {
	Root() (*Node, error)
	// Load reads what the entry of a directory points to.
	Load(e Entry) (*Node, error)
	// List reads a directory: its entries without "." and "..", and the id that its
	// ".." names.
	List(n *Node) (entries []Entry, parent uint64, err error)
	// Content maps the body of a regular file.
	Content(n *Node) (*Content, error)
	ReadLink(n *Node) (string, error)
	// FoldsCase says whether names that differ only in case are the same file.
	FoldsCase() bool
	// Dirty says whether it was not cleanly unmounted.
	Dirty() bool
}

// Node is one inode.
type Node struct {
	ID   uint64 // inode number; FAT: first cluster
	Mode fs.FileMode
	Size int64
	Time time.Time
	Raw  any // what the format needs to find the body
}

// Entry is one entry of a directory.
type Entry struct {
	Name string
	ID   uint64
	Node *Node // FAT keeps the inode in the entry; nil elsewhere
}

// UnixMode translates st_mode, which ext and XFS store alike.
func UnixMode(m uint16) fs.FileMode {
	mode := fs.FileMode(m & 0o777)
	switch m & 0o170000 {
	case 0o100000:
	case 0o040000:
		mode |= fs.ModeDir
	case 0o120000:
		mode |= fs.ModeSymlink
	case 0o010000:
		mode |= fs.ModeNamedPipe
	case 0o140000:
		mode |= fs.ModeSocket
	case 0o020000:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	case 0o060000:
		mode |= fs.ModeDevice
	default:
		mode |= fs.ModeIrregular
	}
	if m&0o4000 != 0 {
		mode |= fs.ModeSetuid
	}
	if m&0o2000 != 0 {
		mode |= fs.ModeSetgid
	}
	if m&0o1000 != 0 {
		mode |= fs.ModeSticky
	}
	return mode
}

// Label drops what must not reach a terminal or a file name from a label.
func Label(b []byte) string {
	return strings.TrimRight(printable.Drop(string(b)), " ")
}
