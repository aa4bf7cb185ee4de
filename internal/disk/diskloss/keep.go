package diskloss

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gild-dev/gild/internal/disk"
)

// KeepError says why a partition cannot be kept. Nothing was written.
type KeepError struct {
	Name string // as the operator wrote it
	Why  string // a sentence that follows the name
}

func (e *KeepError) Error() string {
	return fmt.Sprintf("keeping partition %s: %s", quote(e.Name), e.Why)
}

// boundary is what the writes of an image and the bytes of a kept partition
// must not share, in bytes: a disk that hides sectors of 4096 bytes behind
// ones of 512 rewrites all of them, and may lose them together.
const boundary = 4096

// backupGPT is how much a backup GPT of 128 entries takes at a disk's end.
func backupGPT(sector int) int64 {
	s := max(int64(sector), 512)
	return (128*128+s-1)/s*s + s
}

// Keep finds the partitions that keep names on the disk, lowest number first,
// and makes sure that they can stay: all of them behind the image's last byte,
// and before the place of the backup GPT. Names must keep meaning the same
// when the flash is begun again after a cut, when the table on the disk may
// be the new one already: so neither a number nor a label that the image uses
// itself will do. The error is a *KeepError.
func Keep(d disk.Disk, image disk.Layout, keep []string) ([]disk.Partition, error) {
	var kept []disk.Partition
	for _, name := range keep {
		p, err := find(d, image, name)
		if err == nil {
			err = staysClear(d, image, p)
		}
		if err == nil && isKept(kept, p) {
			err = fmt.Errorf("it is named twice: number %d is the same", p.Number)
		}
		if err != nil {
			return nil, &KeepError{name, err.Error()}
		}
		kept = append(kept, p)
	}
	slices.SortFunc(kept, func(a, b disk.Partition) int { return cmp.Compare(a.Number, b.Number) })
	return kept, nil
}

func find(d disk.Disk, image disk.Layout, name string) (disk.Partition, error) {
	var by func(p disk.Partition) bool
	if n, err := strconv.Atoi(name); err == nil {
		by = func(p disk.Partition) bool { return p.Number == n }
	} else {
		by = func(p disk.Partition) bool { return name != "" && p.Label == name }
	}
	taken := "the image has a partition of that name too"
	if isUUID(name) {
		by = func(p disk.Partition) bool { return strings.EqualFold(p.UUID, name) }
		taken = "it is one of the image's own"
	}
	var found []disk.Partition
	for _, p := range d.Partitions {
		if by(p) {
			found = append(found, p)
		}
	}
	switch {
	case len(found) == 0:
		return disk.Partition{}, fmt.Errorf("there is none on %s%s", d.Name, listed(d))
	case len(found) > 1:
		return disk.Partition{}, fmt.Errorf("%d partitions of %s have that name: say the number", len(found), d.Name)
	}
	p := found[0]
	if err := overlap(image, p); err != nil {
		return disk.Partition{}, err
	}
	if slices.ContainsFunc(image.Partitions, by) {
		hint := ""
		if isUUID(p.UUID) && !isUUID(name) {
			hint = "; say " + p.UUID
		}
		return disk.Partition{}, fmt.Errorf("%s, so that after the flash it would mean that one%s", taken, hint)
	}
	return p, nil
}

// listed is what could have been meant.
func listed(d disk.Disk) string {
	if len(d.Partitions) == 0 {
		return ", which has no partitions"
	}
	const most = 8
	var names []string
	for _, p := range d.Partitions[:min(len(d.Partitions), most)] {
		s := strconv.Itoa(p.Number)
		if p.Label != "" {
			s += " (" + quote(p.Label) + ")"
		}
		names = append(names, s)
	}
	if len(d.Partitions) > most {
		names = append(names, "...")
	}
	return ", which has " + strings.Join(names, ", ")
}

func overlap(image disk.Layout, p disk.Partition) error {
	end := (image.Size + boundary - 1) / boundary * boundary
	if p.Start < end {
		return fmt.Errorf("it begins at byte %d, and the image takes the disk up to byte %d", p.Start, end)
	}
	return nil
}

// staysClear refuses what the tables cannot carry over.
func staysClear(d disk.Disk, image disk.Layout, p disk.Partition) error {
	if image.Scheme != "gpt" {
		return fmt.Errorf("the image has no GPT, into which its entry could go")
	}
	if !isUUID(p.UUID) {
		return fmt.Errorf("%s has no GPT: only partitions of a GPT can be kept", d.Name)
	}
	if last := d.Size - backupGPT(d.SectorSize); p.Size <= 0 || p.Start > last-p.Size {
		return fmt.Errorf("it ends at byte %d, where the backup GPT belongs (from byte %d on)", p.Start+p.Size, last)
	}
	return nil
}

// isUUID recognises 8-4-4-4-12 hex digits.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
		} else if !strings.ContainsRune("0123456789abcdefABCDEF", rune(c)) {
			return false
		}
	}
	return true
}

// Resolve gives the kept partitions the names that no table can turn around:
// their PARTUUIDs. A number or label that the image uses too may be resolved,
// because the operator means the disk as it is now.
func Resolve(d disk.Disk, image disk.Layout, keep []string) ([]string, error) {
	bare := image
	bare.Partitions = nil
	kept, err := Keep(d, bare, keep)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range kept {
		names = append(names, p.UUID)
	}
	_, err = Keep(d, image, names)
	return names, err
}

// Name is what a receipt calls a partition: "4 (data)".
func Name(p disk.Partition) string {
	if p.Label == "" {
		return strconv.Itoa(p.Number)
	}
	return strconv.Itoa(p.Number) + " (" + p.Label + ")"
}
