package vm

import "bytes"

// plainText removes from a console stream what is not text: terminal escape
// sequences (ECMA-48) and control characters other than tab and newline.
// Firmware and systemd colour single words, which would otherwise hide "login:"
// from a search. The state lives between calls, as sequences span reads.
type plainText struct{ state textState }

type textState uint8

const (
	inText       textState = iota
	afterESC               // ESC seen
	inCSI                  // ESC [ ... until a final byte
	inString               // OSC, DCS, ...: until BEL or ESC \
	stringESC              // ESC inside such a string
	inDesignator           // ESC ( and its like: one more byte
)

// filter returns the text in p.
func (t *plainText) filter(p []byte) []byte {
	out := bytes.NewBuffer(make([]byte, 0, len(p)))
	for _, b := range p {
		switch t.state {
		case inText:
			switch {
			case b == 0x1b:
				t.state = afterESC
			case b == '\n' || b == '\t' || b >= 0x20 && b != 0x7f:
				out.WriteByte(b)
			}
		case afterESC:
			t.state = escaped(b)
		case inCSI:
			if b == 0x1b {
				t.state = afterESC
			} else if b >= 0x40 && b <= 0x7e {
				t.state = inText
			}
		case inString:
			switch b {
			case 0x07:
				t.state = inText
			case 0x1b:
				t.state = stringESC
			case '\n':
				// No terminal string spans lines: the guest died inside one. Do not swallow the
				// rest.
				t.state = inText
				out.WriteByte(b)
			}
		case stringESC:
			t.state = inText
			if b != '\\' {
				t.state = escaped(b)
			}
		case inDesignator:
			t.state = inText
		}
	}
	return out.Bytes()
}

// escaped returns the state after ESC and b.
func escaped(b byte) textState {
	switch b {
	case '[':
		return inCSI
	case ']', 'P', 'X', '^', '_':
		return inString
	case '(', ')', '*', '+', '#', '%', ' ':
		return inDesignator
	case 0x1b:
		return afterESC
	}
	return inText
}
