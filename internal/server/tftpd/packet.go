package tftpd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
)

// Opcodes: RFC 1350 section 5 and RFC 2347.
const (
	opRRQ   = 1
	opWRQ   = 2
	opDATA  = 3
	opACK   = 4
	opERROR = 5
	opOACK  = 6
)

// Error codes: RFC 1350 appendix and RFC 2347.
const (
	codeUndefined = 0
	codeNotFound  = 1
	codeAccess    = 2
	codeIllegal   = 4
	codeUnknownID = 5
	codeOptions   = 8
)

// maxRequest is the longest read request in bytes. RFC 2347 says 512; firmware
// keeps to it.
const maxRequest = 512

// refusal is an answer to the client: an ERROR packet.
type refusal struct {
	code uint16
	text string
}

func (r *refusal) Error() string { return r.text }

// request is a read request with the options that this server honours; zero
// means not asked for.
type request struct {
	name       string // as it was asked for
	blksize    int
	windowsize int
	timeout    int // seconds
	tsize      bool
}

// errNotRequest marks packets that must not be answered at all: answering a
// stray ERROR, ACK or DATA can make two servers talk to each other for ever.
var errNotRequest = errors.New("not a request")

// parseRequest reads a packet that arrived at the server's own port: a request,
// a *refusal to send back, or errNotRequest.
func parseRequest(b []byte) (request, error) {
	var r request
	if len(b) < 2 {
		return r, errNotRequest
	}
	switch binary.BigEndian.Uint16(b) {
	case opRRQ:
	case opWRQ:
		return r, &refusal{codeAccess, "this server is read-only"}
	case opDATA, opACK, opERROR, opOACK:
		return r, errNotRequest
	default:
		return r, &refusal{codeIllegal, "unknown operation"}
	}
	if len(b) > maxRequest {
		return r, &refusal{codeIllegal, "request too long"}
	}
	fields := bytes.Split(b[2:], []byte{0})
	// The last field is what follows the final NUL. Some firmware pads requests:
	// rests are ignored.
	if len(fields) < 3 {
		return r, &refusal{codeIllegal, "malformed request"}
	}
	fields = fields[:len(fields)-1]
	r.name = string(fields[0])

	switch strings.ToLower(string(fields[1])) {
	case "octet", "netascii":
		// Boot files are binary. ROMs that ask for netascii do no conversion, so they
		// get the bytes.
	default:
		return r, &refusal{codeIllegal, "transfer mode must be octet"}
	}
	return r, r.options(fields[2:])
}

// options reads name and value pairs. An option that is unknown or out of range
// is left out of the OACK, which tells the client that it does not apply (RFC
// 2347); only a repeated one is refused, because the two sides could take
// different ones.
func (r *request) options(fields [][]byte) error {
	seen := map[string]bool{}
	for ; len(fields) >= 2; fields = fields[2:] {
		name := strings.ToLower(string(fields[0]))
		if name == "" {
			break // padding
		}
		if seen[name] {
			return &refusal{codeOptions, "option given twice"}
		}
		seen[name] = true
		v, err := strconv.ParseUint(string(fields[1]), 10, 63)
		if err != nil {
			continue
		}
		switch name {
		case "blksize": // RFC 2348: 8 to 65464; larger is answered with what is possible
			if v >= 8 {
				r.blksize = int(min(v, 65464))
			}
		case "windowsize": // RFC 7440: 1 to 65535
			if v >= 1 && v <= 65535 {
				r.windowsize = int(v)
			}
		case "timeout": // RFC 2349: 1 to 255 seconds, echoed unchanged or not at all
			if v >= 1 && v <= 255 {
				r.timeout = int(v)
			}
		case "tsize": // RFC 2349: 0 in a read request; the value is of no use here
			r.tsize = true
		}
	}
	return nil
}

// parseACK gives the block number of an ACK.
func parseACK(b []byte) (uint16, bool) {
	if len(b) < 4 || binary.BigEndian.Uint16(b) != opACK {
		return 0, false
	}
	return binary.BigEndian.Uint16(b[2:]), true
}

// parseERROR gives code and text of an ERROR; the text is the client's and is
// cut to 80 bytes.
func parseERROR(b []byte) (code uint16, text string, ok bool) {
	if len(b) < 4 || binary.BigEndian.Uint16(b) != opERROR {
		return 0, "", false
	}
	msg, _, _ := bytes.Cut(b[4:], []byte{0})
	return binary.BigEndian.Uint16(b[2:]), string(msg[:min(len(msg), 80)]), true
}

func appendERROR(b []byte, r *refusal) []byte {
	b = binary.BigEndian.AppendUint16(b, opERROR)
	b = binary.BigEndian.AppendUint16(b, r.code)
	return append(append(b, r.text...), 0)
}

// option is one acknowledged option of an OACK.
type option struct {
	name  string
	value int64
}

func appendOACK(b []byte, opts []option) []byte {
	b = binary.BigEndian.AppendUint16(b, opOACK)
	for _, o := range opts {
		b = append(append(b, o.name...), 0)
		b = append(strconv.AppendInt(b, o.value, 10), 0)
	}
	return b
}
