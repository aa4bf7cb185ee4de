package source

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path"
	"slices"
	"strings"
)

// member is the one disk in an archive. Its EOF means that it was whole, and
// that the archive ends as it should and holds no other disk.
type member interface {
	io.Reader
	// name is that of the file in the archive.
	name() string
}

// newMember finds the disk in an archive that comes front to back.
func newMember(f format, r *bufio.Reader) (member, error) {
	open := openTar
	if f == formatZip {
		open = openZip
	}
	m, err := open(r)
	if err != nil {
		return nil, cutArchive(f, err)
	}
	return wholeMember{m, f}, nil
}

// wholeMember says of an archive that ends early what there is to do.
type wholeMember struct {
	member
	format format
}

func (m wholeMember) Read(p []byte) (int, error) {
	n, err := m.member.Read(p)
	return n, cutArchive(m.format, err)
}

func cutArchive(f format, err error) error {
	if err == io.ErrUnexpectedEOF { //nolint:errorlint // what wraps it has said more
		return fmt.Errorf("the %s archive ends early: the file is truncated, get it again: %w", f, err)
	}
	return err
}

// beside are the extensions of what an archive has beside the disk: an OVA's
// description and its sums, notes for a person.
var beside = []string{
	".ovf", ".mf", ".cert", ".txt", ".md", ".md5", ".sha1", ".sha256", ".sha512", ".sha256sum", ".asc", ".sig", ".bmap",
	".xml", ".json", ".nvram", ".license", ".html", ".pdf",
}

func isBeside(name string) bool {
	return slices.Contains(beside, strings.ToLower(path.Ext(name))) || strings.HasPrefix(path.Base(name), "._") ||
		strings.HasPrefix(name, "__MACOSX/")
}

func errSeveral(first, second string) error {
	return fmt.Errorf("the archive holds several files, %.60q and %.60q among them: unpack it and give the disk image", first, second)
}

var errNoMember = errors.New("the archive holds no disk image")

// tarMember is a disk in a tar archive, an OVA included.
type tarMember struct {
	r    *bufio.Reader
	tar  *tar.Reader
	file string
}

func openTar(r *bufio.Reader) (member, error) {
	t := &tarMember{r: r, tar: tar.NewReader(r)}
	h, err := t.next()
	if errors.Is(err, io.EOF) {
		return nil, errNoMember
	}
	if err != nil {
		return nil, err
	}
	t.file = h.Name
	return t, nil
}

// next goes to the next file that may be the disk.
func (t *tarMember) next() (*tar.Header, error) {
	for {
		h, err := t.tar.Next()
		if err != nil {
			return nil, err
		}
		if (h.Typeflag == tar.TypeReg || h.Typeflag == tar.TypeGNUSparse) && h.Size > 0 && !isBeside(h.Name) {
			return h, nil
		}
	}
}

func (t *tarMember) name() string { return t.file }

func (t *tarMember) Read(p []byte) (int, error) {
	n, err := t.tar.Read(p)
	if n > 0 && err == io.EOF { // that alone is the file's end
		return n, nil // the next call sees it again
	}
	if n > 0 || err != io.EOF {
		return n, err
	}
	if h, err := t.next(); err == nil {
		return 0, errSeveral(t.file, h.Name)
	} else if !errors.Is(err, io.EOF) {
		return 0, err
	}
	// What is behind the end, padding as a rule, is read so that a decoder
	// below proves its data whole.
	if _, err := io.Copy(io.Discard, t.r); err != nil {
		return 0, err
	}
	return 0, io.EOF
}

// zipMember is a disk in a zip archive (PKWARE's APPNOTE 6.3, sections 4.3 and
// 4.4), read by its local headers.
type zipMember struct {
	r    *bufio.Reader
	file string    // the disk
	body io.Reader // unpacked
	head zipHeader // of what is read
	got  uint64
	crc  uint32
	err  error
}

// zipHeader is a local file header.
type zipHeader struct {
	file         string
	flags        uint16
	method       uint16
	crc          uint32
	packed, size uint64 // 0 where the data descriptor tells
	zip64        bool
}

const (
	zipLocal      = "PK\x03\x04"
	zipCentral    = "PK\x01\x02"
	zipEnd        = "PK\x05\x06"
	zipDescriptor = "PK\x07\x08"

	zipStored, zipDeflated = 0, 8
	zipEncrypted           = 1
	zipTold                = 8 // sizes and sum are in a data descriptor
)

func openZip(r *bufio.Reader) (member, error) {
	z := &zipMember{r: r}
	for {
		magic, err := r.Peek(4)
		if err != nil {
			return nil, noEOF(err)
		}
		if string(magic) != zipLocal {
			return nil, errNoMember
		}
		if z.head, err = readZipHeader(r); err != nil {
			return nil, err
		}
		if !strings.HasSuffix(z.head.file, "/") && !isBeside(z.head.file) {
			break
		}
		if err := z.start(); err != nil {
			return nil, err
		}
		if _, err := io.Copy(io.Discard, readerFunc(z.readBody)); err != nil {
			return nil, err
		}
	}
	z.file = z.head.file
	return z, z.start()
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// start begins the body of the file whose header was read.
func (z *zipMember) start() error {
	z.got, z.crc = 0, 0
	switch h := z.head; {
	case h.flags&zipEncrypted != 0:
		return fmt.Errorf("%.60q in the archive is encrypted: unpack it first", h.file)
	case h.method == zipDeflated:
		z.body = flate.NewReader(z.r) // takes no byte too many of a bufio.Reader
	case h.method == zipStored && h.flags&zipTold == 0:
		z.body = io.LimitReader(z.r, int64(min(h.packed, 1<<62)))
	case h.method == zipStored:
		return fmt.Errorf("%.60q is stored in the archive without its size: unpack it first", h.file)
	default:
		return fmt.Errorf("%.60q in the archive is packed by method %d: unpack it first", h.file, h.method)
	}
	return nil
}

func readZipHeader(r *bufio.Reader) (zipHeader, error) {
	var b [30]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return zipHeader{}, noEOF(err)
	}
	h := zipHeader{
		flags: binary.LittleEndian.Uint16(b[6:]), method: binary.LittleEndian.Uint16(b[8:]), crc: binary.LittleEndian.Uint32(b[14:]),
		packed: uint64(binary.LittleEndian.Uint32(b[18:])), size: uint64(binary.LittleEndian.Uint32(b[22:])),
	}
	name := make([]byte, binary.LittleEndian.Uint16(b[26:]))
	extra := make([]byte, binary.LittleEndian.Uint16(b[28:]))
	if _, err := io.ReadFull(r, name); err != nil {
		return h, noEOF(err)
	}
	if _, err := io.ReadFull(r, extra); err != nil {
		return h, noEOF(err)
	}
	h.file = string(name)
	for len(extra) >= 4 {
		id, n := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		if extra = extra[4:]; n > len(extra) {
			break
		}
		if id == 1 { // ZIP64
			h.zip64 = true
			if n >= 16 {
				h.size, h.packed = binary.LittleEndian.Uint64(extra), binary.LittleEndian.Uint64(extra[8:])
			}
		}
		extra = extra[n:]
	}
	return h, nil
}

func (z *zipMember) name() string { return z.file }

func (z *zipMember) Read(p []byte) (int, error) {
	if z.err != nil {
		return 0, z.err
	}
	n, err := z.readBody(p)
	if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		if err = z.finish(); err == nil {
			err = io.EOF
		}
		z.err = err
	}
	return n, err
}

// readBody reads the file; its EOF means that the file was whole.
func (z *zipMember) readBody(p []byte) (int, error) {
	n, err := z.body.Read(p)
	z.got += uint64(n)
	z.crc = crc32.Update(z.crc, crc32.IEEETable, p[:n])
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil // the next call sees it again
	}
	if n == 0 && errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		if err := z.told(); err != nil {
			return 0, err
		}
	}
	return n, err
}

// told reads the data descriptor, if there is one, and holds the file to it.
func (z *zipMember) told() error {
	h := z.head
	if h.flags&zipTold != 0 {
		if b, err := z.r.Peek(4); err == nil && string(b) == zipDescriptor {
			_, _ = z.r.Discard(4)
		}
		n := 12
		if h.zip64 {
			n = 20
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(z.r, b); err != nil {
			return noEOF(err)
		}
		h.crc, h.size = binary.LittleEndian.Uint32(b), uint64(binary.LittleEndian.Uint32(b[8:]))
		if h.zip64 {
			h.size = binary.LittleEndian.Uint64(b[12:])
		}
	}
	switch {
	case z.got < h.size && h.method == zipStored:
		return io.ErrUnexpectedEOF
	case z.got != h.size && (h.zip64 || uint32(z.got) != uint32(h.size)):
		return fmt.Errorf("%.60q in the archive has %d bytes, not the %d that it should have", h.file, z.got, h.size)
	case z.crc != h.crc:
		return fmt.Errorf("the checksum of %.60q in the archive is wrong", h.file)
	}
	return nil
}

// finish reads what is behind the disk: files that may not be others, and the
// directory of the archive, whose end shows that nothing is missing.
func (z *zipMember) finish() error {
	for {
		magic, err := z.r.Peek(4)
		if err != nil {
			return noEOF(err)
		}
		if string(magic) != zipLocal {
			break
		}
		if z.head, err = readZipHeader(z.r); err != nil {
			return err
		}
		if !strings.HasSuffix(z.head.file, "/") && !isBeside(z.head.file) {
			return errSeveral(z.file, z.head.file)
		}
		if err := z.start(); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, readerFunc(z.readBody)); err != nil {
			return err
		}
	}
	// The rest is small but for a hostile one; its end is within the last 64 KiB.
	var tail []byte
	buf := make([]byte, 64<<10)
	for {
		n, err := z.r.Read(buf)
		tail = append(tail, buf[:n]...)
		if cut := len(tail) - 66<<10; cut > 0 {
			tail = slices.Delete(tail, 0, cut)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if at := bytes.LastIndex(tail, []byte(zipEnd)); at < 0 || len(tail)-at < 22 ||
		int(binary.LittleEndian.Uint16(tail[at+20:])) != len(tail)-at-22 {
		return fmt.Errorf("the archive's directory is not at its end: it is truncated, get it again: %w", io.ErrUnexpectedEOF)
	}
	return nil
}
