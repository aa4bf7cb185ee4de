package probe

import (
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/disk/signature"
)

// containers are the kinds that libblkid takes for the truth whatever else it
// sees, for what lies in them shines through; the outer ones first.
var containers = []string{
	"linux_raid_member", "ddf_raid_member", "isw_raid_member", "lsi_mega_raid_member", "nvidia_raid_member", "via_raid_member",
	"silicon_medley_raid_member", "promise_fasttrack_raid_member", "hpt37x_raid_member", "hpt45x_raid_member",
	"adaptec_raid_member", "jmicron_raid_member", "drbd", "LVM2_member",
	"LVM1_member", "DM_snapshot_cow", "DM_verity_hash", "DM_integrity", "crypto_LUKS", "VMFS_volume_member", "vdo", "stratis", "BitLocker",
}

// same are kinds that one format has marks of.
var same = [][]string{{"ext2", "ext3", "ext4"}, {"udf", "iso9660"}, {"swap", "swsuspend"}}

func sameFormat(a, b string) bool {
	return a == b || slices.ContainsFunc(same, func(kinds []string) bool { return slices.Contains(kinds, a) && slices.Contains(kinds, b) })
}

// weigh holds what was found first against all the marks there are.
func weigh(sig *Signature, marks []signature.Signature) {
	if kind := loudest(marks); sig.Kind == "" || slices.Contains(containers, sig.Kind) && kind != sig.Kind {
		*sig = Signature{Kind: kind}
	}
	if sig.Kind == "" {
		return // a table inside at most
	}
	for _, kind := range signature.Kinds(marks) {
		if sameFormat(kind, sig.Kind) {
			continue
		}
		sig.Others = append(sig.Others, kind)
		if !outlived(sig.Kind, kind, marks) {
			sig.Rivals = append(sig.Rivals, kind)
		}
	}
}

// loudest names what the marks speak of: the outermost container, else the
// first that is not a table inside.
func loudest(marks []signature.Signature) string {
	kinds := signature.Kinds(marks)
	for _, kind := range containers {
		if slices.Contains(kinds, kind) {
			return kind
		}
	}
	for _, kind := range kinds {
		if kind != signature.TableDOS && kind != signature.TableGPT {
			return kind
		}
	}
	return ""
}

// outlived reports that the marks of other do not put kind in doubt.
func outlived(kind, other string, marks []signature.Signature) bool {
	if slices.Contains(containers, kind) {
		// libblkid ends its search at a container, but at these only behind them.
		return !slices.Contains([]string{"bcache", "bcachefs", "ceph_bluestore"}, other) || strings.HasSuffix(kind, "_raid_member")
	}
	tail, bare := true, true
	for _, m := range marks {
		if m.Kind == other {
			tail, bare = tail && m.Tail, bare && m.Bare
		}
	}
	if bare {
		return true
	}
	switch other {
	case "zfs_member", signature.TableGPT:
		// A pool writes its labels at both ends, and a table stands at the head: who
		// has the head has written later. Their copies at the end stay until a file
		// reaches them.
		return tail
	}
	return false
}
