package ext

import (
	"github.com/gild-dev/gild/internal/golden/fsread/volume"
	"github.com/gild-dev/gild/internal/golden/le"
)

// List reads a directory block by block. The nodes of a hash tree look like
// blocks with one empty entry, so that it needs no knowledge of the hash.
func (v *Volume) List(n *volume.Node) ([]volume.Entry, uint64, error) {
	l := &lister{v: v}
	ino := n.Raw.(*inode)
	if ino.flags&flagInline != 0 {
		// No "." and ".." here: the first four bytes are the parent. The rest of
		// i_block and the attribute are two separate runs of entries.
		l.Parent = uint64(le.U32(ino.block[:], 0))
		if err := l.block(ino.block[4:]); err != nil {
			return nil, 0, err
		}
		err := l.block(ino.more)
		return l.Entries, l.Parent, err
	}
	c, err := v.Content(n)
	if err != nil {
		return nil, 0, err
	}
	err = volume.EachBlock(c, v.block, v.dev.Size, func(b []byte) error { return l.block(b) })
	return l.Entries, l.Parent, err
}

type lister struct {
	v *Volume
	volume.Listing
}

// block takes the entries of one block (ext4_dir_entry_2).
func (l *lister) block(b []byte) error {
	for at := 0; at+8 <= len(b); {
		id := uint64(le.U32(b, at))
		length := int(le.U16(b, at+4))
		// 64 KiB does not fit into 16 bits.
		if len(b) == 1<<16 && (length == 0 || length == 0xffff) {
			length = len(b) - at
		}
		nameLen := int(le.U16(b, at+6))
		if l.v.incompat&incompatFileType != 0 {
			nameLen &= 0xff // the high byte is the file type
		}
		if length < 8 || length > len(b)-at || id != 0 && 8+nameLen > length {
			return volume.Corrupt("directory entry of %d bytes with a name of %d", length, nameLen)
		}
		if id != 0 {
			if err := l.AddName(id, b[at+8:at+8+nameLen]); err != nil {
				return err
			}
		}
		at += length
	}
	return nil
}
