// Package source turns any golden image (a file, a stream, a URL, compressed
// or not) into a disk that is read once, front to back.
//
// What a source is shows in its first bytes, never in its name: qcow2, VMDK,
// VHD, VHDX, gzip, bzip2, xz, zstd, lz4, tar, zip, else raw. Inside one layer
// of compression there may be an image or a raw disk, or an archive that holds
// one, as an OVA does. Memory does not grow with the size of the disk
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
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
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

	// TempDir holds a qcow2 or other image that comes as a stream, as long as its
	// disk is open; "" means the system's directory for temporary files.
	TempDir string

	// Stall ends a download in which no byte arrived for so long; 0 means 60 s.
	Stall time.Duration

	// NoXZProgram keeps to the built-in xz decoder even where the faster
	// program xz is installed.
	NoXZProgram bool

	// Spooling, if not nil, is called from Open while such an image is copied to
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

	left leftovers
	pos  atomic.Int64
	err  error
}

// leftovers is what around the disk was read and is no part of it.
type leftovers struct {
	decoder *decoder
	archive member
}

// Notes tells what of the source is not stored, a sentence each. It is whole
// when ReadChunk has returned io.EOF.
func (d *Disk) Notes() []string {
	var notes []string
	if d.left.archive != nil {
		notes = append(notes, fmt.Sprintf("the disk is %.100q in the archive", d.left.archive.name()))
	}
	if d.left.decoder != nil {
		if m, ok := d.left.decoder.r.(*members); ok && m.behind > 0 {
			notes = append(notes, fmt.Sprintf("%d bytes behind the gzip data are no part of the disk and are left out", m.behind))
		}
	}
	if s, ok := d.content.(*stream); ok && s.footer {
		notes = append(notes, fmt.Sprintf("the last %d bytes are the footer of a fixed VHD image, which is no part of the disk", SectorSize))
	}
	return notes
}

// Open finds out what name is: "-" for opts.Stdin, an http or https URL, or
// the path of a file, pipe or block device. The source may be read until ctx
// ends. Where an image comes as a stream, Open reads all of it.
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
	var r io.Reader = d.in
	var layers []string
	closer := func() error { return nil }
	outside := ""
	for {
		buffered := bufio.NewReaderSize(r, bufferSize)
		f, err := peekFormat(buffered)
		if err == nil && f.compressed() && d.left.decoder != nil {
			err = errors.New("only one layer of compression is read: decompress it once first")
		}
		if err == nil && f.archive() && d.left.archive != nil {
			err = errors.New("it is an archive again: unpack it once first")
		}
		switch {
		case err != nil:
		case f.compressed():
			var dec *decoder
			if dec, err = newDecoder(d.ctx, f, d.in, buffered, opts); err == nil {
				d.left.decoder, closer, r = dec, dec.Close, dec
			}
		case f.archive():
			d.left.archive, err = newMember(f, buffered)
			r = d.left.archive
		default:
			layers = append(layers, string(f))
			d.format = strings.Join(layers, ", ")
			if len(layers) == 1 {
				return d.openPlain(f, buffered, opts)
			}
			if f.image() {
				if err = d.openSpooled(f, buffered, opts); err == nil {
					return closer() // all of it is in a file of its own
				}
			} else {
				d.content = &stream{r: buffered, length: -1, close: closer}
			}
		}
		if err != nil {
			_ = closer()
			if outside != "" {
				return fmt.Errorf("inside the %s data: %w", outside, err)
			}
			return err
		}
		if d.content != nil {
			return nil
		}
		layers, outside = append(layers, string(f)), string(f)
	}
}

// openPlain opens a source that is neither compressed nor an archive.
func (d *Disk) openPlain(f format, r *bufio.Reader, opts Options) error {
	if f.image() {
		if f == formatExtents && d.in.file != nil {
			return d.openExtents()
		}
		if d.in.file == nil {
			return d.openSpooled(f, r, opts)
		}
		return d.openImage(f, d.in.file, d.in.size, nil)
	}
	if d.in.size%SectorSize != 0 && d.in.size >= 0 {
		return sizeError(d.in.size)
	}
	if d.in.file == nil {
		d.content = &stream{r: r, length: d.in.size}
		return nil
	}
	raw := newRawFile(d.in.file, d.in.size)
	switch vhd, err := raw.isVHD(); {
	case err != nil:
		return err
	case vhd:
		d.format = string(formatVHD)
		return d.openImage(formatVHD, d.in.file, d.in.size, nil)
	}
	d.content = raw
	return nil
}

// openImage opens an image in a file; spool is that file where it is the disk's
// own.
func (d *Disk) openImage(f format, file *os.File, size int64, spool *os.File) error {
	m, err := openImage(f, file, size)
	if err != nil {
		return err
	}
	m.spool = spool
	d.content = m
	return nil
}

// openSpooled copies an image that comes as a stream to a temporary file and
// opens that.
func (d *Disk) openSpooled(f format, r *bufio.Reader, opts Options) error {
	if f == formatQcow2 {
		head, _ := r.Peek(qcow2.HeaderSize)
		if err := qcow2.CheckHeader(head); err != nil {
			return fmt.Errorf("qcow2 image: %w", err)
		}
	}
	file, size, err := spool(d.ctx, r, opts, func() {
		if opts.Spooling != nil {
			opts.Spooling(d.in.bytesRead(), d.in.size)
		}
	})
	if err != nil {
		return err
	}
	if err := d.openImage(f, file, size, file); err != nil {
		file.Close()
		return err
	}
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
