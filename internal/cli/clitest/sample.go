package clitest

import (
	"flag"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/progress"
	"github.com/gild-dev/gild/internal/settings"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Canary is a text that takes a terminal over, if one lets it.
const Canary = "\x1b]0;owned\a\u202eevil\r\n\x9b2J"

// CanaryBytes are those of a Canary that must not reach a terminal.
var CanaryBytes = regexp.MustCompile("[\x00-\x08\x0b-\x1f\x7f]|\u202e|\u009b")

// Golden compares a text with a file in testdata/golden; -update writes it.
func Golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// Noon is a moment.
var Noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

const ambiguous = "the rule smallest means two disks: sda (480.1 GB, SAMSUNG MZ7, S1) and sdb (480.1 GB, SAMSUNG MZ7, S2); name " +
	"one by its serial"

// Fleet has a machine of every kind that a list shows in its own way.
func Fleet() []api.Machine {
	armed := &api.Armed{Plan: api.Plan{ID: "p1", Image: api.PlanImage{Name: "web"}}}
	return []api.Machine{
		{
			ID: "52:54:00:00:00:01", MAC: "52:54:00:00:00:01", State: api.MachineDiscovered, Waiting: true, LastSeen: Noon.Add(-9 * time.Second),
			Message: "waits to be armed",
		},
		{
			ID: "m2", MAC: "52:54:00:00:00:02", State: api.MachineFlashing, Armed: armed, LastSeen: Noon,
			Spec:     api.Spec{Name: "web-1", Labels: map[string]string{"rack": "b7", "role": "web"}},
			Progress: &api.Progress{Phase: "write", Done: 1430 << 20, Total: 2000 << 20, Rate: 410 << 20}, Message: "writing",
			Estimate: &progress.Estimate{
				Phase: "write", Percent: 21, DataDone: 430 << 20, DataTotal: 1000 << 20, Zeros: 1000 << 20,
				Rate: 210 << 20, WireRate: 70 << 20, Brake: progress.BrakeDisk, Left: 47, Until: progress.UntilRunning,
			},
		},
		{
			ID: "m3", State: api.MachineFlashing, Armed: armed, LastSeen: Noon.Add(-70 * time.Second), Stuck: Noon.Add(-40 * time.Second),
			Trouble:  &api.Trouble{Cause: api.CauseSilent, Since: Noon.Add(-40 * time.Second), Message: "reading back"},
			Spec:     api.Spec{Name: "web-2", Labels: map[string]string{"rack": "b7"}},
			Progress: &api.Progress{Phase: "read back", Done: 990 << 20, Total: 1000 << 20}, Message: "reading back",
			Estimate: &progress.Estimate{Phase: "read back", Percent: 99, DataDone: 990 << 20, DataTotal: 1000 << 20, Until: progress.UntilRunning},
		},
		{
			ID: "m4", State: api.MachineFailed, LastSeen: Noon.Add(-3 * time.Hour),
			Spec:    api.Spec{Name: "db-1.example.org"},
			Trouble: &api.Trouble{Cause: "disk-ambiguous", Since: Noon, Message: ambiguous},
			Message: ambiguous,
		},
		{ID: "m5", State: api.MachineRunning, Spec: api.Spec{Name: "日本語ホスト"}, Conflict: "a second agent (session 7f) says it is this machine"},
	}
}

// Armed has two machines of the fleet that wait for their flash, and one that
// has nothing to do.
func Armed() []api.Machine {
	room := Fleet()[1:3]
	for i := range room {
		room[i].State, room[i].Progress, room[i].Estimate, room[i].Stuck, room[i].Trouble, room[i].Message = api.MachineArmed, nil, nil,
			time.Time{}, nil, ""
	}
	return append(room, api.Machine{ID: "idle", State: api.MachineRegistered})
}

// FreePort gives a TCP port of loopback that nobody has.
func FreePort(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// Previews show what a flash would do to three machines of the fleet; the
// second is refused.
func Previews() []api.Preview {
	disk := &api.Disk{Name: "nvme0n1", Size: 480103981056, Serial: "S4EWNX0R", Model: "SAMSUNG MZVLB"}
	image := api.Image{Name: "web", Digest: "sha256:0123456789abcdef0123", Size: 4 << 30}
	fleet := Fleet()
	return []api.Preview{
		{
			Machine: fleet[1], Image: image, Disk: disk, Digest: "d2",
			Request: api.FlashRequest{Settings: settings.Settings{Image: "web", Identity: "plain"}},
			Lost: []string{
				"1: EFI system, vfat, 512.0 MiB",
				"2: ext4 \"root\" with a label that is long enough to need a second line, 446.6 GiB",
			},
			Kept:     []string{"3 (data)"},
			Warnings: []string{"the inventory is 3 days old"},
		},
		{
			Machine: fleet[2], Image: image, Disk: disk, Digest: "d3", Lost: []string{"LVM2, volume group vg0"},
			Refusal: "the disk holds LVM2: --wipe overwrites it",
		},
		{Machine: fleet[3], Image: image, Digest: "d4", Warnings: []string{"never seen: what is on its disk is not known"}},
	}
}
