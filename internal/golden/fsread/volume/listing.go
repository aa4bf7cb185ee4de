package volume

// Listing is a directory as far as it was read.
type Listing struct {
	Entries []Entry // without "." and ".."
	Parent  uint64  // the id that ".." names
}

// Add takes one entry more. What could not be an entry is corrupt.
func (l *Listing) Add(e Entry) error {
	if !validName([]byte(e.Name)) {
		return Corrupt("directory entry %q", e.Name)
	}
	if len(l.Entries) >= maxDirEntries {
		return Corrupt("more than %d directory entries", maxDirEntries)
	}
	l.Entries = append(l.Entries, e)
	return nil
}

// AddName is Add for a directory that stores "." and ".." among its entries.
func (l *Listing) AddName(id uint64, name []byte) error {
	switch string(name) {
	case ".":
		return nil
	case "..":
		l.Parent = id
		return nil
	}
	return l.Add(Entry{Name: string(name), ID: id})
}

// validName refuses names that no Linux file system can hold and that would
// confuse whoever joins paths.
func validName(name []byte) bool {
	if len(name) == 0 || len(name) > 3*255 { // 255 UTF-16 units of FAT, as UTF-8
		return false
	}
	for _, b := range name {
		if b == 0 || b == '/' {
			return false
		}
	}
	return string(name) != "." && string(name) != ".."
}

// EachBlock gives the blocks of a directory one after the other, holes left
// out. What is read in all is bounded by the device, whatever the extents say.
func EachBlock(c *Content, block, device int64, use func([]byte) error) error {
	budget := min(device, MaxDirBytes)
	b := make([]byte, block)
	for _, r := range c.Runs {
		for at := int64(0); at+block <= r.Length && r.Off+at < c.Size; at += block {
			if budget -= block; budget < 0 {
				return Corrupt("directory of %d bytes", c.Size)
			}
			if _, err := ReadFull(c.R, b, r.Pos+at); err != nil {
				return err
			}
			if err := use(b); err != nil {
				return err
			}
		}
	}
	return nil
}
