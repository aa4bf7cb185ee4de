package fleet_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/view"
	"github.com/gild-dev/gild/internal/settings"
)

// What a flash leaves makes the next one free of --wipe; what it only kept, and
// what came later, does not.
func TestLossAfterAnEarlierFlash(t *testing.T) {
	root := api.Partition{Number: 1, Start: 1 << 20, Size: 9e9, FileSystem: "ext4", UUID: "11111111-0000-4000-8000-000000000001"}
	data := api.Partition{Number: 2, Start: 20e9, Size: 5e9, FileSystem: "xfs", Label: "data", UUID: "22222222-0000-4000-8000-000000000002"}
	disk := api.Disk{
		Name: "sda", Size: 100e9, SectorSize: 512, TableID: "33333333-0000-4000-8000-000000000003",
		Partitions: []api.Partition{root, data},
	}
	known := view.Known(api.Receipt{}, api.Receipt{Disk: disk, Preserved: []string{"2 (data)"}})
	if diff := cmp.Diff([]string{disk.TableID, root.UUID}, known); diff != "" {
		t.Errorf("Known() (-want +got):\n%s", diff)
	}
	image := api.Image{
		Scheme: "gpt", Size: 10 << 30, TableID: "44444444-0000-4000-8000-000000000004",
		Partitions: []api.Partition{{Number: 2, Start: 1 << 20}},
	}

	lost, kept, claim, err := view.Loss(disk, image, nil, known)
	if err != nil || len(lost) != 2 || len(kept) != 0 || claim != "has a partition that neither this image nor an earlier flash put there: 2" {
		t.Errorf("Loss() = %q, %q, %q, %v", lost, kept, claim, err)
	}
	keep, err := view.ResolveKeep(disk, image, []string{"2"})
	if diff := cmp.Diff([]string{data.UUID}, keep); err != nil || diff != "" {
		t.Errorf("ResolveKeep() = %q, %v", keep, err)
	}
	lost, kept, claim, err = view.Loss(disk, image, keep, known)
	if err != nil || claim != "" || !cmp.Equal(lost, []string{"partition 1, 9 GB, ext4"}) ||
		!cmp.Equal(kept, []string{`partition 2, 5 GB, xfs "data"`}) {
		t.Errorf("Loss() = %q, %q, %q, %v", lost, kept, claim, err)
	}
	if _, _, _, err = view.Loss(disk, image, []string{"1"}, known); err == nil {
		t.Error("Loss() of a kept partition under the image = nil; want an error")
	}
}

// What an arm would erase is what the last flash has left, not what the agent
// found when it came.
func TestPreviewAfterAFlash(t *testing.T) {
	s := newScript(t)
	disk := api.Disk{Name: "sda", Serial: "S1", Size: 100e9, SectorSize: 512}
	inv := api.Inventory{MAC: mac, Disks: []api.Disk{{Name: "sdb", Serial: "S0", Size: 50e9}, disk}}
	s.arm(0, "p1")
	if _, _ = fleet.Hello(&s.m, api.Hello{Version: api.Version, Session: "s1", Inventory: inv}, "", false,
		at(2)); s.m.State != api.MachineFlashing {
		t.Fatalf("state %s; want flashing", s.m.State)
	}
	last := sealed(1, "p1")
	last.Receipt.Disk = disk
	last.Receipt.Disk.Partitions = []api.Partition{{Number: 1, Start: 1 << 20, Size: 9e9, FileSystem: "ext4"}}
	s.report(3, true, report("s1", "p1", last))
	v, _ := view.Proposal{
		Machine: s.m, Image: api.Image{Name: "next", Size: 1 << 30},
		Request: api.FlashRequest{Settings: settings.Settings{Agent: settings.Agent{Disk: "serial=S1"}}},
	}.Preview(at(4))
	if diff := cmp.Diff([]string{"partition 1, 9 GB, ext4"}, v.Lost); diff != "" {
		t.Errorf("lost after a flash (-want +got):\n%s", diff)
	}
	if n := len(s.m.Inventory.Disks); n != 2 || len(inv.Disks[1].Partitions) != 0 {
		t.Errorf("%d disks, and the inventory that came was changed: %+v", n, inv.Disks)
	}
}
