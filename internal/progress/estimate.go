package progress

import (
	"cmp"
	"time"
)

// Facts are all that an estimate is made of.
type Facts struct {
	Phase string // the phase of the flash under way; empty: none is
	Work  *Work  // nil: of an agent that does not count it
	// Done and Total are of the phase, in raw bytes: all that there is where
	// Work is nil.
	Done, Total int64
	// Live says that the system runs already while its disk is completed.
	Live bool
	// Left is since when the agent has left for the new system, up to now; 0:
	// it has not.
	Left time.Duration
	// Ease is by how much the time to write the rest will shrink: see [Ease]. 0
	// is 1: nothing is known of others.
	Ease float64
	// Usual is how long the ends of flashes with this image took before.
	Usual Usual
}

// Usual is what flashes of an image took before; 0: not known.
type Usual struct {
	Finish time.Duration // from the last byte read back to the handoff
	Start  time.Duration // from the handoff to the sign of life
	// Read and ReadZeros are how fast data and zeros were read back, in bytes a
	// second.
	Read, ReadZeros float64
}

// What a flash comes to: Estimate.Until.
const (
	UntilRunning  = "running"  // the new system reported in
	UntilHandoff  = "handoff"  // the agent leaves; how long systems take to start is not known
	UntilComplete = "complete" // all of the disk is there, under a running system
)

// Untils lists them all.
var Untils = []string{UntilRunning, UntilHandoff, UntilComplete}

// Estimate is how far a flash is, as everybody is shown it.
type Estimate struct {
	Phase     string  `json:"phase,omitempty" doc:"of the flash: prepare, scan, write, read back, seal"`
	Percent   int     `json:"percent" doc:"of the work: data to write and to read back, by the time that each takes"`
	DataDone  int64   `json:"dataDone" doc:"bytes of data written, or read back in that phase; zeros do not count"`
	DataTotal int64   `json:"dataTotal" doc:"bytes of data that the phase has in all"`
	Zeros     int64   `json:"zeros,omitempty" doc:"bytes of the image that are zero, which cost little"`
	Kept      int64   `json:"kept,omitempty" doc:"bytes of data that were right on the disk before"`
	Rate      float64 `json:"rate" doc:"bytes of data a second; 0 while nothing is heard"`
	WireRate  float64 `json:"wireRate" doc:"bytes a second on the wire, compressed"`
	Brake     string  `json:"brake,omitempty" enum:"link,disk,processor" doc:"what the flash waits for most"`
	Left      int     `json:"left,omitempty" doc:"seconds to what until says; 0: not known yet" minimum:"0"`
	Until     string  `json:"until,omitempty" enum:"running,handoff,complete"`
}

// Quiet is the estimate when nothing was heard for a while.
func (e Estimate) Quiet() *Estimate {
	e.Rate, e.WireRate, e.Left, e.Brake = 0, 0, 0, ""
	return &e
}

// Of makes the estimate of the facts; nil: there is nothing to estimate.
func Of(f Facts) *Estimate {
	switch {
	case f.Left > 0:
		e := &Estimate{Percent: 100, Until: UntilRunning}
		e.Left = secondsOf(f.Usual.Start - f.Left)
		return e
	case f.Phase == "":
		return nil
	}
	e := &Estimate{Phase: f.Phase, Until: f.until()}
	if f.Work == nil {
		e.DataDone, e.DataTotal, e.Percent = f.Done, f.Total, percent(float64(f.Done), float64(f.Total))
		return e
	}
	w := *f.Work
	e.Zeros, e.Kept, e.Brake = w.Zeros, w.Kept, w.Brake
	e.DataDone, e.DataTotal = w.settled(), w.Data
	if f.Phase == "read back" {
		e.DataDone, e.DataTotal = w.Proved, w.Prove
	}
	c := costs(&w, f.Usual)
	e.Percent = percent(c.done(&w), c.all(&w))
	if f.Phase == "seal" {
		e.Percent = 100
	}
	if w.Watched <= 0 {
		return e
	}
	e.WireRate, e.Rate = w.WireRate, w.WriteRate
	switch f.Phase {
	case "read back":
		e.WireRate, e.Rate = 0, w.ReadRate
	case "seal":
		e.WireRate, e.Rate, e.Brake = 0, 0, ""
	}
	if w.Watched >= Enough && f.Phase != "prepare" && f.Phase != "scan" {
		e.Left = secondsOf(f.left(&w, c))
	}
	return e
}

// until is what the time left leads to: no further than what is known of it.
func (f *Facts) until() string {
	switch {
	case f.Live:
		return UntilComplete
	case f.Usual.Start > 0:
		return UntilRunning
	}
	return UntilHandoff
}

// left is what the flash still takes to what until says.
func (f *Facts) left(w *Work, c cost) time.Duration {
	var seconds float64
	data, zeros := float64(w.Prove-w.Proved), float64(w.ProveZeros-w.ProvedZeros)
	if f.Phase == "write" {
		rest := float64(w.Data - w.settled())
		seconds = max(rest*c.write*cmp.Or(f.Ease, 1), float64(w.Zeros-w.Zeroed)*c.zero)
		// Where it is read back while the rest arrives, that continues.
		if w.Proved > 0 && w.settled() > 0 {
			followed := min(float64(w.Proved)/float64(w.settled()), 1)
			data = max(float64(w.Prove)-float64(w.Proved)-rest*followed, 0)
			zeros *= 1 - followed
		}
	}
	if f.Phase != "seal" {
		seconds += data*c.read + zeros*c.readZeros
	}
	left := time.Duration(min(seconds, longest.Seconds()) * float64(time.Second))
	if f.Live {
		return left
	}
	return left + f.Usual.Finish + f.Usual.Start
}

// longest bounds a time left: beyond it, it is a guess.
const longest = 100 * time.Hour

// secondsOf is at least one for what is known.
func secondsOf(d time.Duration) int {
	if d <= 0 || d >= longest {
		return 0
	}
	return max(int(d.Round(time.Second).Seconds()), 1)
}

// cost is what a byte of each work takes, in seconds.
type cost struct{ write, zero, read, readZeros float64 }

// costs are measured as far as there was something to measure. Before anything
// was read back, it is taken to be read as fast as others were, else as it is
// written.
func costs(w *Work, usual Usual) cost {
	per := func(rates ...float64) float64 {
		if rate := cmp.Or(rates...); rate > 0 {
			return 1 / rate
		}
		return 1
	}
	c := cost{write: per(w.SettleRate), read: per(w.ReadRate, usual.Read, w.SettleRate)}
	c.readZeros = c.read
	if rate := cmp.Or(w.ReadZerosRate, usual.ReadZeros); rate > 0 {
		c.readZeros = 1 / rate
	}
	if w.ZeroRate > 0 {
		c.zero = 1 / w.ZeroRate
	}
	return c
}

func (c cost) done(w *Work) float64 {
	return float64(w.settled())*c.write + float64(w.Proved)*c.read + float64(w.ProvedZeros)*c.readZeros
}

func (c cost) all(w *Work) float64 {
	return float64(w.Data)*c.write + float64(w.Prove)*c.read + float64(w.ProveZeros)*c.readZeros
}

// percent is 0 to 100, and 100 only where all is done.
func percent(done, all float64) int {
	if !(all > 0) || !(done > 0) {
		return 0
	}
	return int(100 * min(done/all, 1))
}
