package main

import (
	"bytes"
	"testing"
)

const dumpe2fsReport = `Filesystem volume name:   root
Block count:              10
Free blocks:              4
Block size:               4096

Group 0: (Blocks 0-9) csum 0x1234
  Primary superblock at 0
  Free blocks: 3-5, 8
  Free inodes: 12-99
`

func TestParseDumpe2fs(t *testing.T) {
	u, err := parseDumpe2fs([]byte(dumpe2fsReport))
	if err != nil {
		t.Fatal(err)
	}
	u.start = 1 << 20
	for block, want := range []bool{false, false, false, true, true, true, false, false, true, false, false} {
		if got := u.isFree(u.start + int64(block)*4096); got != want {
			t.Errorf("isFree(block %d) = %v; want %v", block, got, want)
		}
	}
	if u.isFree(0) {
		t.Error("what lies before the file system is free")
	}
	if got := u.bytesInUse(); got != 6*4096 {
		t.Errorf("bytesInUse() = %d; want %d", got, 6*4096)
	}

	a, b := make([]byte, 10*4096), make([]byte, 10*4096)
	b[4*4096] = 1
	if !u.equal(a, b, u.start) {
		t.Error("a difference in a free block counts")
	}
	b[6*4096] = 1
	if u.equal(a, b, u.start) {
		t.Error("a difference in a block that is in use does not count")
	}
}

func TestParseDumpe2fsRefuses(t *testing.T) {
	for _, report := range []string{
		"", "Block count: 10\n", "Block count: x\nBlock size: 4096\n",
		"Block count: 10\nBlock size: 4096\n  Free blocks: 8-12\n", "Block count: 10\nBlock size: 4096\n  Free blocks: 5-3\n",
	} {
		if u, err := parseDumpe2fs([]byte(report)); err == nil {
			t.Errorf("parseDumpe2fs(%q) = %v; want an error", report, u)
		}
	}
}

func TestAligned(t *testing.T) {
	buf := aligned(8192)
	if len(buf) != 8192 || cap(buf) != 8192 || !bytes.Equal(buf, make([]byte, 8192)) {
		t.Errorf("aligned(8192) has length %d and capacity %d", len(buf), cap(buf))
	}
}

func TestHighWater(t *testing.T) {
	if got, ok := highWater("Name:\tgild\nVmPeak:\t  9999 kB\nVmHWM:\t    1234 kB\nVmRSS:\t 7 kB\n"); got != 1234<<10 || !ok {
		t.Errorf("highWater = %d, %v; want %d", got, ok, 1234<<10)
	}
	if got, ok := highWater("Name:\tgild\nState:\tZ (zombie)\n"); ok {
		t.Errorf("highWater of a zombie = %d", got)
	}
}
