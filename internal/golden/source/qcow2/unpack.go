package qcow2

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

// unpacker decompresses clusters and keeps the last one: chunks are often
// smaller than a cluster, and the next chunk wants the rest of it.
type unpacker struct {
	compression compression
	clusterSize int

	packed  []byte
	cluster []byte
	offset  uint64 // in the file, of what cluster holds; 0: nothing

	deflate io.ReadCloser
	zstd    *zstd.Decoder
}

// unpack returns the cluster whose packed form is n bytes at off in r. The
// slice is valid until the next call.
func (u *unpacker) unpack(r io.ReaderAt, off, n uint64) ([]byte, error) {
	if off == u.offset && off != 0 {
		return u.cluster, nil
	}
	if u.cluster == nil {
		u.cluster = make([]byte, u.clusterSize)
		// n has as many bits as a cluster has sectors: at most two clusters.
		u.packed = make([]byte, 2*u.clusterSize)
	}
	u.offset = 0
	packed := u.packed[:n]
	if err := readFull(r, packed, int64(off)); err != nil {
		return nil, fmt.Errorf("compressed cluster at offset %#x: %w", off, err)
	}
	d, err := u.decoder(packed)
	if err == nil {
		// The stream is followed by the rest of its last sector, so only its
		// beginning has a meaning.
		_, err = io.ReadFull(d, u.cluster)
	}
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("compressed cluster at offset %#x is damaged: %w", off, err)
	}
	u.offset = off
	return u.cluster, nil
}

func (u *unpacker) decoder(packed []byte) (io.Reader, error) {
	src := bytes.NewReader(packed)
	if u.compression == zlib {
		if u.deflate == nil {
			u.deflate = flate.NewReader(src)
			return u.deflate, nil
		}
		return u.deflate, u.deflate.(flate.Resetter).Reset(src, nil)
	}
	if u.zstd == nil {
		// One cluster never needs more history than itself, but encoders state
		// the window of their level, 8 MiB at most outside of --long modes.
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return nil, err
		}
		u.zstd = d
	}
	return u.zstd, u.zstd.Reset(src)
}

func (u *unpacker) close() {
	if u.zstd != nil {
		u.zstd.Close()
		u.zstd = nil
	}
}
