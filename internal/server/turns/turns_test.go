package turns

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
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

// However many wait, those who are trusted are next.
func TestAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns Turns
		done, err := turns.Take(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		var order []string
		take := func(ctx context.Context, who string) {
			all.Go(func() {
				done, err := turns.Take(ctx, "a")
				if err != nil {
					t.Errorf("%s: %v", who, err)
					return
				}
				order = append(order, who)
				done()
			})
			synctest.Wait()
		}
		for range 64 {
			take(t.Context(), "agent")
		}
		take(Ahead(t.Context()), "first operator")
		take(Ahead(t.Context()), "second operator")
		done()
		all.Wait()
		if len(order) != 66 || order[0] != "first operator" || order[1] != "second operator" {
			t.Errorf("%d were served, the first of them %q", len(order), order[:min(3, len(order))])
		}
		if len(turns.by) != 0 {
			t.Errorf("%d things are still known", len(turns.by))
		}
	})
}

// Who gives up in the moment in which its turn comes passes it on.
func TestWhoGoesHoldsNobodyUp(t *testing.T) {
	for seed := range uint64(200) {
		var turns Turns
		var all sync.WaitGroup
		rng := rand.New(rand.NewPCG(seed, 1))
		for range 32 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rng.IntN(300))*time.Microsecond)
			if rng.IntN(4) == 0 {
				ctx = Ahead(ctx)
			}
			all.Go(func() {
				defer cancel()
				if done, err := turns.Take(ctx, "a"); err == nil {
					runtime.Gosched()
					done()
				}
			})
		}
		all.Wait()
		if len(turns.by) != 0 {
			t.Fatalf("seed %d: somebody still has it, or waits", seed)
		}
	}
}
