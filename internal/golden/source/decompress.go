package source

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"

	"github.com/gild-dev/gild/internal/golden/lz4"
)

// errTrailing is for bytes after the last member, frame or stream that do not
// begin another one.
var errTrailing = errors.New("garbage follows the end of the compressed data: the file was damaged or joined with something else")

// decoder is one layer of compression. Its EOF means that every checksum was
// right and that the source ended with the compressed data.
type decoder struct {
	format format
	in     *input
	packed *bufio.Reader // over in
	r      io.ReadCloser
}

func newDecoder(ctx context.Context, f format, in *input, packed *bufio.Reader, opts Options) (*decoder, error) {
	d := &decoder{format: f, in: in, packed: packed}
	var err error
	switch f {
	case formatGzip:
		d.r = &members{r: packed}
	case formatLZ4:
		d.r = io.NopCloser(lz4.NewReader(packed))
	case formatBzip2:
		// The standard decoder takes joined streams and refuses anything else
		// behind them.
		d.r = io.NopCloser(bzip2.NewReader(packed))
	case formatZstd:
		d.r, err = newZstd(packed)
	case formatXZ:
		d.r, err = newXZ(ctx, packed, opts)
	default:
		err = fmt.Errorf("no decoder for %s", f)
	}
	if err != nil {
		return nil, d.explain(err)
	}
	return d, nil
}

func (d *decoder) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF):
		if err := d.atEnd(); err != nil {
			return 0, err
		}
		return n, io.EOF
	default:
		return 0, d.explain(err)
	}
}

func (d *decoder) Close() error { return d.r.Close() }

// atEnd proves that nothing of the source is left.
func (d *decoder) atEnd() error {
	switch _, err := d.packed.ReadByte(); {
	case err == nil:
		return d.explain(errTrailing)
	case d.in.failure() == nil && !errors.Is(err, io.EOF):
		return err // the archive around it is not sound
	}
	return d.in.failure()
}

// explain turns a decoder's error into one for the operator. A source that
// failed is the cause of whatever the decoder says about it.
func (d *decoder) explain(err error) error {
	if cause := d.in.failure(); cause != nil {
		return cause
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the %s data ends early after %d bytes: the file is truncated, get it again: %w", d.format, d.in.bytesRead(),
			io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("cannot decompress the %s data: %w", d.format, err)
}

// members reads a sequence of gzip members one by one, because the library's
// own way takes a cut inside the header of a further member for the end.
//
// What follows a whole member and begins no other is left out, as gzip does:
// the metadata of a router's image, or the padding of a tape. It may be zeros
// of any length or little else; more was joined by mistake.
type members struct {
	r      *bufio.Reader
	gz     *gzip.Reader // the member being read; nil before the first
	behind int64        // bytes behind the last member
}

// maxBehind is how much that is not zero may follow the last member, in bytes.
const maxBehind = 64 << 10

func (m *members) Read(p []byte) (int, error) {
	if m.gz == nil {
		gz, err := gzip.NewReader(m.r)
		if err != nil {
			return 0, noEOF(err)
		}
		gz.Multistream(false)
		m.gz = gz
	}
	for {
		n, err := m.gz.Read(p)
		if n > 0 || !errors.Is(err, io.EOF) {
			if errors.Is(err, io.EOF) {
				err = nil // the next call sees it again
			}
			return n, err
		}
		if err := m.next(); err != nil {
			return 0, err
		}
	}
}

// Close does nothing: the source is the caller's.
func (m *members) Close() error { return nil }

// next opens the member that follows; io.EOF if there is none.
func (m *members) next() error {
	begin, err := m.r.Peek(2)
	switch {
	case len(begin) == 0:
		return err
	case begin[0] != 0x1f || len(begin) == 2 && begin[1] != 0x8b:
		return m.leaveOut()
	}
	err = m.gz.Reset(m.r)
	m.gz.Multistream(false)
	if errors.Is(err, gzip.ErrHeader) {
		return errTrailing
	}
	return noEOF(err)
}

// leaveOut reads what is behind the last member.
func (m *members) leaveOut() error {
	buf := make([]byte, 32<<10)
	other := 0
	for {
		n, err := m.r.Read(buf)
		m.behind += int64(n)
		if other += n - bytes.Count(buf[:n], []byte{0}); other > maxBehind {
			return errTrailing
		}
		if err != nil {
			return err
		}
	}
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
