package flash

import (
	"testing"

	"github.com/gild-dev/gild/internal/progress"
)

// Work counts each byte of the image once, data apart from zeros, whether it is
// written, was there, or is read back.
func TestWorkIsCounted(t *testing.T) {
	raw := randomDisk(2, 6*mib)
	for name, tt := range map[string]struct {
		old    []byte
		verify Verify
	}{
		"a new disk":         {make([]byte, 8*mib), VerifyFull},
		"nothing to be read": {make([]byte, 8*mib), VerifyOff},
		"half is there":      {append(append([]byte{}, raw[:4*mib]...), make([]byte, 4*mib)...), VerifyFull},
	} {
		t.Run(name, func(t *testing.T) {
			im := newTestImage(t, raw, "none")
			var last progress.Work
			result, err := Run(t.Context(), Job{
				Image: im.Image, Source: im.by(im), Disk: newModelDisk(tt.old), Verify: tt.verify,
				Progress: func(p Progress) {
					if last = p.Work; !last.Valid() {
						t.Errorf("%v: %+v", p.Phase, last)
					}
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			var data, zeros int64
			for i := range im.Table.Len() {
				_, length := im.Table.Extent(i)
				if im.Table.Zero(i) {
					zeros += length
				} else {
					data += length
				}
			}
			if last.Data != data || last.Written+last.Kept != data || last.Zeros != zeros || last.Zeroed != zeros {
				t.Errorf("%+v; want %d bytes of data and %d of zeros done", last, data, zeros)
			}
			if (last.Kept > 0) != (result.Kept > 0) {
				t.Errorf("%d bytes of data kept; the flash kept %d", last.Kept, result.Kept)
			}
			if last.Proved != last.Prove || last.ProvedZeros != last.ProveZeros || (last.Prove > 0) != (tt.verify == VerifyFull) {
				t.Errorf("%+v; want all read back that is to be", last)
			}
		})
	}
}
