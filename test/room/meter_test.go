package room

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// meter looks at a server from outside while a storm is over it.
type meter struct {
	server *server
	pid    int
	limit  int // of descriptors
	end    chan struct{}
	done   chan struct{}

	open  int   // descriptors at most
	peak  int64 // bytes resident at most
	state int64 // bytes of the database's file at the end
	alive bool
}

// Bounds of a server in a storm: descriptors are a part of its limit, as a
// quarter is for connections of the boot network and each may have a file.
const (
	mostResident = 1 << 30
	mostOpen     = 2 // the limit over this
)

func meterOf(s *server) *meter {
	m := &meter{server: s, pid: s.cmd.Process.Pid, end: make(chan struct{}), done: make(chan struct{})}
	var limit unix.Rlimit
	if unix.Prlimit(m.pid, unix.RLIMIT_NOFILE, nil, &limit) == nil {
		m.limit = int(limit.Cur)
	}
	go func() {
		defer close(m.done)
		look := time.NewTicker(100 * time.Millisecond)
		defer look.Stop()
		for {
			if files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", m.pid)); err == nil {
				m.open = max(m.open, len(files))
			}
			select {
			case <-look.C:
			case <-m.end:
				return
			}
		}
	}()
	return m
}

func (m *meter) stop(t *testing.T) *meter {
	t.Helper()
	close(m.end)
	<-m.done
	m.peak = resident(m.pid)
	m.alive = m.peak > 0
	if info, err := os.Stat(filepath.Join(m.server.data, "etcd/member/snap/db")); err == nil {
		m.state = info.Size()
	}
	return m
}

func (m *meter) judge(t *testing.T) {
	t.Helper()
	if !m.alive {
		t.Error("the server's process has ended")
	}
	if m.peak > mostResident {
		t.Errorf("the server had %d MiB resident; want at most %d", m.peak/mib, mostResident/mib)
	}
	if m.open > m.limit/mostOpen {
		t.Errorf("the server had %d descriptors open of %d; want at most %d", m.open, m.limit, m.limit/mostOpen)
	}
}

func (m *meter) String() string {
	return "server at most " + strconv.FormatInt(m.peak/mib, 10) + " MiB resident, " + strconv.Itoa(m.open) + " descriptors of " +
		strconv.Itoa(m.limit) +
		", database " + strconv.FormatInt(m.state/mib, 10) + " MiB"
}
