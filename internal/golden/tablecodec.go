package golden

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The chunk table is a header and one record a chunk, little endian, fixed
// sizes, no padding between: docs/formats.md, "Chunk table".
const (
	tableMagic   = "GILDCHNK"
	tableVersion = 1
	headerSize   = 64
	recordSize   = 48

	flagZero = 1 << 0
)

// WriteTo writes the table in its one byte form. An empty table has none.
func (t *Table) WriteTo(w io.Writer) (int64, error) {
	if t.Len() == 0 {
		return 0, fmt.Errorf("writing chunk table: %w", errEmptyTable)
	}
	b := bufio.NewWriter(w)
	le := binary.LittleEndian
	p := make([]byte, headerSize)
	copy(p, tableMagic)
	le.PutUint16(p[8:], tableVersion)
	le.PutUint16(p[10:], uint16(t.Hash))
	le.PutUint32(p[12:], recordSize)
	le.PutUint64(p[16:], uint64(t.DiskSize))
	le.PutUint64(p[24:], uint64(t.ChunkSize))
	le.PutUint64(p[32:], uint64(t.Len()))
	written, err := b.Write(p)
	for _, c := range t.All() {
		if err != nil {
			break
		}
		var flags uint32
		if c.Zero {
			flags |= flagZero
		}
		p = append(p[:0], c.Hash[:]...)
		p = le.AppendUint64(p, uint64(c.Offset))
		p = le.AppendUint32(p, uint32(c.Length))
		p = le.AppendUint32(p, flags)
		var n int
		n, err = b.Write(p)
		written += n
	}
	if err == nil {
		err = b.Flush()
	}
	if err != nil {
		return int64(written), fmt.Errorf("writing chunk table: %w", err)
	}
	return int64(written), nil
}

// ReadTable reads a chunk table to the end of r. Every byte is accounted for:
// a table that is cut, extended, or holds anything in a reserved place is
// refused. Memory grows with what was read, not with what is announced.
func ReadTable(r io.Reader) (*Table, error) {
	t, err := readTable(bufio.NewReader(r))
	if err != nil {
		return nil, fmt.Errorf("reading chunk table: %w", err)
	}
	return t, nil
}

func readTable(r *bufio.Reader) (*Table, error) {
	header := make([]byte, headerSize)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, fmt.Errorf("its header: %w", noEOF(err))
	}
	t, diskSize, count, err := parseHeader(header)
	if err != nil {
		return nil, err
	}
	record := make([]byte, recordSize)
	for i := range count {
		if _, err := io.ReadFull(r, record); err != nil {
			return nil, fmt.Errorf("record %d of %d: %w", i, count, noEOF(err))
		}
		c, err := parseRecord(record)
		if err != nil {
			return nil, fmt.Errorf("chunk %d: %w", i, err)
		}
		if err := t.Append(min(t.ChunkSize, diskSize-int64(i)*t.ChunkSize), c); err != nil {
			return nil, err
		}
	}
	if _, err := r.ReadByte(); err == nil {
		return nil, fmt.Errorf("bytes follow after the %d records announced", count)
	} else if err != io.EOF {
		return nil, err
	}
	return t, nil
}

func parseHeader(p []byte) (t *Table, diskSize int64, count uint64, err error) {
	le := binary.LittleEndian
	if string(p[:8]) != tableMagic {
		return nil, 0, 0, errors.New("not a chunk table")
	}
	if v := le.Uint16(p[8:]); v != tableVersion {
		return nil, 0, 0, fmt.Errorf("version %d, this program reads %d", v, tableVersion)
	}
	if n := le.Uint32(p[12:]); n != recordSize {
		return nil, 0, 0, fmt.Errorf("records of %d bytes, want %d", n, recordSize)
	}
	for _, b := range p[40:headerSize] {
		if b != 0 {
			return nil, 0, 0, errors.New("reserved header bytes are not zero")
		}
	}
	t, err = NewTable(int64(le.Uint64(p[24:])), Algorithm(le.Uint16(p[10:])))
	if err != nil {
		return nil, 0, 0, err
	}
	diskSize, count = int64(le.Uint64(p[16:])), le.Uint64(p[32:])
	return t, diskSize, count, t.checkSize(diskSize, count)
}

func parseRecord(p []byte) (Chunk, error) {
	le := binary.LittleEndian
	flags := le.Uint32(p[44:])
	if flags&^flagZero != 0 {
		return Chunk{}, fmt.Errorf("unknown flags %#x", flags)
	}
	return Chunk{
		Hash:   Hash(p[:HashSize]),
		Offset: int64(le.Uint64(p[32:])),
		Length: int64(le.Uint32(p[40:])),
		Zero:   flags&flagZero != 0,
	}, nil
}
