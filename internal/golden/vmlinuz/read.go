package vmlinuz

import (
	"errors"
	"fmt"
	"io"

	"github.com/gild-dev/gild/internal/golden"
)

// ErrTooLarge is wrapped when a file has more than golden.MaxKernelSize bytes.
var ErrTooLarge = errors.New("too large for a kernel")

// Read takes a file into memory that may turn out to be anything, /dev/zero
// included.
func Read(r io.Reader) ([]byte, error) {
	p, err := io.ReadAll(io.LimitReader(r, golden.MaxKernelSize+1))
	switch {
	case err != nil:
		return nil, err
	case len(p) > golden.MaxKernelSize:
		return nil, fmt.Errorf("%w: more than the %d MiB that one may have", ErrTooLarge, golden.MaxKernelSize>>20)
	case len(p) == 0:
		return nil, errors.New("it is empty")
	}
	return p, nil
}
