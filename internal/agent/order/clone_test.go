package order

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/disk/fsuuid"
	"github.com/gild-dev/gild/internal/disk/partition"
	"github.com/gild-dev/gild/internal/golden"
)

// The receipt has the IDs that the disk was given, so that the next flash knows
// it for its own. So does the plan that gave them, should its agent be cut off
// before it could tell.
func TestKnowsItsNewIDs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	cmd := exec.CommandContext(t.Context(), "sfdisk", "-q", path)
	cmd.Stdin = strings.NewReader("label: gpt\nstart=1MiB, size=4MiB\nsize=4MiB\n")
	if out, err := exec.CommandContext(t.Context(), "truncate", "-s", "32M", path).CombinedOutput(); err != nil {
		t.Fatalf("truncate: %v: %s", err, out)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("sfdisk: %v: %s", err, out)
	}
	device, err := blockdev.Open(path, blockdev.Options{AllowFile: true})
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	table, err := partition.Read(device, device.Size(), 512)
	if err != nil {
		t.Fatal(err)
	}
	image := golden.Disk{Size: 16 << 20, SectorSize: 512, Scheme: "gpt", ID: table.DiskID}
	for _, p := range table.Partitions {
		image.Partitions = append(image.Partitions, golden.Partition{Number: p.Number, Start: p.Start, Size: p.Size, PartUUID: p.GUID})
	}
	// As newids does it; the second partition had to stay.
	change, err := partition.NewIDs(device, device.Size(), 512, func(old string) string {
		if old == image.Partitions[1].PartUUID {
			return old
		}
		return fsuuid.Derive("first", old)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range change.Edits {
		if _, err := device.WriteAt(e.Data, e.Offset); err != nil {
			t.Fatal(err)
		}
	}
	a := &Target{Plan: &api.Plan{ID: "first"}, Disk: api.Disk{Name: "sdx", Size: device.Size(), SectorSize: 512}}
	if err := a.reread(t.Context(), device); err != nil {
		t.Fatal(err)
	}
	receipt := a.Disk
	if want := fsuuid.Derive("first", image.ID); receipt.TableID != want || receipt.Partitions[0].UUID == image.Partitions[0].PartUUID {
		t.Errorf("the receipt has %s, %+v; want the new IDs, %s", receipt.TableID, receipt.Partitions, want)
	}
	seal := make([]byte, 512)
	if _, err := device.ReadAt(seal, 0); err != nil {
		t.Fatal(err)
	}
	known := []string{receipt.TableID, receipt.Partitions[0].UUID, receipt.Partitions[1].UUID}

	another := golden.Disk{Size: 16 << 20, SectorSize: 512, Scheme: "gpt", ID: "11111111-2222-4333-8444-555555555555"}
	for _, tt := range []struct {
		name  string
		image golden.Disk
		plan  api.Plan
		ours  bool
	}{
		{"the plan that was cut off", image, api.Plan{ID: "first"}, true},
		{"the next plan, with the receipt", image, api.Plan{ID: "second", Known: known}, true},
		{"another image, with the receipt", another, api.Plan{ID: "second", Known: known}, true},
		{"the next plan, without", image, api.Plan{ID: "second"}, false},
	} {
		for _, lba0 := range [][]byte{seal, make([]byte, 512)} {
			if _, err := device.WriteAt(lba0, 0); err != nil {
				t.Fatal(err)
			}
			a := &Target{Plan: &tt.plan, Image: &golden.Image{Config: &golden.Config{Disk: tt.image}}, Disk: receipt}
			if _, err := a.Keep(device); (err == nil) != tt.ours {
				t.Errorf("%s, LBA 0 ends in %x: Keep() = %v; ours: %v", tt.name, lba0[510:], err, tt.ours)
			}
		}
	}
}
