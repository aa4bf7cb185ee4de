package flash

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// A write that says it wrote less is an error of its own, not something for
// the read-back to find.
func TestShortWriteIsAnError(t *testing.T) {
	im := newTestImage(t, randomDisk(2, 3*mib), "none")
	_, err := Run(t.Context(), Job{Image: im.Image, Source: im, Disk: shortDisk{newModelDisk(make([]byte, 3*mib))}})
	if !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("Run = %v; want %v", err, io.ErrShortWrite)
	}
}

type shortDisk struct{ *modelDisk }

func (d shortDisk) WriteAt(p []byte, off int64) (int, error) {
	return d.modelDisk.WriteAt(p[:len(p)-sector], off)
}

// A source may give its bytes as it likes; each range is read to its last one.
func TestSourceByByte(t *testing.T) {
	im := newTestImage(t, randomDisk(2, 3*mib), "none")
	slow := sourceFunc(func(ctx context.Context, off, length int64) (io.ReadCloser, error) {
		body, err := im.ReadRange(ctx, off, length)
		return io.NopCloser(iotest.OneByteReader(body)), err
	})
	d := newModelDisk(make([]byte, 3*mib))
	if _, err := Run(t.Context(), Job{Image: im.Image, Source: slow, Disk: d}); err != nil || !bytes.Equal(d.now, im.raw) {
		t.Errorf("Run = %v; want the image", err)
	}
}

// A disk that promises zeros and keeps something else: found, and the zeros
// written as bytes.
func TestZerosThatAreNoneAreFound(t *testing.T) {
	im := newTestImage(t, randomDisk(2, 8*mib), "none")
	i := 32
	for !im.Table.Zero(i) {
		i++
	}
	at, _ := im.Table.Extent(i)
	d := newModelDisk(randomDisk(1, 8*mib))
	d.fault = func(kind opKind, off int64, p []byte) error {
		if kind == opZero && off <= at && at < off+int64(len(p)) {
			p[at-off+100] = 7
		}
		return nil
	}
	result, err := Run(t.Context(), Job{Image: im.Image, Source: im, Disk: d})
	if err != nil || result.Repaired != 1 || !bytes.Equal(d.now, im.raw) {
		t.Errorf("Run = %+v, %v; want one chunk repaired", result, err)
	}
}
