package golden

import (
	"crypto/sha256"
	"fmt"
	"io"
)

// Image is a stored image whose parts were checked against each other: what
// the flash engine is given.
type Image struct {
	Digest   Digest // of the manifest: the image's identity
	Manifest *Manifest
	Config   *Config
	Table    *Table
	Disk     Descriptor // the blob that holds the frames
}

// NewImage joins the raw bytes of a manifest, its config and its chunk table,
// which may be long and is read as it comes. want is the identity that the
// operator armed; every part must hash to what names it, and the parts must
// agree. Nothing of an image may be used before this has succeeded.
func NewImage(want Digest, manifest, config []byte, table io.Reader) (*Image, error) {
	if err := want.Verify(manifest); err != nil {
		return nil, fmt.Errorf("manifest of %s: %w", want.Short(), err)
	}
	m, err := ParseManifest(manifest)
	if err != nil {
		return nil, err
	}
	if err := m.Config.Digest.Verify(config); err != nil {
		return nil, fmt.Errorf("config of %s: %w", want.Short(), err)
	}
	c, err := ParseConfig(config)
	if err != nil {
		return nil, err
	}
	chunks, err := m.Layer(MediaTypeChunks)
	if err != nil {
		return nil, err
	}
	t, err := readVerified(table, chunks)
	if err != nil {
		return nil, err
	}
	disk, err := m.Layer(MediaTypeDisk)
	if err != nil {
		return nil, err
	}
	if t.DiskSize != c.Disk.Size || t.ChunkSize != c.Disk.ChunkSize || t.Hash.String() != c.Disk.Hash {
		return nil, fmt.Errorf("image %s: config and chunk table describe different disks", want.Short())
	}
	if t.BlobSize() != disk.Size {
		return nil, fmt.Errorf("image %s: frames take %d bytes, the disk blob has %d", want.Short(), t.BlobSize(), disk.Size)
	}
	return &Image{Digest: want, Manifest: m, Config: c, Table: t, Disk: disk}, nil
}

// readVerified reads a chunk table that is what its descriptor names. Whether
// it is decides first: what a damaged table says of itself is of no interest.
func readVerified(table io.Reader, described Descriptor) (*Table, error) {
	h := sha256.New()
	all := io.TeeReader(io.LimitReader(table, described.Size), h)
	t, err := ReadTable(all)
	if _, err := io.Copy(io.Discard, all); err != nil {
		return nil, fmt.Errorf("reading chunk table: %w", err)
	}
	if n, _ := io.ReadFull(table, make([]byte, 1)); n > 0 {
		return nil, fmt.Errorf("chunk table: longer than the %d bytes that it should have", described.Size)
	}
	if got := DigestFromSum(h.Sum(nil)); got != described.Digest {
		return nil, fmt.Errorf("chunk table: damaged, it hashes to %s, not to %s", got, described.Digest)
	}
	return t, err
}
