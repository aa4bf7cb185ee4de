package pack

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// table writes a partition table onto a disk of size bytes.
func table(t *testing.T, size int64, script string) []byte {
	t.Helper()
	image := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/usr/sbin/sfdisk", "-q", image)
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("sfdisk: %v\n%s", err, out)
	}
	raw, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// An image that ends early is taken where all that is missing is known to be
// nothing, and refused where it may be a part of the disk.
func TestAnImageThatEndsEarly(t *testing.T) {
	const mib = 1 << 20
	made := func(size string, mkfs ...string) []byte {
		name := filepath.Join(t.TempDir(), "fs")
		tool(t, "truncate", "-s", size, name)
		tool(t, mkfs[0], append(mkfs[1:], name)...)
		p, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	ext4 := made("16M", "mke2fs", "-q", "-F", "-t", "ext4")
	fat := made("16M", "mkfs.vfat", "-F", "16")
	swap := made("16M", "mkswap", "-q")
	xfs := made("304M", "mkfs.xfs", "-q", "-f")
	random := bytes.Repeat([]byte("something"), 16*mib/9)
	// One partition from 1 MiB on, of 17 MiB, or as large as it has to be.
	mbr := func(size int) string { return fmt.Sprintf("label: dos\nstart=2048, size=%d, type=83\n", size*2048) }
	gpt := func(size int) string {
		return fmt.Sprintf("label: gpt\nstart=2048, size=%d\n", size*2048)
	}
	for name, tt := range map[string]struct {
		script string
		size   int64 // of the disk
		held   []byte
		cut    int64  // where the image ends
		want   int64  // bytes of the stored disk
		says   string // a note
		err    string
	}{
		"MBR, behind the file system": {
			mbr(17), 20 * mib, ext4, 17*mib + 1024, 18 * mib,
			"ends at byte 17826816, behind its last file system", "",
		},
		"MBR, at the file system's end":           {mbr(17), 20 * mib, ext4, 17 * mib, 18 * mib, "behind its last file system", ""},
		"MBR, in the file system":                 {mbr(17), 20 * mib, ext4, 17*mib - 512, 0, "", "within partition 1"},
		"MBR, at the partition's end":             {mbr(17), 20 * mib, ext4, 18 * mib, 18 * mib, "", ""},
		"FAT, whole":                              {mbr(17), 20 * mib, fat, 17 * mib, 18 * mib, "behind its last file system", ""},
		"FAT, cut":                                {mbr(17), 20 * mib, fat, 16 * mib, 0, "", "within partition 1"},
		"XFS, whole":                              {mbr(306), 320 * mib, xfs, 305 * mib, 307 * mib, "behind its last file system", ""},
		"XFS, cut":                                {mbr(306), 320 * mib, xfs, 304 * mib, 0, "", "within partition 1"},
		"swap":                                    {mbr(16), 20 * mib, swap, 2 * mib, 17 * mib, "behind its last file system", ""},
		"something else":                          {mbr(17), 20 * mib, random, 17 * mib, 0, "", "within partition 1"},
		"in front of the partition":               {mbr(17), 20 * mib, ext4, mib, 0, "", "in front of or within partition 1"},
		"GPT, all but the backup":                 {gpt(17), 20 * mib, ext4, 18 * mib, 18*mib + 20480, "its backup is not in this one", ""},
		"GPT of a larger disk":                    {gpt(17), 900 * mib, ext4, 19 * mib, 19 * mib, "its backup is not in this one", ""},
		"GPT, behind the file system":             {gpt(17), 20 * mib, ext4, 17*mib + 512, 18*mib + 20480, "behind its last file system", ""},
		"GPT, in the file system":                 {gpt(17), 20 * mib, ext4, 9 * mib, 0, "", "within partition 1"},
		"no table, in the file system":            {"", 16 * mib, ext4, 12 * mib, 0, "", "its file system has 16777216"},
		"GPT, sectors of nobody's behind the end": {gpt(17), 20 * mib, ext4, 20*mib - 512, 20*mib - 512, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && tt.size > 100*mib {
				t.Skip("a large disk")
			}
			raw := make([]byte, tt.size)
			if tt.script == "" {
				copy(raw, tt.held)
			} else {
				raw = table(t, tt.size, tt.script)
				copy(raw[mib:], tt.held)
			}
			s := openStore(t, t.TempDir())
			r, err := Add(t.Context(), Job{Store: s, Name: "a", Disk: memory{bytes.NewReader(raw[:tt.cut])}})
			if tt.err != "" {
				if _, ok := errors.AsType[*InputError](err); !ok || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("Add() = %v; want an error of the input with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if r.Config.Disk.Size != tt.want || len(r.Config.Disk.Partitions) > 1 {
				t.Errorf("stored %d bytes with %v; want %d", r.Config.Disk.Size, r.Config.Disk.Partitions, tt.want)
			}
			if notes := fmt.Sprint(r.Notes); tt.says == "" && strings.Contains(notes, "ends") || !strings.Contains(notes, tt.says) {
				t.Errorf("notes are %s; want %q", notes, tt.says)
			}
			got := export(t, s, "a")
			if !bytes.HasPrefix(got, raw[:tt.cut]) || len(bytes.Trim(got[tt.cut:], "\x00")) > 0 {
				t.Error("the stored disk is not the image with zeros behind it")
			}
		})
	}
}
