package room

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestDescriptors drives a server out of the files that it may have open, by
// connections and transfers that say nothing. It sheds what it holds, continues
// answering, and afterwards has as few open as before. With so few that what it
// is given at least is more, it cannot open another one, and continues too.
func TestDescriptors(t *testing.T) {
	for _, one := range []struct {
		files int
		out   bool // it has less than it needs at least
	}{{1024, false}, {96, true}} {
		t.Run(fmt.Sprint(one.files), func(t *testing.T) {
			needRoom(t)
			wire := newSegment(t)
			s := newServer(t, segmentIface, segmentHost)
			s.files = one.files
			_, _ = golden(t, 2*mib, s)
			if err := s.start(t.Context()); err != nil {
				t.Fatal(err)
			}
			r := &crowd{operator: s.operator()}
			usual, before := r.answerTime(t), descriptors(s)
			m := meterOf(s)
			by := bystand(t, r)
			var loads []load
			for n := range 4 {
				var from []string
				for i := range 50 {
					from = append(from, numbered(hostileBlock, 100*n+i))
				}
				loads = append(loads, load{Kind: loadSilent, Count: 1000, From: from, For: time.Minute})
				from = nil
				for i := range 50 {
					from = append(from, numbered(hostileBlock, 100*n+50+i))
				}
				loads = append(loads, load{Kind: loadTransfer, Count: 500, From: from, For: 20 * time.Second})
			}
			for _, h := range unleash(t, wire, loads) {
				h.end(t)
			}
			by.stop(t)
			normal := r.backToNormal(t, usual)
			m.stop(t)
			t.Logf("%d descriptors before, %d of %d at most, back to normal after %.1f s", before, m.open, m.limit, normal.Seconds())
			if !m.alive {
				t.Fatal("the server's process has ended")
			}
			if one.out && m.open < one.files-2 {
				t.Errorf("%d of %d descriptors were open: it has not run out of them", m.open, one.files)
			}
			for end := time.Now().Add(never); descriptors(s) > before+10; time.Sleep(100 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("%d descriptors are open after it; %d were before", descriptors(s), before)
				}
			}
			if said, err := os.ReadFile(s.said.Name()); err != nil || strings.Contains(string(said), "panic") {
				t.Errorf("the server's log: %v, or it tells of a panic", err)
			}
		})
	}
}

// descriptors is how many a server has open.
func descriptors(s *server) int {
	files, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid))
	return len(files)
}
