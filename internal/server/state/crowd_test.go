package state_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/state/storetest"
)

// Many who change one record at once do not make each other begin anew: the
// work is that of as many changes.
func TestCrowdAtOneRecord(t *testing.T) {
	const crowd = 64
	s := open(t)
	var tries atomic.Int64
	var all sync.WaitGroup
	for range crowd {
		all.Go(func() {
			_, err := s.Update(t.Context(), storetest.MAC, func(m *fleet.Record) ([]api.Event, error) {
				tries.Add(1)
				m.Seq++
				return nil, nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	m, err := s.Get(t.Context(), storetest.MAC)
	if err != nil || m.Seq != crowd {
		t.Errorf("count %d, %v; want %d", m.Seq, err, crowd)
	}
	if n := tries.Load(); n != crowd {
		t.Errorf("%d tries for %d changes; want one each", n, crowd)
	}
}
