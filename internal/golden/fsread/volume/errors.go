package volume

import (
	"errors"
	"fmt"
)

// ErrCorrupt is wrapped by every error that blames the bytes of the file system
// and not the device below it.
var ErrCorrupt = errors.New("corrupt file system")

// UnsupportedError says that a partition holds something known that this
// package does not read.
type UnsupportedError struct {
	// as blkid names it: "btrfs", "crypto_LUKS", ...; empty when nothing was
	// recognised
	Kind   string
	Reason string // what in it is not supported; empty when the whole kind is not
}

func (e *UnsupportedError) Error() string {
	switch {
	case e.Kind == "":
		return "no known file system"
	case e.Reason != "":
		return e.Kind + ": " + e.Reason
	}
	return e.Kind + " cannot be read without mounting it"
}

// Corrupt blames the bytes of the file system.
func Corrupt(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, ErrCorrupt)...)
}

// FeatureBits names features that a reader does not know.
func FeatureBits(unknown uint32) string {
	return fmt.Sprintf("unknown incompatible features %#x", unknown)
}
