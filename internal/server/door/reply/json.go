package reply

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"unicode/utf8"
)

// maxDepth is how deep JSON from a machine may be nested; what it has to say
// takes six levels.
const maxDepth = 32

// Refusal is a request that was refused, with the status for it.
type Refusal struct {
	Status int
	Err    error
}

func (e *Refusal) Error() string { return e.Err.Error() }
func (e *Refusal) Unwrap() error { return e.Err }

// ReadJSON reads the one JSON value of a request, of at most limit bytes, into
// v. Errors are *Refusal.
func ReadJSON(w http.ResponseWriter, r *http.Request, limit int64, v any) error {
	if r.Header.Get("Content-Encoding") != "" {
		return &Refusal{Status: http.StatusUnsupportedMediaType, Err: errors.New("body: no content encoding is accepted")}
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return &Refusal{Status: http.StatusUnsupportedMediaType, Err: errors.New("body: want Content-Type application/json")}
	}
	p, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return &Refusal{Status: http.StatusRequestEntityTooLarge, Err: fmt.Errorf("body: more than %d bytes", limit)}
	}
	if err != nil {
		return &Refusal{Status: http.StatusBadRequest, Err: fmt.Errorf("body: %w", err)}
	}
	if err := DecodeOne(p, v); err != nil {
		return &Refusal{Status: http.StatusBadRequest, Err: fmt.Errorf("body: %w", err)}
	}
	return nil
}

// DecodeOne decodes exactly one JSON value. Unknown fields are let pass, so
// that a newer agent can say more than this server knows.
func DecodeOne(p []byte, v any) error {
	if !utf8.Valid(p) {
		return errors.New("not UTF-8")
	}
	if depth(p) > maxDepth {
		return fmt.Errorf("nested more than %d deep", maxDepth)
	}
	dec := json.NewDecoder(bytes.NewReader(p))
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("data after the JSON value")
	}
	return nil
}

// depth returns how deep arrays and objects nest. On what is not JSON it
// returns some number, and the decoder finds the fault.
func depth(p []byte) int {
	var now, deepest int
	inString := false
	for i := 0; i < len(p); i++ {
		switch c := p[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			now++
			deepest = max(deepest, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return deepest
}

// JSON answers with a value as JSON.
func JSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
