package order

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/agent/machine"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/disk/partition"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/settings"
)

// foreignDisk is a file with a GPT that sfdisk made: 1 for a system, 2 for LVM.
func foreignDisk(t *testing.T) *blockdev.Device {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 64<<20); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sfdisk", "-q", path)
	cmd.Stdin = strings.NewReader("label: gpt\nlabel-id: 11111111-2222-4333-8444-555555555555\nstart=1MiB, size=4MiB, " +
		"name=system\nstart=32MiB, size=16MiB, name=data\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("sfdisk: %v: %s", err, out)
	}
	d, err := blockdev.Open(path, blockdev.Options{AllowFile: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if _, err := d.WriteAt([]byte("LABELONE"), 32<<20+512); err != nil {
		t.Fatal(err)
	}
	return d
}

// The agent asks for the operator's word by what the disk itself holds, and
// does so before anything is written.
func TestJudgesTheDiskItself(t *testing.T) {
	const id = "11111111-2222-4333-8444-555555555555"
	for _, tt := range []struct {
		name  string
		image string // its table ID
		plan  api.Plan
		cause string
		want  string
	}{
		{
			"LVM and foreign", "",
			api.Plan{},
			"disk-claimed",
			"sdx holds an LVM physical volume in partition 2; it has partitions that neither this image nor an earlier flash put there: 1, " +
				"2: it is not overwritten unless the operator arms the machine with --wipe",
		},
		{
			"LVM on a disk that is ours", "",
			api.Plan{Known: []string{id}},
			"disk-claimed",
			"holds an LVM physical volume in partition 2: it is not",
		},
		{"permitted", "", api.Plan{Wipe: true}, "", ""},
		{"kept, and the rest is ours", "", api.Plan{Known: []string{id}, Agent: settings.Agent{Keep: []string{"data"}}}, "", ""},
		{"kept, and the rest is foreign", "", api.Plan{Agent: settings.Agent{Keep: []string{"2"}}}, "disk-claimed", "put there: 1: it is not"},
		{
			"kept under the image", "",
			api.Plan{Wipe: true, Agent: settings.Agent{Keep: []string{"system"}}},
			"keep-refused", "the image takes the disk up to",
		},
		{"kept and not there", "", api.Plan{Wipe: true, Agent: settings.Agent{Keep: []string{"home"}}}, "keep-refused", "there is none on sdx"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			device := foreignDisk(t)
			before, err := os.ReadFile(device.Path())
			if err != nil {
				t.Fatal(err)
			}
			a := &Target{
				Plan:  &tt.plan,
				Image: &golden.Image{Config: &golden.Config{Disk: golden.Disk{Size: 16 << 20, SectorSize: 512, Scheme: "gpt", ID: tt.image}}},
			}
			a.Disk = api.Disk{Name: "sdx", Size: device.Size(), SectorSize: 512}
			entries, err := a.Keep(device)
			if tt.cause != "" {
				if err == nil || Cause("disk", err) != tt.cause || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("Keep() = %v; want %s: %s", err, tt.cause, tt.want)
				}
				return
			}
			if err != nil || len(entries) != len(tt.plan.Keep) {
				t.Errorf("Keep() = %d entries, %v", len(entries), err)
			}
			machine.AddContent(&a.Disk, device)
			if names := a.preservedNames(); len(entries) > 0 && (len(names) != 1 || names[0] != "2 (data)") {
				t.Errorf("preserved %q; want 2 (data)", names)
			}
			if after, _ := os.ReadFile(device.Path()); string(after) != string(before) {
				t.Error("judging has changed the disk")
			}
		})
	}
}

// A flash of the same plan that was cut off continues: LBA 0 is zero, and what
// is left of the tables is the old one, or the image's own.
func TestJudgesABegunFlash(t *testing.T) {
	const id = "11111111-2222-4333-8444-555555555555"
	device := foreignDisk(t)
	if _, err := device.WriteAt(make([]byte, 512), 0); err != nil {
		t.Fatal(err)
	}
	a := &Target{
		Plan:  &api.Plan{Known: []string{id}, Agent: settings.Agent{Keep: []string{"data"}}},
		Image: &golden.Image{Config: &golden.Config{Disk: golden.Disk{Size: 16 << 20, SectorSize: 512, Scheme: "gpt"}}},
		Disk:  api.Disk{Name: "sdx", Size: device.Size(), SectorSize: 512},
	}
	entries, err := a.Keep(device)
	if err != nil || len(entries) != 1 || entries[0].Name != "data" {
		t.Errorf("Keep() = %v, %v; want the entry of data", entries, err)
	}
	// Without anything kept all tables are wiped: nothing speaks against it.
	for _, r := range blockdev.SignatureRanges(device.Size()) {
		if err := device.ZeroRange(r.Offset, r.Length); err != nil {
			t.Fatal(err)
		}
	}
	a.Plan = &api.Plan{}
	if _, err := a.Keep(device); err != nil {
		t.Errorf("keep() of a disk with neither table nor marks = %v", err)
	}
	if _, err := partition.ReadBehind(device, device.Size(), 512); err == nil {
		t.Error("the wipe has left a GPT")
	}
}
