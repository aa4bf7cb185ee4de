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
	_, err := Run(t.Context(), Job{Image: im.Image, Source: im.by(im), Disk: shortDisk{newModelDisk(make([]byte, 3*mib))}})
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
	if _, err := Run(t.Context(), Job{Image: im.Image, Source: im.by(slow), Disk: d}); err != nil || !bytes.Equal(d.now, im.raw) {
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
	result, err := Run(t.Context(), Job{Image: im.Image, Source: im.by(im), Disk: d})
	if err != nil || result.Repaired != 1 || !bytes.Equal(d.now, im.raw) {
		t.Errorf("Run = %+v, %v; want one chunk repaired", result, err)
	}
}

// Zeros that are on the disk already, sent elsewhere: nothing shows at their
// own place. What they hit is a chunk that the survey finds right if it looks
// before, and wrong if it looks after.
func TestZerosGoneAstrayAreFoundByTheSurvey(t *testing.T) {
	raw := randomDisk(2, 16*mib)
	im := newTestImage(t, raw, "none")
	victim := 100
	for im.Table.Zero(victim) {
		victim++
	}
	at, length := im.Table.Extent(victim)
	for n := range 4 { // whichever of the zero runs goes astray
		d := newModelDisk(raw)
		seen := 0
		d.lie = func(o *op) {
			if o.kind == opZero && o.off >= mib && o.off < 15*mib {
				if seen++; seen == n+1 {
					o.lied, o.lieOff, o.lieData = true, at, make([]byte, min(length, int64(len(o.data))))
				}
			}
		}
		_, err := Run(t.Context(), Job{Image: im.Image, Source: im.by(im), Disk: d})
		if err != nil || !bytes.Equal(d.now, raw) {
			t.Errorf("zero run %d went to chunk %d: Run = %v; want the image", n, victim, err)
		}
		if seen <= n {
			t.Errorf("there were only %d zero runs", seen)
		}
	}
}
