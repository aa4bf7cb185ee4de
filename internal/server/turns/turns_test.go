package turns

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
)

func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns Turns
		done, err := turns.Take(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		var order []int
		for i := range 5 {
			all.Go(func() {
				done, err := turns.Take(t.Context(), "a")
				if err != nil {
					t.Error(err)
					return
				}
				order = append(order, i)
				done()
			})
			synctest.Wait() // it waits now, behind those before it
		}
		other, err := turns.Take(t.Context(), "b")
		if err != nil {
			t.Fatal(err)
		}
		other()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := turns.Take(ctx, "a"); !errors.Is(err, context.Canceled) {
			t.Errorf("Take of who has gone = %v; want Canceled", err)
		}
		done()
		all.Wait()
		for i, who := range order {
			if who != i {
				t.Errorf("served in the order %v", order)
				break
			}
		}
		if len(order) != 5 || len(turns.by) != 0 {
			t.Errorf("%d were served, %d things are still known", len(order), len(turns.by))
		}
	})
}
