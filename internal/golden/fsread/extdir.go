package fsread

// list reads a directory block by block. The nodes of a hash tree look like blocks with one empty entry, so that it
// needs no knowledge of the hash.
func (v *extVolume) list(n *node) ([]dirent, uint64, error) {
	l := &extLister{v: v}
	ino := n.raw.(*extInode)
	if ino.flags&extFlagInline != 0 {
		// No "." and ".." here: the first four bytes are the parent. The rest of i_block and the attribute are two
		// separate runs of entries.
		l.parent = uint64(le32(ino.block[:], 0))
		if err := l.block(ino.block[4:]); err != nil {
			return nil, 0, err
		}
		err := l.block(ino.more)
		return l.entries, l.parent, err
	}
	c, err := v.content(n)
	if err != nil {
		return nil, 0, err
	}
	err = eachDirBlock(c, v.block, v.dev.size, func(b []byte) error { return l.block(b) })
	return l.entries, l.parent, err
}

// eachDirBlock gives the blocks of a directory one after the other, holes left out. What is read in all is bounded by
// the device, whatever the extents say.
func eachDirBlock(c *content, block, device int64, use func([]byte) error) error {
	budget := min(device, maxDirBytes)
	b := make([]byte, block)
	for _, r := range c.runs {
		for at := int64(0); at+block <= r.length && r.off+at < c.size; at += block {
			if budget -= block; budget < 0 {
				return corrupt("directory of %d bytes", c.size)
			}
			if _, err := readFull(c.r, b, r.pos+at); err != nil {
				return err
			}
			if err := use(b); err != nil {
				return err
			}
		}
	}
	return nil
}

type extLister struct {
	v       *extVolume
	entries []dirent
	parent  uint64
}

// block takes the entries of one block (ext4_dir_entry_2).
func (l *extLister) block(b []byte) error {
	for at := 0; at+8 <= len(b); {
		id := uint64(le32(b, at))
		length := int(le16(b, at+4))
		// 64 KiB does not fit into 16 bits.
		if len(b) == 1<<16 && (length == 0 || length == 0xffff) {
			length = len(b) - at
		}
		nameLen := int(le16(b, at+6))
		if l.v.incompat&extIncompatFileType != 0 {
			nameLen &= 0xff // the high byte is the file type
		}
		if length < 8 || length > len(b)-at || id != 0 && 8+nameLen > length {
			return corrupt("directory entry of %d bytes with a name of %d", length, nameLen)
		}
		if id != 0 {
			if err := l.add(id, b[at+8:at+8+nameLen]); err != nil {
				return err
			}
		}
		at += length
	}
	return nil
}

func (l *extLister) add(id uint64, name []byte) error {
	switch string(name) {
	case ".":
		return nil
	case "..":
		l.parent = id
		return nil
	}
	if !validName(name) {
		return corrupt("directory entry %q", name)
	}
	if len(l.entries) >= maxDirEntries {
		return corrupt("more than %d directory entries", maxDirEntries)
	}
	l.entries = append(l.entries, dirent{name: string(name), id: id})
	return nil
}
