package nbd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// memory is a disk in memory. What lies before awaited is there; a read of
// the rest waits for arrived.
type memory struct {
	mu      sync.Mutex
	bytes   []byte
	awaited int64
	arrived chan struct{}
	flushed int
	err     error
}

func newMemory(n int) *memory {
	return &memory{bytes: make([]byte, n), awaited: int64(n), arrived: make(chan struct{})}
}

func (d *memory) Size() int64 { return int64(len(d.bytes)) }

func (d *memory) Await(off, n int64) error {
	if off+n > d.awaited {
		<-d.arrived
	}
	return nil
}

func (d *memory) ReadAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return copy(p, d.bytes[off:]), d.err
}

func (d *memory) WriteAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return copy(d.bytes[off:], p), d.err
}

func (d *memory) Flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.flushed++
	return d.err
}

// client speaks the protocol by hand, as the driver does.
type client struct {
	t    *testing.T
	conn net.Conn
}

// serve returns a client of a disk, and a channel that gets Serve's result.
func serve(t *testing.T, d Disk, o Options) (*client, <-chan error) {
	t.Helper()
	ours, theirs := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- Serve(t.Context(), ours, d, o) }()
	t.Cleanup(func() { theirs.Close() })
	_ = theirs.SetDeadline(time.Now().Add(time.Minute))
	return &client{t, theirs}, done
}

func request(flags, command uint16, handle uint64, off int64, length uint32) []byte {
	p := make([]byte, requestSize)
	order.PutUint32(p, requestMagic)
	order.PutUint16(p[4:], flags)
	order.PutUint16(p[6:], command)
	order.PutUint64(p[8:], handle)
	order.PutUint64(p[16:], uint64(off))
	order.PutUint32(p[24:], length)
	return p
}

func (c *client) send(p ...[]byte) {
	c.t.Helper()
	if _, err := c.conn.Write(bytes.Join(p, nil)); err != nil {
		c.t.Fatal(err)
	}
}

// reply reads one reply, with n bytes of a read that went well.
func (c *client) reply(n int) (handle uint64, code uint32, data []byte) {
	c.t.Helper()
	p := make([]byte, replySize)
	if _, err := io.ReadFull(c.conn, p); err != nil {
		c.t.Fatal(err)
	}
	if order.Uint32(p) != replyMagic {
		c.t.Fatalf("a reply begins with %x", p)
	}
	handle, code = order.Uint64(p[8:]), order.Uint32(p[4:])
	if code == 0 && n > 0 {
		data = make([]byte, n)
		if _, err := io.ReadFull(c.conn, data); err != nil {
			c.t.Fatal(err)
		}
	}
	return handle, code, data
}

func TestRequests(t *testing.T) {
	d := newMemory(1 << 20)
	c, done := serve(t, d, Options{})
	want := bytes.Repeat([]byte{7}, 4096)
	c.send(request(flagFUA, cmdWrite, 1, 8192, 4096), want)
	if handle, code, _ := c.reply(0); handle != 1 || code != 0 || d.flushed != 1 {
		t.Errorf("write with FUA: handle %d, code %d, %d flushes; want 1, 0, 1", handle, code, d.flushed)
	}
	c.send(request(0, cmdRead, 2, 8192, 4096))
	if handle, code, got := c.reply(4096); handle != 2 || code != 0 || !bytes.Equal(got, want) {
		t.Errorf("read: handle %d, code %d, right %v", handle, code, bytes.Equal(got, want))
	}
	const trim, writeZeroes = 4, 6
	for _, tt := range []struct {
		name    string
		command uint16
		off     int64
		length  uint32
		code    uint32
	}{
		{"flush", cmdFlush, 0, 0, 0},
		{"read past the end", cmdRead, 1<<20 - 512, 1024, errInvalid},
		{"read before the start", cmdRead, -512, 512, errInvalid},
		{"read of too much", cmdRead, 0, maxLength + 512, errInvalid},
		{"trim", trim, 0, 512, errInvalid},
		{"write zeroes", writeZeroes, 0, 512, errInvalid},
		{"nobody knows", 77, 0, 512, errInvalid},
	} {
		c.send(request(0, tt.command, 9, tt.off, tt.length))
		if _, code, _ := c.reply(0); code != tt.code {
			t.Errorf("%s = %d; want %d", tt.name, code, tt.code)
		}
	}
	c.send(request(0, cmdWrite, 9, 1<<20, 512), make([]byte, 512))
	if _, code, _ := c.reply(0); code != errNoSpace {
		t.Errorf("write past the end = %d; want %d", code, errNoSpace)
	}
	c.send(request(0, cmdDisc, 0, 0, 0))
	if err := <-done; err != nil {
		t.Errorf("Serve() = %v; want nil after a disconnect", err)
	}
}

func TestDiskErrorsAreTold(t *testing.T) {
	d := newMemory(1 << 20)
	d.err = errors.New("the disk is broken")
	told := make(chan string, 3)
	c, _ := serve(t, d, Options{OnError: func(op string, _ int64, err error) { told <- op + ": " + err.Error() }})
	for op, send := range map[string][]byte{
		"reading": request(0, cmdRead, 1, 0, 512), "flushing": request(0, cmdFlush, 1, 0, 0),
		"writing": append(request(0, cmdWrite, 1, 0, 512), make([]byte, 512)...),
	} {
		c.send(send)
		if _, code, _ := c.reply(0); code != errIO {
			t.Errorf("%s = %d; want %d", op, code, errIO)
		}
		if got := <-told; got != op+": "+d.err.Error() {
			t.Errorf("told %q; want %s", got, op)
		}
	}
}

// However many reads wait for the network, what is there can be read, and
// written.
func TestWaitingReadsHoldUpNothing(t *testing.T) {
	d := newMemory(64 << 20)
	d.awaited = 1 << 20
	c, _ := serve(t, d, Options{})
	const waiting, length = 200, 1 << 20 // of far more bytes than the budget
	for i := range uint64(waiting) {
		c.send(request(0, cmdRead, 1000+i, 2<<20, length))
	}
	c.send(request(0, cmdRead, 1, 0, 4096))
	if handle, code, _ := c.reply(4096); handle != 1 || code != 0 {
		t.Fatalf("a read of what is there: handle %d, code %d", handle, code)
	}
	c.send(request(0, cmdWrite, 2, 4<<20, 4096), make([]byte, 4096))
	if handle, code, _ := c.reply(0); handle != 2 || code != 0 {
		t.Fatalf("a write: handle %d, code %d", handle, code)
	}
	close(d.arrived)
	for range waiting {
		if handle, code, _ := c.reply(length); handle < 1000 || code != 0 {
			t.Fatalf("handle %d, code %d; want the reads that waited", handle, code)
		}
	}
}

func TestStreamsThatBreak(t *testing.T) {
	for name, send := range map[string][]byte{
		"nothing":       nil,
		"half a header": request(0, cmdRead, 1, 0, 512)[:9],
		"half a write":  append(request(0, cmdWrite, 1, 0, 512), make([]byte, 100)...),
		"bad magic":     bytes.Repeat([]byte{1}, requestSize),
		"a huge write":  request(0, cmdWrite, 1, 0, maxLength+1),
	} {
		c, done := serve(t, newMemory(1<<20), Options{})
		c.send(send)
		c.conn.Close()
		if err := <-done; err == nil {
			t.Errorf("%s: Serve() = nil; want an error", name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	ours, _ := net.Pipe()
	cancel()
	if err := Serve(ctx, ours, newMemory(512), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Serve() after its context = %v; want %v", err, context.Canceled)
	}
}

// handshake is as much of the fixed newstyle negotiation (NBD's doc/proto.md)
// as a client needs that asks for an export by name.
func handshake(conn net.Conn, size int64) error {
	be := binary.BigEndian
	hello := be.AppendUint16([]byte("NBDMAGICIHAVEOPT"), 1|2) // fixed newstyle, no zeroes
	if _, err := conn.Write(hello); err != nil {
		return err
	}
	var flags [4]byte
	if _, err := io.ReadFull(conn, flags[:]); err != nil {
		return err
	}
	for {
		var head [16]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return err
		}
		option, data := be.Uint32(head[8:]), make([]byte, be.Uint32(head[12:]))
		if _, err := io.ReadFull(conn, data); err != nil {
			return err
		}
		if option == 1 { // NBD_OPT_EXPORT_NAME
			answer := be.AppendUint16(be.AppendUint64(nil, uint64(size)), hasFlags|sendFlush|sendFUA)
			_, err := conn.Write(answer)
			return err
		}
		// NBD_REP_ERR_UNSUP
		refusal := be.AppendUint32(be.AppendUint32(be.AppendUint32(be.AppendUint64(nil, 0x3e889045565a9), option), 1<<31|1), 0)
		if _, err := conn.Write(refusal); err != nil {
			return err
		}
	}
}

// TestForeignClient has QEMU's client read and write the disk.
func TestForeignClient(t *testing.T) {
	for _, tool := range []string{"qemu-io", "qemu-img"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s (qemu-utils)", tool)
		}
	}
	d := newMemory(16 << 20)
	for i := range d.bytes {
		d.bytes[i] = byte(i >> 12)
	}
	path := filepath.Join(t.TempDir(), "nbd")
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				if handshake(conn, d.Size()) == nil {
					_ = Serve(t.Context(), conn, d, Options{})
				}
			}()
		}
	}()
	url := "nbd+unix:///?socket=" + path
	run := func(args ...string) {
		t.Helper()
		if text, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, text)
		}
	}
	run("qemu-io", "-f", "raw", "-c", "read -P 1 4096 4096", "-c", "write -P 0xaa 1M 3M", "-c", "write -f -P 0xbb 5M 64k", "-c", "flush", "-c",
		"read -P 0xaa 1M 3M", url)
	if !bytes.Equal(d.bytes[1<<20:4<<20], bytes.Repeat([]byte{0xaa}, 3<<20)) || d.flushed == 0 {
		t.Errorf("QEMU's writes did not arrive, or were not flushed (%d)", d.flushed)
	}
	copied := filepath.Join(t.TempDir(), "copy")
	run("qemu-img", "convert", "-f", "raw", "-O", "raw", url, copied)
	if got, err := os.ReadFile(copied); err != nil || !bytes.Equal(got, d.bytes) {
		t.Errorf("qemu-img read other bytes than the disk has (%v)", err)
	}
}

func FuzzServe(f *testing.F) {
	f.Add(request(0, cmdRead, 1, 0, 512))
	f.Add(append(request(flagFUA, cmdWrite, 1, 512, 512), make([]byte, 512)...))
	f.Add(append(request(0, cmdFlush, 1, 0, 0), request(0, cmdDisc, 1, 0, 0)...))
	f.Fuzz(func(t *testing.T, p []byte) {
		stream := &stream{Reader: bytes.NewReader(p)}
		_ = Serve(t.Context(), stream, newMemory(4096), Options{})
	})
}

// stream is read from, and forgets what is written.
type stream struct{ io.Reader }

func (*stream) Write(p []byte) (int, error) { return len(p), nil }
func (*stream) Close() error                { return nil }
