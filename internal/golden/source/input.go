package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// input is the source as it arrives: bytes in order, and a file to read at any
// place when it is one.
type input struct {
	name string
	r    io.Reader
	file *os.File // nil for a stream
	size int64    // bytes; -1 when unknown

	read  atomic.Int64
	fault atomic.Pointer[error]

	// verify proves at the end that what was read is the whole source.
	verify func() error
	close  func() error
}

// Read implements [io.Reader]. It may run in another goroutine than the rest,
// which feeds an external program, hence the atomics.
func (in *input) Read(p []byte) (int, error) {
	n, err := in.r.Read(p)
	in.read.Add(int64(n))
	if err != nil && !errors.Is(err, io.EOF) {
		err = bare(err)
		in.fault.CompareAndSwap(nil, &err)
	}
	return n, err
}

// bytesRead is how far [input.Read] has come.
func (in *input) bytesRead() int64 { return in.read.Load() }

// failure is the first error of the source itself; nil when it is sound so far.
func (in *input) failure() error {
	if err := in.fault.Load(); err != nil {
		return *err
	}
	return nil
}

func (in *input) finish() error {
	if err := in.failure(); err != nil {
		return err
	}
	if in.verify == nil {
		return nil
	}
	return in.verify()
}

func (in *input) Close() error {
	if in.close == nil {
		return nil
	}
	return in.close()
}

func openInput(ctx context.Context, name string, opts Options) (*input, error) {
	switch {
	case name == "":
		return nil, errors.New("no name given: a file, a URL or - for standard input")
	case name == "-":
		if opts.Stdin == nil {
			return nil, errors.New("no standard input")
		}
		p := newPump(ctx, opts.Stdin)
		return &input{name: "standard input", r: p, size: -1, close: p.Close}, nil
	case isURL(name):
		return openURL(ctx, name, opts)
	default:
		return openFile(ctx, name)
	}
}

// isURL takes every name with a scheme for a URL, so that ftp://... is refused
// as what it is and not as a missing file.
func isURL(name string) bool {
	scheme, _, ok := strings.Cut(name, "://")
	return ok && scheme != "" && !strings.Contains(scheme, "/")
}

func openFile(ctx context.Context, name string) (*input, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, bare(err)
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		return nil, errors.New("it is a directory: give the image file in it")
	case mode.IsRegular(), mode&fs.ModeDevice != 0 && mode&fs.ModeCharDevice == 0:
		return openSeekable(name)
	case mode&fs.ModeNamedPipe != 0:
		return openPipe(ctx, name)
	default:
		return nil, fmt.Errorf("it is neither a file nor a block device nor a pipe (%s)", mode.Type())
	}
}

// openSeekable opens a regular file or a block device.
func openSeekable(name string) (*input, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, bare(err)
	}
	// The end of a block device is its size; stat says 0.
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, bare(err)
	}
	before, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, bare(err)
	}
	in := &input{name: name, r: f, file: f, size: size, close: f.Close}
	in.verify = func() error { return unchanged(f, before) }
	return in, nil
}

// unchanged reports a file that was written while it was read. What was read
// is then a mixture that never existed.
func unchanged(f *os.File, before fs.FileInfo) error {
	after, err := f.Stat()
	if err != nil {
		return bare(err)
	}
	if after.Size() != before.Size() {
		return fmt.Errorf("its size changed from %d to %d bytes while it was read: wait until nothing writes to it", before.Size(), after.Size())
	}
	if before.Mode().IsRegular() && !after.ModTime().Equal(before.ModTime()) {
		return errors.New("it was written to while it was read: wait until nothing writes to it")
	}
	return nil
}

// openPipe waits for the writer of a named pipe, as long as ctx lasts.
func openPipe(ctx context.Context, name string) (*input, error) {
	type result struct {
		f   *os.File
		err error
	}
	opened := make(chan result, 1)
	go func() {
		f, err := os.Open(name)
		opened <- result{f, err}
	}()
	select {
	case r := <-opened:
		if r.err != nil {
			return nil, bare(r.err)
		}
		p := newPump(ctx, r.f)
		return &input{name: name, r: p, size: -1, close: func() error {
			// Closing the pipe first frees a read that waits for its writer.
			return errors.Join(r.f.Close(), p.Close())
		}}, nil
	case <-ctx.Done():
		go func() { // when a writer comes after all
			if r := <-opened; r.f != nil {
				r.f.Close()
			}
		}()
		return nil, context.Cause(ctx)
	}
}

// bare drops the path from an error of package os: the caller says it.
func bare(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// pump reads ahead in a goroutine, so that a reader that cannot be interrupted
// does not keep the caller when ctx ends. The goroutine itself ends with the
// read that it is in: for standard input possibly with the process.
type pump struct {
	ctx    context.Context
	cancel context.CancelFunc
	full   chan block
	empty  chan []byte
	rest   []byte // unread part of block
	block  block
}

type block struct {
	buf []byte
	n   int
	err error
}

func newPump(ctx context.Context, r io.Reader) *pump {
	ctx, cancel := context.WithCancel(ctx)
	p := &pump{ctx: ctx, cancel: cancel, full: make(chan block), empty: make(chan []byte, 2)}
	for range cap(p.empty) {
		p.empty <- make([]byte, bufferSize)
	}
	go p.run(r)
	return p
}

func (p *pump) run(r io.Reader) {
	for {
		select {
		case <-p.ctx.Done():
			return
		case buf := <-p.empty:
			b := block{buf: buf}
			b.n, b.err = r.Read(buf)
			select {
			case <-p.ctx.Done():
				return
			case p.full <- b:
			}
			if b.err != nil {
				return
			}
		}
	}
}

func (p *pump) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		if p.block.err != nil {
			return 0, p.block.err
		}
		if p.block.buf != nil {
			p.empty <- p.block.buf
			p.block.buf = nil
		}
		select {
		case <-p.ctx.Done():
			return 0, context.Cause(p.ctx)
		case p.block = <-p.full:
			p.rest = p.block.buf[:p.block.n]
		}
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func (p *pump) Close() error {
	p.cancel()
	return nil
}

// defaultStall is how long a server may send nothing.
const defaultStall = 60 * time.Second
