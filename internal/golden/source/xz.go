package source

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

const (
	// xzMemory limits the xz program, its threads included: one thread with the
	// largest preset needs 65 MiB, a thread more its block of some 24 MiB.
	xzMemory = 256 << 20

	// maxXZDict limits the built-in decoder; the largest preset has 64 MiB.
	maxXZDict = 128 << 20

	// maxStderr is how much of the program's complaint is kept.
	maxStderr = 4096
)

// newXZ decompresses with the xz program where it is installed: it is faster
// than the library, uses all cores on files of several blocks, and checks the
// whole framing. The library is the fallback.
func newXZ(ctx context.Context, r io.Reader, opts Options) (io.ReadCloser, error) {
	if !opts.NoXZProgram {
		if path := findXZ(ctx); path != "" {
			return startXZ(ctx, path, r)
		}
	}
	return newBuiltinXZ(r)
}

// findXZ returns the path of the xz program of XZ Utils, or "". Busybox has an
// xz that knows neither threads nor a limit on memory.
func findXZ(ctx context.Context) string {
	path, err := exec.LookPath("xz")
	if err != nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil || !bytes.Contains(out, []byte("XZ Utils")) {
		return ""
	}
	return path
}

// xzProgram is a running "xz -dc".
type xzProgram struct {
	cmd    *exec.Cmd
	cancel context.CancelFunc
	stdout io.ReadCloser
	stderr cappedBuffer
	done   bool
	err    error // what reading ended with, once done
}

func startXZ(ctx context.Context, path string, r io.Reader) (*xzProgram, error) {
	ctx, cancel := context.WithCancel(ctx)
	x := &xzProgram{cancel: cancel}
	x.cmd = exec.CommandContext(ctx, path, "--decompress", "--stdout", "--format=xz", "--threads=0",
		fmt.Sprintf("--memlimit-decompress=%d", xzMemory))
	// Not ours: XZ_DEFAULTS and XZ_OPT could change what the program does.
	x.cmd.Env = []string{"LC_ALL=C"}
	x.cmd.Stdin = r
	x.cmd.Stderr = &x.stderr
	// The copy to its input may hang in a source that sends nothing.
	x.cmd.WaitDelay = time.Second
	stdout, err := x.cmd.StdoutPipe()
	if err == nil {
		x.stdout = stdout
		err = x.cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return x, nil
}

func (x *xzProgram) Read(p []byte) (int, error) {
	if x.done {
		return 0, x.err
	}
	n, err := x.stdout.Read(p)
	if err == nil || n > 0 {
		return n, nil
	}
	x.finish(err)
	return 0, x.err
}

// finish waits for the program: only its exit status says that the data was
// whole.
func (x *xzProgram) finish(readErr error) {
	x.done = true
	x.err = readErr
	err := x.cmd.Wait()
	x.cancel()
	if err == nil {
		return
	}
	msg := strings.TrimPrefix(strings.TrimSpace(x.stderr.String()), "xz: ")
	msg = strings.TrimPrefix(msg, "(stdin): ")
	switch {
	case strings.Contains(msg, "Unexpected end of input"):
		x.err = io.ErrUnexpectedEOF
	case strings.Contains(msg, "Memory usage limit"):
		x.err = fmt.Errorf("it needs more than %d MiB to decompress: compress it again with xz -9 or less", xzMemory>>20)
	default:
		x.err = fmt.Errorf("xz: %w: %s", err, msg)
	}
}

// Close kills the program when it still runs, and waits for it.
func (x *xzProgram) Close() error {
	if !x.done {
		x.cancel()
		x.finish(context.Canceled)
	}
	return nil
}

// cappedBuffer keeps the beginning of what is written to it.
type cappedBuffer struct{ bytes.Buffer }

func (b *cappedBuffer) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), maxStderr-b.Len())])
	return len(p), nil
}

// builtinXZ is the library's decoder with the proof of the end that it lacks:
// it takes a cut between two blocks for the end of the stream.
type builtinXZ struct {
	*xz.Reader
	tail *tail
}

func newBuiltinXZ(r io.Reader) (io.ReadCloser, error) {
	t := &tail{r: r}
	buf := bufio.NewReaderSize(t, bufferSize)
	// A short source is the library's to complain about.
	head, _ := buf.Peek(xz.HeaderLen + maxBlockHeader)
	if err := checkDictionary(head); err != nil {
		return nil, err
	}
	d, err := xz.ReaderConfig{DictCap: lzma.MinDictCap}.NewReader(buf)
	if err != nil {
		return nil, noEOF(err)
	}
	return io.NopCloser(&builtinXZ{Reader: d, tail: t}), nil
}

func (x *builtinXZ) Read(p []byte) (int, error) {
	n, err := x.Reader.Read(p)
	if errors.Is(err, io.EOF) && !x.tail.isFooter() {
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

// maxBlockHeader is the longest block header: one byte counts its 4-byte words.
const maxBlockHeader = 1024

// checkDictionary refuses a first block with a dictionary above maxXZDict. It
// reads only as much of the block header as the .xz file format (3.1) puts
// before the dictionary size of a lone LZMA2 filter; the library refuses
// others.
func checkDictionary(b []byte) error {
	if len(b) < xz.HeaderLen+2 || b[xz.HeaderLen] == 0 {
		return nil // no block at all, or an error that the library finds
	}
	flags, b := b[xz.HeaderLen+1], b[xz.HeaderLen+2:]
	for _, present := range []bool{flags&0x40 != 0, flags&0x80 != 0} {
		if present {
			_, n := binary.Uvarint(b)
			b = b[max(n, 0):]
		}
	}
	if len(b) < 3 || b[0] != 0x21 {
		return nil
	}
	// One bit of mantissa, five of exponent (5.3.1); 40 is 4 GiB - 1.
	bits := uint64(b[2] & 0x3f)
	if size := (2 | bits&1) << (bits/2 + 11); size > maxXZDict {
		return fmt.Errorf("it needs a dictionary of %d MiB to decompress, at most %d are allowed: compress it again with xz -9 or less", size>>20,
			maxXZDict>>20)
	}
	return nil
}

// footerSize is the length of an xz stream footer.
const footerSize = 12

// tail remembers the last bytes that passed, without the zeros after them,
// which are stream padding: a footer ends with "YZ".
type tail struct {
	r     io.Reader
	last  []byte
	zeros int
}

func (t *tail) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	b := bytes.TrimRight(p[:n], "\x00")
	if len(b) == 0 {
		t.zeros += n
		return n, err
	}
	t.last = append(t.last, make([]byte, min(t.zeros, footerSize))...)
	t.last = append(t.last, b[max(0, len(b)-footerSize):]...)
	t.last = append(t.last[:0], t.last[max(0, len(t.last)-footerSize):]...)
	t.zeros = n - len(b)
	return n, err
}

func (t *tail) isFooter() bool {
	return len(t.last) == footerSize && string(t.last[10:]) == "YZ" &&
		binary.LittleEndian.Uint32(t.last) == crc32.ChecksumIEEE(t.last[4:10])
}
