// Package progress estimates how far a flash is.
package progress

import "slices"

// Work is what a flash has to do and has done since it began, in bytes of the
// image, and how fast. Zeros are apart from data: they cost little to write.
type Work struct {
	Data    int64 `json:"data"`             // to be on the disk in the end
	Written int64 `json:"written"`          // of Data: fetched and written
	Kept    int64 `json:"kept,omitempty"`   // of Data: found right on the disk
	Zeros   int64 `json:"zeros,omitempty"`  // to be zero in the end
	Zeroed  int64 `json:"zeroed,omitempty"` // of Zeros

	Prove       int64 `json:"prove,omitempty"` // data to be read back in all
	Proved      int64 `json:"proved,omitempty"`
	ProveZeros  int64 `json:"proveZeros,omitempty"` // zeros to be read back in all
	ProvedZeros int64 `json:"provedZeros,omitempty"`

	// Bytes a second. The first three are of the last while, the others are
	// how fast the disk is while it does that; 0: not known yet.
	WriteRate     float64 `json:"writeRate,omitempty"`  // Written
	SettleRate    float64 `json:"settleRate,omitempty"` // Written and Kept
	WireRate      float64 `json:"wireRate,omitempty"`   // fetched, as compressed
	ZeroRate      float64 `json:"zeroRate,omitempty"`
	ReadRate      float64 `json:"readRate,omitempty"` // data
	ReadZerosRate float64 `json:"readZerosRate,omitempty"`

	// Watched is for how many seconds data has moved: below [Enough] no rate
	// says anything of the time to come.
	Watched float64 `json:"watched,omitempty"`
	// Brake is what the flash waits for most; empty: not known.
	Brake string `json:"brake,omitempty"`
}

// What a flash may wait for: Work.Brake.
const (
	BrakeLink      = "link"      // the network, or the server behind it
	BrakeDisk      = "disk"      // the machine's
	BrakeProcessor = "processor" // the machine's: decoding and hashing
)

// Brakes lists them all.
var Brakes = []string{BrakeLink, BrakeDisk, BrakeProcessor}

// Enough is for how many seconds data must have moved before a time left is
// shown.
const Enough = 10

// settled is the data that is on the disk.
func (w *Work) settled() int64 { return min(w.Written+w.Kept, w.Data) }

// Quiet is the work of a flash that has been silent for a while: how far it is,
// and no rate of now.
func (w Work) Quiet() Work {
	w.WriteRate, w.WireRate, w.Watched, w.Brake = 0, 0, 0, ""
	return w
}

// Valid reports whether the figures can be those of a flash: what comes from a
// network need not be.
func (w *Work) Valid() bool {
	for _, pair := range [][2]int64{
		{w.Written, w.Data}, {w.Kept, w.Data}, {w.Zeroed, w.Zeros}, {w.Proved, w.Prove}, {w.ProvedZeros, w.ProveZeros},
	} {
		if pair[0] < 0 || pair[1] < pair[0] {
			return false
		}
	}
	for _, rate := range []float64{w.WriteRate, w.SettleRate, w.WireRate, w.ZeroRate, w.ReadRate, w.ReadZerosRate, w.Watched} {
		if !(rate >= 0 && rate < 1e18) {
			return false
		}
	}
	return w.Brake == "" || slices.Contains(Brakes, w.Brake)
}
