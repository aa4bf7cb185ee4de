package golden

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Digest is an OCI content digest, always in the form "sha256:" and 64 lower
// case hex digits (image-spec v1.1, descriptor.md, "Digests").
type Digest string

// ParseDigest accepts exactly the canonical form, so that one content has one
// spelling and a digest is safe to use as a file name.
func ParseDigest(s string) (Digest, error) {
	hexPart, ok := strings.CutPrefix(s, "sha256:")
	if !ok || len(hexPart) != 2*sha256.Size {
		return "", fmt.Errorf("digest %.80q is not sha256 and 64 hex digits", s)
	}
	for _, c := range []byte(hexPart) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", fmt.Errorf("digest %.80q is not sha256 and 64 hex digits", s)
		}
	}
	return Digest(s), nil
}

// DigestOf returns the digest of p.
func DigestOf(p []byte) Digest {
	sum := sha256.Sum256(p)
	return DigestFromSum(sum[:])
}

// DigestFromSum spells an already computed SHA-256 sum.
func DigestFromSum(sum []byte) Digest {
	return Digest("sha256:" + hex.EncodeToString(sum))
}

// Hex returns the digits without the algorithm.
func (d Digest) Hex() string { return strings.TrimPrefix(string(d), "sha256:") }

// Short returns the first twelve digits, enough for a person to compare.
func (d Digest) Short() string { return d.Hex()[:min(12, len(d.Hex()))] }

// Verify reports whether p is the content that d names.
func (d Digest) Verify(p []byte) error {
	if got := DigestOf(p); got != d {
		return fmt.Errorf("content hashes to %s, not to %s", got, d)
	}
	return nil
}
