package view

import (
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/disk/diskloss"
)

// Loss says what a flash of the image takes from the disk and what it leaves,
// in lines for a person. claim is why it needs api.Plan.Wipe, as the rest of a
// sentence that begins with "the disk"; empty: it does not. The agent decides
// by the same code from the disk itself, so this is the refusal foreseen.
//
// An error says why a partition cannot be kept.
func Loss(d api.Disk, image api.Image, keep, known []string) (lost, kept []string, claim string, err error) {
	v, err := diskloss.Of(d, image.Layout(), keep, known)
	return v.Lost, v.Kept, v.Claim, err
}

// ResolveKeep turns numbers and labels into PARTUUIDs, for api.Plan.Keep: a
// number can mean another partition once the new table is on the disk, and a
// flash that was cut off there must still keep the same.
func ResolveKeep(d api.Disk, image api.Image, keep []string) ([]string, error) {
	return diskloss.Resolve(d, image.Layout(), keep)
}

// Known collects what earlier flashes left on a machine's disks, for
// api.Plan.Known: IDs of tables and of partitions. What a flash only kept is
// not its own.
func Known(receipts ...api.Receipt) []string {
	var ids []string
	for _, r := range receipts {
		if r.Disk.TableID == "" {
			continue
		}
		ids = append(ids, r.Disk.TableID)
		for _, p := range r.Disk.Partitions {
			if p.UUID != "" && !preserved(r, p) {
				ids = append(ids, p.UUID)
			}
		}
	}
	return ids
}

func preserved(r api.Receipt, p api.Partition) bool {
	for _, s := range r.Preserved {
		if s == diskloss.Name(p) {
			return true
		}
	}
	return false
}
