package golden

import (
	"crypto/sha256"
	"fmt"

	"github.com/zeebo/blake3"
)

// Algorithm is the hash of a chunk's raw bytes. Both give 32 bytes; the
// number is what the chunk table stores.
type Algorithm uint16

// The algorithms. SHA-256 needs instructions of its own to be fast and falls
// to less than a fifth without; BLAKE3 does well with AVX2, and still better
// than a bare SHA-256 without (docs/decisions/0011).
const (
	SHA256 Algorithm = 1
	BLAKE3 Algorithm = 2
)

// HashSize is the length of every chunk hash in bytes.
const HashSize = 32

// Hash is the hash of one chunk's raw bytes.
type Hash [HashSize]byte

// ParseAlgorithm is the inverse of String.
func ParseAlgorithm(s string) (Algorithm, error) {
	for _, a := range []Algorithm{SHA256, BLAKE3} {
		if a.String() == s {
			return a, nil
		}
	}
	return 0, fmt.Errorf("unknown chunk hash %.40q, want sha256 or blake3", s)
}

func (a Algorithm) String() string {
	switch a {
	case SHA256:
		return "sha256"
	case BLAKE3:
		return "blake3"
	}
	return fmt.Sprintf("algorithm %d", uint16(a))
}

// Sum hashes p. It is only called with an algorithm that a table or
// ParseAlgorithm accepted.
func (a Algorithm) Sum(p []byte) Hash {
	if a == BLAKE3 {
		return blake3.Sum256(p)
	}
	return sha256.Sum256(p)
}
