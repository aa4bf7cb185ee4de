package room

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/api"
)

// TestLiar has a host on the boot network say anything for any machine while
// some are flashed and others are not armed. What docs/security.md promises of
// such a host must hold: it may keep a machine from being flashed, and have the
// plan of one that is armed; it flashes none, and takes nothing from the
// operator, who sets right what it did.
func TestLiar(t *testing.T) {
	needRoom(t)
	s := newServer(t, "lo", "127.0.0.1")
	disk, _ := golden(t, 8*mib, s)
	all := newRoom(t, *deceived+max(2, *deceived/3), disk, s)
	armed, idle := all.part(0, *deceived), all.part(*deceived, len(all.machines))
	armed.register(t)
	was := idle.leaveAlone(t)
	armed.powerOn(t)
	idle.powerOn(t)
	known := all.records(t)
	armed.arm(t)
	plans := armed.plans(t)

	l := newLiar(*seed, s, int64(len(disk)), armed.image(t), slices.Sorted(maps.Keys(plans)), all.machines)
	defer l.close()
	if err := l.lie(t.Context(), *lies); err != nil {
		t.Fatal(err)
	}
	now := all.records(t)
	for name, before := range known {
		if diff := cmp.Diff(before, now[name]); diff != "" {
			t.Errorf("what the operator said of %s (-before +after the lies):\n%s", name, diff)
		}
	}
	well, misled := armed.settle(t, l)
	plans[lastWord(t, all.operator, l)] = hostage
	l.judge(t, plans)
	all.unheard(t)
	armed.secrets(t, l)
	idle.pullPlugs()
	idle.untouched(t, was)
	misled.setRight(t)
	misled.ended(t)
	well.ended(t)
	t.Logf("%d machines flashed, %d of them after the operator had set right what the liar did", len(armed.machines), len(misled.machines))
}

// part is some of the machines.
func (r *crowd) part(from, to int) *crowd {
	p := *r
	p.machines, p.running = slices.Clone(r.machines[from:to]), nil
	return &p
}

// leaveAlone registers machines that are not armed, with something on their
// disks, and returns what that is.
func (r *crowd) leaveAlone(t *testing.T) (was [][]byte) {
	t.Helper()
	for i := range r.machines {
		m := &r.machines[i]
		m.Idle = true
		p := make([]byte, len(r.disk))
		_, _ = rand.NewChaCha8([32]byte{2, byte(i)}).Read(p) // never fails
		if err := os.WriteFile(m.Disk, p, 0o600); err != nil {
			t.Fatal(err)
		}
		was = append(was, p)
		spec := api.Spec{Name: m.Name, MACs: []string{m.MAC}}
		if i%2 == 0 {
			spec.UUID, spec.Serial = m.UUID, m.Serial
		}
		if _, err := r.operator.Register(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
	}
	return was
}

// record is what an operator said of a machine and must find again.
type record struct {
	ID   string
	Spec api.Spec
}

func (r *crowd) records(t *testing.T) map[string]record {
	t.Helper()
	all := map[string]record{}
	for _, m := range r.machines {
		got, err := r.operator.Machine(t.Context(), m.Name)
		if err != nil {
			t.Errorf("%s: %v", m.Name, err)
			continue
		}
		all[m.Name] = record{got.ID, got.Spec}
	}
	return all
}

// plans are the IDs of what the machines are armed with.
func (r *crowd) plans(t *testing.T) map[string]machine {
	t.Helper()
	ids := map[string]machine{}
	for _, m := range r.machines {
		past, err := r.operator.Events(t.Context(), m.Name)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range past {
			if e.To == api.MachineArmed {
				ids[e.Plan] = m
			}
		}
	}
	return ids
}

func (r *crowd) image(t *testing.T) string {
	t.Helper()
	images, err := r.operator.Images().List(t.Context())
	if err != nil || len(images) != 1 {
		t.Fatalf("images: %v, %v; want one", images, err)
	}
	return images[0].Digest
}

// pullPlugs ends what runs in the machines.
func (r *crowd) pullPlugs() {
	for _, cmd := range r.running {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	r.running = nil
}

// settle waits until each machine is flashed, or was told why not, and tells
// the ones from the others.
func (r *crowd) settle(t *testing.T, l *liar) (well, misled *crowd) {
	t.Helper()
	well, misled = r.part(0, 0), r.part(0, 0)
	for i, m := range r.machines {
		why, err := "", errors.New("nothing")
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			if why, err = r.outcome(t, m, l); err == nil {
				break
			}
		}
		side := well
		switch {
		case err != nil:
			t.Fatalf("%s is neither flashed nor told why not: %v; its screen:\n%s", m.Name, err, tail(m.Log+".console"))
		case why != "":
			t.Logf("%s: %s", m.Name, why)
			side = misled
		}
		side.machines = append(side.machines, m)
		side.running = append(side.running, r.running[i])
	}
	return well, misled
}

// localDisk is how a script ends that sends a machine to its disk.
const localDisk = "exit 1\n"

// outcome says why a machine is not flashed; empty: it is. An error means that
// it may still be.
func (r *crowd) outcome(t *testing.T, m machine, l *liar) (why string, err error) {
	t.Helper()
	got, err := r.operator.Machine(t.Context(), m.Name)
	if err != nil {
		return "", err
	}
	stole := slices.ContainsFunc(l.taken, func(s taken) bool { return s.plan.Agreed.UUID == m.UUID })
	screen := tail(m.Log + ".console")
	_, waits, agent := strings.Cut(screen, "the server says to wait: ")
	switch told := got.NotBooted + got.Conflict; {
	case flashed(got, m):
		return "", nil
	case got.Armed == nil && stole:
		return "the liar has used its arm up", nil
	case got.State == api.MachineFlashing && got.Conflict == "" && !stole:
		// by its own agent
	case told != "" && agent:
		waits, _, _ = strings.Cut(waits, "\n")
		return "its agent waits: " + waits, nil
	case told != "" && strings.HasSuffix(screen, localDisk):
		return "it boots its disk: " + told, nil
	}
	return "", fmt.Errorf("it is %s: %s, not booted %q, conflict %q", got.State, got.Message, got.NotBooted, got.Conflict)
}
