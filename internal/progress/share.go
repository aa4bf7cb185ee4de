package progress

import (
	"cmp"
	"slices"
)

// Ease says for each of the flashes under way by how much the time that its
// writing takes will shrink: those who wait for a link share it, and who is
// done leaves its part to the others. 1: by nothing. The order is that of all;
// one that is nil, or does not wait for the link, has no part in it.
func Ease(all []*Work) []float64 {
	ease := make([]float64, len(all))
	type sharer struct {
		i     int
		alone float64 // seconds to its last byte, if nothing changed
		has   float64 // of the link, bytes a second
	}
	var link []sharer
	total := 0.0
	for i, w := range all {
		ease[i] = 1
		if w == nil || w.Brake != BrakeLink || w.SettleRate < 1 || w.WireRate < 1 || w.settled() >= w.Data {
			continue
		}
		link = append(link, sharer{i, float64(w.Data-w.settled()) / w.SettleRate, w.WireRate})
		total += w.WireRate
	}
	slices.SortFunc(link, func(a, b sharer) int { return cmp.Compare(a.alone, b.alone) })
	// Each part grows by the same factor, so that they end in this order.
	at, before, left := 0.0, 0.0, total
	for _, s := range link {
		at += (s.alone - before) * max(left, 0) / total
		before = s.alone
		if s.alone > 0 {
			ease[s.i] = at / s.alone
		}
		left -= s.has
	}
	return ease
}
