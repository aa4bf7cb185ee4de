// Package source turns any golden image (a file, a stream, a URL, compressed
// or not) into a disk that is read once, front to back.
//
// What a source is shows in its first bytes, never in its name: qcow2, gzip,
// bzip2, xz, zstd, else raw. Inside one layer of compression there may be a
// qcow2 image or a raw disk. Memory does not grow with the size of the disk
// or of the source. The end of a disk is reported only after everything that
// can prove the source whole has been checked.
//
//	disk, err := source.Open(ctx, "debian-12.qcow2", source.Options{})
//	...
//	defer disk.Close()
//	for {
//		n, zero, err := disk.ReadChunk(buf)
//		if err == io.EOF { break }
//		...
//	}
package source

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gild-dev/gild/internal/golden/source/qcow2"
)

// SectorSize is the unit of every disk: its size is a multiple of 512 bytes.
const SectorSize = 512

// bufferSize is the size of each buffer between a source and its disk.
const bufferSize = 256 << 10

var errClosed = errors.New("the disk was closed")

// Options are what a source may need from its surroundings. The zero value
// reads files and URLs.
type Options struct {
	// Stdin is read when the name is "-".
	Stdin io.Reader

	// HTTPClient fetches URLs; nil means one with default settings. Its
	// CheckRedirect is replaced: at most 3 redirects, never away from https.
	HTTPClient *http.Client

	// TempDir holds a qcow2 image that comes as a stream, as long as its disk is
	// open; "" means the system's directory for temporary files.
	TempDir string

	// Stall ends a download in which no byte arrived for so long; 0 means 60 s.
	Stall time.Duration

	// NoXZProgram keeps to the built-in xz decoder even where the faster
	// program xz is installed.
	NoXZProgram bool

	// Spooling, if not nil, is called from Open while a qcow2 image is copied to
	// TempDir, with the bytes of the source read and its size (-1: unknown).
	Spooling func(read, size int64)
}

// Disk is the disk inside a source. Only Read may be called while another
// goroutine is in a method.
type Disk struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	in      *input
	content content
	format  string

	pos      atomic.Int64
	fixedVHD bool // the last sector read so far is the footer of a fixed VHD
	err      error
}

// Open finds out what name is: "-" for opts.Stdin, an http or https URL, or
// the path of a file, pipe or block device. The source may be read until ctx
// ends. Where a qcow2 image comes as a stream, Open reads all of it.
func Open(ctx context.Context, name string, opts Options) (*Disk, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	in, err := openInput(ctx, name, opts)
	if err != nil {
		cancel(errClosed)
		return nil, fmt.Errorf("open image %s: %w", displayName(name), err)
	}
	d := &Disk{ctx: ctx, cancel: cancel, in: in}
	if err := d.open(opts); err != nil {
		_ = d.Close()
		return nil, fmt.Errorf("open image %s: %w", in.name, err)
	}
	return d, nil
}

func (d *Disk) open(opts Options) error {
	packed := bufio.NewReaderSize(d.in, bufferSize)
	outer, err := peekFormat(packed)
	if err != nil {
		return err
	}
	if !outer.compressed() {
		d.format = string(outer)
		return d.openPlain(outer, packed, opts)
	}

	dec, err := newDecoder(d.ctx, outer, d.in, packed, opts)
	if err != nil {
		return err
	}
	plain := bufio.NewReaderSize(dec, bufferSize)
	inner, err := peekFormat(plain)
	if err == nil && inner.compressed() {
		err = errors.New("only one layer of compression is read: decompress it once first")
	}
	if err != nil {
		_ = dec.Close()
		return fmt.Errorf("inside the %s data: %w", outer, err)
	}
	d.format = string(outer) + ", " + string(inner)
	if inner == formatQcow2 {
		defer dec.Close()
		return d.openSpooled(plain, opts)
	}
	d.content = &stream{r: plain, length: -1, close: dec.Close}
	return nil
}

// openPlain opens a source that is not compressed.
func (d *Disk) openPlain(f format, r *bufio.Reader, opts Options) error {
	if f == formatQcow2 {
		if d.in.file == nil {
			return d.openSpooled(r, opts)
		}
		q, err := newQcowDisk(d.in.file, d.in.size)
		if err != nil {
			return err
		}
		d.content = q
		return nil
	}
	if d.in.size%SectorSize != 0 && d.in.size >= 0 {
		return sizeError(d.in.size)
	}
	if d.in.file == nil {
		d.content = &stream{r: r, length: d.in.size}
		return nil
	}
	raw := newRawFile(d.in.file, d.in.size)
	d.content = raw
	return raw.checkLast()
}

// openSpooled copies a qcow2 stream to a temporary file and opens that.
func (d *Disk) openSpooled(r *bufio.Reader, opts Options) error {
	head, _ := r.Peek(qcow2.HeaderSize)
	if err := qcow2.CheckHeader(head); err != nil {
		return fmt.Errorf("qcow2 image: %w", err)
	}
	file, size, err := spool(d.ctx, r, opts, func() {
		if opts.Spooling != nil {
			opts.Spooling(d.in.bytesRead(), d.in.size)
		}
	})
	if err != nil {
		return err
	}
	q, err := newQcowDisk(file, size)
	if err != nil {
		file.Close()
		return err
	}
	q.spool = file
	d.content = q
	return nil
}

// peekFormat detects what r begins with, consuming nothing.
func peekFormat(r *bufio.Reader) (format, error) {
	head, err := r.Peek(headSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return detect(head)
}

// ReadChunk fills p, whose length is a positive multiple of [SectorSize], with
// the next bytes of the disk. n < len(p) only in the disk's last chunk. With
// zero true, the whole chunk is known to be zero without having been read, and
// p is untouched. After the last chunk comes io.EOF, and only when the source
// was proven whole; any other error means that the disk must not be used, and
// stays.
func (d *Disk) ReadChunk(p []byte) (n int, zero bool, err error) {
	if d.err != nil {
		return 0, false, d.err
	}
	n, zero, err = d.readChunk(p)
	if err != nil {
		if !errors.Is(err, io.EOF) {
			err = fmt.Errorf("read image %s: %w", d.in.name, err)
		}
		d.err = err
		return 0, false, err
	}
	d.pos.Add(int64(n))
	return n, zero, nil
}

func (d *Disk) readChunk(p []byte) (int, bool, error) {
	if len(p) == 0 || len(p)%SectorSize != 0 {
		return 0, false, fmt.Errorf("buffer of %d bytes is no multiple of %d", len(p), SectorSize)
	}
	if d.ctx.Err() != nil {
		return 0, false, context.Cause(d.ctx)
	}
	n, zero, err := d.content.readChunk(p)
	if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, false, d.finish()
	}
	if d.ctx.Err() != nil { // the cause of whatever else went wrong
		return 0, false, context.Cause(d.ctx)
	}
	if err != nil {
		return 0, false, err
	}
	if n%SectorSize != 0 {
		return 0, false, sizeError(d.pos.Load() + int64(n))
	}
	d.fixedVHD = !zero && bytes.HasPrefix(p[n-SectorSize:n], []byte(vhdMagic))
	return n, zero, nil
}

// finish returns io.EOF when nothing speaks against the source.
func (d *Disk) finish() error {
	if err := d.in.finish(); err != nil {
		return err
	}
	if want := d.content.size(); want >= 0 && d.pos.Load() != want {
		return fmt.Errorf("the disk ended after %d of %d bytes", d.pos.Load(), want)
	}
	if d.fixedVHD {
		return errFixedVHD
	}
	return io.EOF
}

func sizeError(size int64) error {
	return fmt.Errorf("the disk's size of %d bytes is no multiple of %d: the image is truncated, or it is no disk image", size, SectorSize)
}

// Size returns the size of the disk in bytes, or -1 while it is unknown: a
// stream tells it only by its end.
func (d *Disk) Size() int64 { return d.content.size() }

// Format says what the source is, from the outside in: "raw", "qcow2",
// "xz, raw".
func (d *Disk) Format() string { return d.format }

// Read returns how many bytes of the source have been read, on the scale of
// SourceSize. It may be called at any time.
func (d *Disk) Read() int64 {
	if _, ok := d.content.(*stream); ok {
		return d.in.bytesRead()
	}
	return d.pos.Load()
}

// SourceSize returns the size of the source in bytes, or -1 when it is
// unknown. Where the source can be read at any place, holes and unallocated
// clusters count as read: the scale is then the disk's size.
func (d *Disk) SourceSize() int64 {
	if _, ok := d.content.(*stream); ok {
		return d.in.size
	}
	return d.content.size()
}

// Close releases everything that the disk holds. ReadChunk fails from then on.
func (d *Disk) Close() error {
	d.cancel(errClosed)
	var err error
	if d.content != nil {
		err = d.content.Close()
		if d.err == nil {
			d.err = errClosed
		}
	}
	return errors.Join(err, d.in.Close())
}
