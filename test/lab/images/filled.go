package images

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// filledFile is the size of one file of data, bytes.
const filledFile = 256 << 20

// Filled returns a golden image with data beside its system, bytes rounded up
// to 256 MiB: no two blocks of it are equal, and a compressor makes a quarter
// of it. Its raw form takes as much of the cache.
func (b *Builder) Filled(ctx context.Context, spec Spec, data int64) (string, error) {
	files := int((data + filledFile - 1) / filledFile)
	path, err := b.keep(ctx, fmt.Sprintf("filled-%d-%s", files, spec.file()), func(ctx context.Context, dst, work string) error {
		start, err := b.Golden(ctx, spec)
		if err != nil {
			return err
		}
		return editRoot(ctx, spec, start, dst, work, func(root string) error {
			dir := filepath.Join(root, "srv/data")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			for i := range files {
				if err := errors.Join(ctx.Err(), writeData(filepath.Join(dir, fmt.Sprintf("%04d", i)), i)); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return "", fmt.Errorf("filled image: %w", err)
	}
	return path, nil
}

// writeData writes one file of four letters in no order.
func writeData(path string, seed int) (err error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	const letters, bits = "acgt", 2
	source := rand.New(rand.NewPCG(uint64(seed), 0))
	w := bufio.NewWriterSize(file, 1<<20)
	var word [64 / bits]byte
	for range filledFile / len(word) {
		for i, v := 0, source.Uint64(); i < len(word); i, v = i+1, v>>bits {
			word[i] = letters[v%uint64(len(letters))]
		}
		if _, err := w.Write(word[:]); err != nil {
			return err
		}
	}
	return w.Flush()
}
