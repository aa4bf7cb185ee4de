package progress

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const mib = 1 << 20

func TestEstimates(t *testing.T) {
	half := Work{
		Data: 694 * mib, Written: 210 * mib, Zeros: 1354 * mib, Zeroed: 1354 * mib, Prove: 694 * mib, ProveZeros: 1354 * mib,
		WriteRate: 9.5 * mib, SettleRate: 9.5 * mib, WireRate: 3.1 * mib, ReadRate: 19 * mib, ReadZerosRate: 1354 * mib, Watched: 22,
		Brake: BrakeLink,
	}
	with := func(change func(*Work)) *Work { w := half; change(&w); return &w }
	usual := Usual{Finish: 2 * time.Second, Start: 40 * time.Second}
	for name, tt := range map[string]struct {
		is   Facts
		want string // "" is nil
	}{
		"nothing": {Facts{}, ""},
		"begun":   {Facts{Phase: "prepare", Work: &Work{Data: mib}}, "prepare 0%  0.0 of 1.0 MiB  ~"},
		"all zeros came": {Facts{
			Phase: "write", Work: with(func(w *Work) { w.Written, w.WriteRate, w.SettleRate, w.Watched = 0, 0, 0, 0 }),
			Usual: usual,
		}, "write 0%  0 of 694 MiB  ~"},
		"too early": {
			Facts{Phase: "write", Work: with(func(w *Work) { w.Watched = 9.9 }), Usual: usual},
			"write 19%  210 of 694 MiB  9.5 MiB/s  wire 3.1 MiB/s  ~",
		},
		"half": {
			Facts{Phase: "write", Work: &half, Usual: usual},
			"write 19%  210 of 694 MiB  9.5 MiB/s  wire 3.1 MiB/s  ~2 min to running",
		},
		"first of its image": {Facts{Phase: "write", Work: &half}, "write 19%  210 of 694 MiB  9.5 MiB/s  wire 3.1 MiB/s  ~90 s to handoff"},
		"silent":             {Facts{Phase: "write", Work: with(func(w *Work) { *w = w.Quiet() }), Usual: usual}, "write 19%  210 of 694 MiB  ~"},
		"live": {
			Facts{Phase: "write", Work: &half, Usual: usual, Live: true},
			"write 19%  210 of 694 MiB  9.5 MiB/s  wire 3.1 MiB/s  ~90 s to complete",
		},
		"read back": {
			Facts{Phase: "read back", Work: with(func(w *Work) { w.Written, w.Proved = w.Data, 347*mib }), Usual: usual},
			"read back 82%  347 of 694 MiB  19.0 MiB/s  ~60 s to running",
		},
		"sealed": {Facts{
			Phase: "seal", Work: with(func(w *Work) { w.Written, w.Proved, w.ProvedZeros = w.Data, w.Prove, w.ProveZeros }),
			Usual: usual,
		}, "seal 100%  694 of 694 MiB  ~40 s to running"},
		"handing off": {Facts{Left: 25 * time.Second, Usual: usual}, "~15 s to running"},
		"overdue":     {Facts{Left: 50 * time.Second, Usual: usual}, "~"},
		"no counts":   {Facts{Phase: "write", Done: 430, Total: 1000}, "write 43%  430 of 1000 B  ~"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if e := Of(tt.is); e != nil {
				got = e.String()
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

func TestLeftIsNeverZero(t *testing.T) {
	for s, want := range map[int]string{
		0: "~", 1: "< 10 s", 9: "< 10 s", 11: "~10 s", 98: "~100 s", 100: "~2 min", 5999: "~100 min",
		7860: "~2 h 11 min",
	} {
		if got := (&Estimate{Left: s}).LeftText(); got != want {
			t.Errorf("%d seconds: %q; want %q", s, got, want)
		}
	}
}

// What a machine sends may be anything.
func TestValid(t *testing.T) {
	for name, w := range map[string]Work{
		"negative":      {Data: 1, Written: -1},
		"more than all": {Data: 1, Written: 2},
		"no number":     {WriteRate: nan()},
		"no brake":      {Brake: "<b>"},
	} {
		if w.Valid() {
			t.Errorf("%s: valid", name)
		}
	}
	if w := (Work{Data: 2, Written: 1, Kept: 1, Brake: BrakeDisk}); !w.Valid() {
		t.Errorf("%+v is not valid", w)
	}
}

func nan() float64 { zero := 0.0; return zero / zero }

// Two of three that share a link leave it before the third.
func TestEase(t *testing.T) {
	at := func(left int64, brake string) *Work {
		return &Work{Data: 100 + left, Written: 100, SettleRate: 10, WireRate: 5, Brake: brake}
	}
	got := Ease([]*Work{at(1000, BrakeLink), nil, at(100, BrakeLink), at(500, BrakeDisk), at(100, BrakeLink)})
	// 10 s with a third each, then the whole link for the 900 that are left.
	if d := cmp.Diff([]float64{0.4, 1, 1, 1, 1}, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}
