// Package diskloss says what a flash takes from a disk, or what it would take
// without the operator's explicit word.
//
// Server and agent decide by this same code: the server from the last
// inventory, when the operator arms; the agent from the disk itself, before
// the first write. A flash that was cut off and is begun again comes to the
// same verdict: what decides is what the flash does not change before its end.
package diskloss

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gild-dev/gild/internal/disk"
)

// Verdict is what a flash does to a disk.
type Verdict struct {
	// Lost and Kept are lines for a person, in the order of the disk's
	// partitions. Lost is empty when nothing is known to be on the disk.
	Lost, Kept []string
	// Claim says why the flash needs the plan's Wipe, as the rest of a sentence
	// that begins with "the disk"; empty: it does not.
	Claim string
	// Keep are the partitions behind Kept, lowest number first.
	Keep []disk.Partition
}

// Of judges the flash of an image onto a disk. keep names the partitions to be
// preserved: by PARTUUID, number or label. known are IDs that earlier flashes
// of this machine left (the plan's Known). Of the image, Size, Scheme, TableID
// and Partitions count. The error is a *KeepError.
func Of(d disk.Disk, image disk.Layout, keep, known []string) (Verdict, error) {
	kept, err := Keep(d, image, keep)
	if err != nil {
		return Verdict{}, err
	}
	v := Verdict{Keep: kept}
	o := owner{d, image, known}
	var foreign, claims []string
	for _, p := range d.Partitions {
		line := describe(p)
		switch {
		case isKept(kept, p):
			v.Kept = append(v.Kept, line)
			continue
		case isExtended(p): // the logical ones in it have lines of their own
			continue
		}
		v.Lost = append(v.Lost, line)
		if !o.put(p) {
			foreign = append(foreign, strconv.Itoa(p.Number))
		}
		if o.claimsCount(p) {
			for _, c := range p.Claims {
				claims = append(claims, fmt.Sprintf("%s in partition %d", claimName(c), p.Number))
			}
		}
	}
	whole := wholeClaims(d)
	for _, c := range whole {
		v.Lost = append(v.Lost, claimName(c)+" on the whole disk")
		claims = append(claims, claimName(c))
	}
	if d.FileSystem != "" && len(d.Partitions) == 0 {
		v.Lost = append(v.Lost, withLabel(d.FileSystem, d.FSLabel)+" on the whole disk")
	}
	if d.Damaged != "" {
		v.Lost = append(v.Lost, "whatever is behind a partition table that cannot be read")
	}
	v.Claim = sentence(d, image, claims, foreign)
	return v, nil
}

// sentence joins the reasons that there are.
func sentence(d disk.Disk, image disk.Layout, claims, foreign []string) string {
	var why []string
	if len(claims) > 0 {
		why = append(why, "holds "+strings.Join(claims, ", "))
	}
	switch {
	case len(foreign) == 1:
		why = append(why, "has a partition that neither this image nor an earlier flash put there: "+foreign[0])
	case len(foreign) > 1:
		why = append(why, "has partitions that neither this image nor an earlier flash put there: "+strings.Join(foreign, ", "))
	}
	if d.Damaged != "" {
		why = append(why, "has a partition table that cannot be read, and may hold anything")
	}
	// An image without a table leaves a disk without one: such a disk may be
	// ours. Swap space is nobody's data.
	if d.FileSystem != "" && d.FileSystem != "swap" && len(d.Partitions) == 0 && image.Scheme != "none" {
		why = append(why, "has a file system without a partition: "+withLabel(d.FileSystem, d.FSLabel))
	}
	return strings.Join(why, "; it ")
}

// owner tells whose a partition is.
type owner struct {
	disk  disk.Disk
	image disk.Layout
	known []string
}

// noID is the ID of an MBR that nobody gave one.
const noID = "00000000"

// table reports whether the disk's table is the image's own, or one that an
// earlier flash left.
func (o owner) table() (image, known bool) {
	if o.disk.TableID == "" || o.disk.TableID == noID {
		return false, false
	}
	return strings.EqualFold(o.disk.TableID, o.image.TableID), has(o.known, o.disk.TableID)
}

// put reports whether a flash by gild put the partition there: the table is
// ours, and so is the entry. Of an earlier flash no more than the table may be
// known, which then speaks for all of it.
func (o owner) put(p disk.Partition) bool {
	image, known := o.table()
	switch {
	case image && slices.ContainsFunc(o.image.Partitions, func(q disk.Partition) bool { return same(p, q) }):
		return true
	case known && has(o.known, p.UUID):
		return true
	case known:
		return !slices.ContainsFunc(o.disk.Partitions, func(q disk.Partition) bool { return has(o.known, q.UUID) })
	case o.disk.TableID == noID && o.image.TableID == noID:
		return slices.ContainsFunc(o.image.Partitions, func(q disk.Partition) bool { return same(p, q) && p.Type == q.Type })
	}
	return false
}

// claimsCount reports whether what claims the partition may be somebody's data.
// It is not when it came with the image, or is a half of it: the image says of
// that partition nothing that speaks against it.
func (o owner) claimsCount(p disk.Partition) bool {
	if !o.put(p) {
		return true
	}
	if o.disk.Unsealed {
		return p.Start >= o.image.Size // behind it, nothing was written yet
	}
	for _, q := range o.image.Partitions {
		if same(p, q) {
			return q.FileSystem != "" && q.FileSystem != p.FileSystem && !container(q.FileSystem)
		}
	}
	return true
}

// container tells what an image's partition holds, as blkid names it, from a
// file system: such a partition is claimed from the first flash on.
func container(kind string) bool {
	return strings.HasSuffix(kind, "_member") || strings.HasPrefix(kind, "crypto_")
}

// same compares what growth does not change.
func same(p, q disk.Partition) bool {
	return p.Number == q.Number && p.Start == q.Start && (p.UUID == "" || q.UUID == "" || strings.EqualFold(p.UUID, q.UUID))
}

func has(list []string, id string) bool {
	return id != "" && slices.ContainsFunc(list, func(k string) bool { return strings.EqualFold(k, id) })
}

// wholeClaims are the claims on the disk that are in none of its partitions.
func wholeClaims(d disk.Disk) []string {
	return slices.DeleteFunc(slices.Clone(d.Claims), func(c string) bool {
		return slices.ContainsFunc(d.Partitions, func(p disk.Partition) bool { return slices.Contains(p.Claims, c) })
	})
}

func isKept(kept []disk.Partition, p disk.Partition) bool {
	return slices.ContainsFunc(kept, func(q disk.Partition) bool { return q.Number == p.Number })
}

func isExtended(p disk.Partition) bool {
	return p.Type == "0x5" || p.Type == "0xf" || p.Type == "0x85"
}

// describe is `partition 2, 400 GB, ext4 "data"`.
func describe(p disk.Partition) string {
	words := []string{"partition " + strconv.Itoa(p.Number), size(p.Size)}
	for _, c := range p.Claims {
		words = append(words, claimName(c))
	}
	label := cmp.Or(p.FSLabel, p.Label)
	switch {
	case p.FileSystem != "":
		words = append(words, withLabel(p.FileSystem, label))
	case label != "":
		words = append(words, quote(label))
	}
	return strings.Join(words, ", ")
}

func withLabel(name, label string) string {
	if label == "" {
		return name
	}
	return name + " " + quote(label)
}

// quote bounds foreign text and makes it harmless.
func quote(s string) string {
	const most = 64
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "..."
	}
	return strconv.Quote(s)
}

func claimName(code string) string {
	switch code {
	case disk.ClaimLVM:
		return "an LVM physical volume"
	case disk.ClaimRAID:
		return "a member of a RAID array"
	case disk.ClaimZFS:
		return "a member of a ZFS pool"
	case disk.ClaimLUKS:
		return "LUKS encrypted data"
	case disk.ClaimCeph:
		return "a Ceph store"
	case disk.ClaimCluster:
		return "a file system shared in a cluster"
	case disk.ClaimCache:
		return "a bcache device"
	}
	return quote(code)
}

// size is "400 GB", "1.9 TB", "537 MB": of three digits, powers of 1000.
func size(n int64) string {
	f, units := float64(n)/1e6, []string{"MB", "GB", "TB"}
	for f >= 999.5 && len(units) > 1 {
		f, units = f/1000, units[1:]
	}
	if f >= 99.95 || f == float64(int64(f)) {
		return fmt.Sprintf("%.0f %s", f, units[0])
	}
	return fmt.Sprintf("%.1f %s", f, units[0])
}
