// Package units writes amounts of bytes for people.
//
// Memory and images are in powers of 1024, disks in powers of 1000 as on their
// labels.
package units

import "fmt"

// Bytes writes the size of an image, of memory or of a file: "1.3 GiB".
func Bytes(n int64) string { return amount(float64(n), 1024, "B", "KiB", "MiB", "GiB", "TiB", "PiB") }

// Disk writes the size of a disk or partition as its maker does: "512 GB".
func Disk(n int64) string { return amount(float64(n), 1000, "B", "kB", "MB", "GB", "TB", "PB") }

// Rate writes bytes a second: "9.5 MiB/s".
func Rate(perSecond float64) string { return Bytes(int64(max(perSecond, 0))) + "/s" }

// amount writes three digits at most in front of the largest unit that fits.
func amount(v float64, step float64, units ...string) string {
	u := 0
	for v >= step-0.5 && u < len(units)-1 {
		v, u = v/step, u+1
	}
	if u == 0 || v >= 99.95 {
		return fmt.Sprintf("%.0f %s", v, units[u])
	}
	return fmt.Sprintf("%.1f %s", v, units[u])
}

// Part writes how much of an amount there is, in one unit: "210 of 694 MiB".
func Part(done, total int64) string {
	v, unit := float64(total), "B"
	by := 1.0
	for _, larger := range []string{"KiB", "MiB", "GiB", "TiB", "PiB"} {
		if v/by < 1023.5 {
			break
		}
		by, unit = by*1024, larger
	}
	digits := 1
	if by == 1 || v/by >= 99.95 {
		digits = 0
	}
	return fmt.Sprintf("%.*f of %.*f %s", digits, float64(done)/by, digits, v/by, unit)
}
