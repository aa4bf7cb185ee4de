package partition

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const gptScript = `label: gpt
size=1M, type=21686148-6449-6E6F-744E-656564454649, name="boot"
size=16M, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name="EFI röt", attrs="LegacyBIOSBootable"
size=20M, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709
`

const mbrScript = `label: dos
label-id: 0x0badcafe
size=10M, type=83, bootable
size=30M, type=f
size=5M, type=82
size=6M, type=c
size=10M, type=83
size=8M, type=8e
size=4M, type=83
`

// ignoreWords leaves out what sfdisk has no counterpart for.
var ignoreWords = cmp.Options{
	cmpopts.IgnoreFields(Partition{}, "TypeName"),
	cmpopts.IgnoreFields(Table{}, "Warnings"),
}

func TestReadAgainstSfdisk(t *testing.T) {
	for _, tc := range []struct {
		name, script string
		sector       int
	}{
		{"gpt 512", gptScript, 512},
		{"gpt 4096", gptScript, 4096},
		{"gpt empty", "label: gpt\n", 512},
		{"gpt 4 entries", "label: gpt\ntable-length: 4\nsize=10M\n", 512},
		{"gpt with holes in the numbers", "label: gpt\n3: size=10M\n7: size=5M\n", 512},
		{"gpt out of order", "label: gpt\n1: start=60000, size=1000\n2: start=4096, size=1000\n", 512},
		{"mbr 512", mbrScript, 512},
		{"mbr 4096", mbrScript, 4096},
		{"mbr empty", "label: dos\n", 512},
		{"mbr empty extended", "label: dos\nsize=10M,type=5\n", 512},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := sparse(t, 100*mib)
			if tc.sector == 4096 {
				path = loop4096(t, path)
			}
			run(t, tc.script, "sfdisk", "-q", "--no-reread", path)
			f := open(t, path)
			got, err := Read(f, size(t, f), tc.sector)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(sfdiskTable(t, path), got, ignoreWords); diff != "" {
				t.Errorf("Read differs from sfdisk --json (-sfdisk +Read):\n%s", diff)
			}
			if len(got.Warnings) > 0 {
				t.Errorf("warnings: %q", got.Warnings)
			}
			sector, ok := DetectSectorSize(f, size(t, f))
			if want := got.Scheme == GPT; ok != want || ok && sector != tc.sector {
				t.Errorf("DetectSectorSize() = %d, %v; want %d, %v", sector, ok, tc.sector, want)
			}
		})
	}
}

func TestReadNone(t *testing.T) {
	fat := make(memory, 4*mib)
	copy(fat, "\xeb\x3c\x90mkfs.fat\x00\x02\x04\x04\x00\x02\x00\x02\x00\x20\xf8")
	fat[mbrMagic], fat[mbrMagic+1] = 0x55, 0xaa
	code := make(memory, mib)
	code[mbrMagic], code[mbrMagic+1] = 0x55, 0xaa
	copy(code[mbrEntries:], "Non-system disk, press any key")
	unprotected := buildGPT(100, 512, 128, 128, nil, nil)
	clear(unprotected[:512])
	for name, tc := range map[string]struct {
		m        memory
		warnings int
	}{
		"nothing":                  {memory{}, 0},
		"half a sector":            {make(memory, 256), 0},
		"one sector":               {make(memory, 512), 0},
		"zeros":                    {make(memory, mib), 0},
		"FAT":                      {fat, 0},
		"text in place of a table": {code, 0},
		"LBA 0 zeroed":             {unprotected, 1},
	} {
		got, err := Read(tc.m, int64(len(tc.m)), 512)
		if err != nil || got.Scheme != None || len(got.Warnings) != tc.warnings {
			t.Errorf("%s: Read() = %+v, %v; want scheme none and %d warnings", name, got, err, tc.warnings)
		}
	}
}

func TestReadStaleGPTBehindMBR(t *testing.T) {
	m := buildGPT(100, 512, 128, 128, []rawEntry{{1, 40, 50}}, nil)
	putMBR(m, 0, 0x83, 34, 60)
	got, err := Read(m, int64(len(m)), 512)
	if err != nil || got.Scheme != MBR || len(got.Partitions) != 1 {
		t.Errorf("Read() = %+v, %v; want one MBR partition", got, err)
	}
}

func TestReadHybrid(t *testing.T) {
	m := buildGPT(100, 512, 128, 128, []rawEntry{{1, 40, 50}}, nil)
	putMBR(m, 2, 0x83, 40, 11)
	got, err := Read(m, int64(len(m)), 512)
	if err != nil || got.Scheme != GPT || !got.Hybrid || len(got.Warnings) != 1 || len(got.Partitions) != 1 {
		t.Errorf("Read() = %+v, %v; want a hybrid GPT with one partition and a warning", got, err)
	}
}

func TestReadBackup(t *testing.T) {
	for name, spoil := range map[string]func(memory){
		"header signature": func(m memory) { m[512] ^= 1 },
		"header checksum":  func(m memory) { m[512+hdrDiskGUID] ^= 1 },
		"entries":          func(m memory) { m[1024+entName] ^= 1 },
	} {
		m := buildGPT(200, 512, 128, 128, []rawEntry{{1, 40, 50}}, nil)
		want, err := Read(m, int64(len(m)), 512)
		if err != nil {
			t.Fatal(err)
		}
		spoil(m)
		got, err := Read(m, int64(len(m)), 512)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !got.FromBackup || len(got.Warnings) != 1 {
			t.Errorf("%s: FromBackup = %v, warnings %q; want true and one", name, got.FromBackup, got.Warnings)
		}
		if diff := cmp.Diff(want.Partitions, got.Partitions); diff != "" {
			t.Errorf("%s: partitions (-primary +backup):\n%s", name, diff)
		}
		if s, ok := DetectSectorSize(m, int64(len(m))); !ok || s != 512 {
			t.Errorf("%s: DetectSectorSize() = %d, %v; want 512", name, s, ok)
		}
	}
}

// TestReadBackupInTheMiddle reads a damaged primary whose backup is where a
// smaller image ended.
func TestReadBackupInTheMiddle(t *testing.T) {
	m := buildGPT(200, 512, 128, 128, []rawEntry{{1, 40, 50}}, nil)
	m[1024+entName] ^= 1 // the header survives and knows its alternate
	m = append(m, make([]byte, 100*512)...)
	got, err := Read(m, int64(len(m)), 512)
	if err != nil || !got.FromBackup {
		t.Errorf("Read() = %+v, %v; want the backup", got, err)
	}
}

func TestReadRefuses(t *testing.T) {
	set32 := func(off int, v uint32) func(header) { return func(h header) { h.set32(off, v) } }
	set64 := func(off int, v uint64) func(header) { return func(h header) { h.set64(off, v) } }
	gpt := func(change func(header), e ...rawEntry) memory { return buildGPT(100, 512, 128, 128, e, change) }
	for _, tc := range []struct {
		name string
		m    memory
		want string
	}{
		{"entry size 0", gpt(set32(hdrEntrySize, 0)), "entry size 0"},
		{"entry size 127", gpt(set32(hdrEntrySize, 127)), "entry size 127"},
		{"entry size 384", gpt(set32(hdrEntrySize, 384)), "entry size 384"},
		{"entry size 2^31", gpt(set32(hdrEntrySize, 1<<31)), "entry size 2147483648"},
		{"no entries", gpt(set32(hdrEntryCount, 0)), "0 entries"},
		{"count 2^32-1", gpt(set32(hdrEntryCount, 1<<32-1)), "4294967295 entries"},
		{"count 1025", gpt(set32(hdrEntryCount, 1025)), "1025 entries"},
		{"array of 1024 past the usable start", gpt(set32(hdrEntryCount, 1024)), "collide"},
		{"array at 2^63", gpt(set64(hdrEntriesLBA, 1<<63)), "collide"},
		{"array at 2^64-1", gpt(set64(hdrEntriesLBA, 1<<64-1)), "collide"},
		{"array on the header", gpt(set64(hdrEntriesLBA, 1)), "collide"},
		{"header size 0", gpt(set32(hdrSize, 0)), "header size 0"},
		{"header size 513", gpt(set32(hdrSize, 513)), "header size 513"},
		{"last usable 2^64-1", gpt(set64(hdrLastUsable, 1<<64-1)), "usable sectors"},
		{"last usable past the end", gpt(set64(hdrLastUsable, 100)), "usable sectors"},
		{"first usable 0", gpt(set64(hdrFirstUsable, 0)), "usable sectors"},
		{"header elsewhere", gpt(set64(hdrMyLBA, 5)), "sector 5"},
		{"first behind last", gpt(nil, rawEntry{1, 50, 49}), "first sector 50"},
		{"past the end", gpt(nil, rawEntry{1, 50, 1 << 63}), "end behind the disk"},
		{"on the header", gpt(nil, rawEntry{1, 1, 50}), "outside the usable"},
		{"overlap", gpt(nil, rawEntry{1, 50, 60}, rawEntry{2, 40, 50}), "overlap"},
		{"disk of two sectors", gpt(nil)[:1024], "collide"},
		{"protective MBR alone", gpt(nil)[:512], "primary GPT"},
	} {
		// Without its own backup's help: where the spoiled field is in both, both must
		// be refused.
		got, err := Read(tc.m, int64(len(tc.m)), 512)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: Read() = %+v, %v; want an error with %q", tc.name, got, err, tc.want)
		}
	}
	if _, err := Read(memory{}, 0, 520); err == nil {
		t.Error("sector size 520 was accepted")
	}
	if _, err := Read(memory{}, -1, 512); err == nil {
		t.Error("a negative size was accepted")
	}
}

func TestReadLargeEntries(t *testing.T) {
	for _, entrySize := range []int{128, 256, 512} {
		m := buildGPT(2000, 512, entrySize, 256, []rawEntry{{1, 700, 800}, {2, 801, 900}}, nil)
		got, err := Read(m, int64(len(m)), 512)
		if err != nil || len(got.Partitions) != 2 || got.Partitions[1].Start != 801*512 {
			t.Errorf("entries of %d bytes: Read() = %+v, %v", entrySize, got, err)
		}
	}
}

func TestReadMBRRefuses(t *testing.T) {
	disk := func(change func(memory)) memory {
		m := make(memory, 1000*512)
		putMBR(m, 0, 0x83, 10, 90)
		putMBR(m, 1, 0x05, 100, 800)
		putMBR(m[100*512:], 0, 0x83, 10, 50)
		putMBR(m[100*512:], 1, 0x05, 200, 100)
		putMBR(m[300*512:], 0, 0x83, 10, 50)
		change(m)
		return m
	}
	if got, err := Read(disk(func(memory) {}), 1000*512, 512); err != nil || len(got.Partitions) != 4 {
		t.Fatalf("Read() = %+v, %v; want four partitions", got, err)
	}
	for _, tc := range []struct {
		name   string
		change func(memory)
		want   string
	}{
		{"past the end", func(m memory) { putMBR(m, 2, 0x83, 950, 51) }, "outside"},
		{"all of 32 bits", func(m memory) { putMBR(m, 2, 0x83, 1<<32-1, 1<<32-1) }, "outside"},
		{"on the MBR", func(m memory) { putMBR(m, 2, 0x83, 0, 5) }, "outside"},
		{"overlap", func(m memory) { putMBR(m, 2, 0x83, 99, 1) }, "overlap"},
		{"loop to itself", func(m memory) { putMBR(m[300*512:], 1, 0x05, 200, 100) }, "loops back"},
		{"loop to the first", func(m memory) { putMBR(m[300*512:], 1, 0x05, 0, 100) }, "loops back"},
		{"link outside", func(m memory) { putMBR(m[300*512:], 1, 0x05, 800, 100) }, "outside"},
		{"logical outside", func(m memory) { putMBR(m[300*512:], 0, 0x83, 10, 591) }, "leaves"},
		{"logical on its record", func(m memory) { putMBR(m[300*512:], 0, 0x83, 0, 10) }, "leaves"},
		{"logical partitions overlap", func(m memory) { putMBR(m[100*512:], 0, 0x83, 10, 220) }, "overlap"},
		{"endless chain", func(m memory) {
			for i := range uint32(700) {
				putMBR(m[(100+i)*512:], 0, 0, 0, 0)
				putMBR(m[(100+i)*512:], 1, 0x05, i+1, 1)
			}
		}, "more than"},
	} {
		m := disk(tc.change)
		got, err := Read(m, int64(len(m)), 512)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: Read() = %+v, %v; want an error with %q", tc.name, got, err, tc.want)
		}
	}
	m := disk(func(m memory) { clear(m[300*512 : 301*512]) })
	if got, err := Read(m, int64(len(m)), 512); err != nil || len(got.Warnings) != 1 || len(got.Partitions) != 3 {
		t.Errorf("chain without a record: Read() = %+v, %v; want three partitions and a warning", got, err)
	}
}

// TestReadTruncated cuts a sound disk everywhere in its first sectors: no cut
// may panic.
func TestReadTruncated(t *testing.T) {
	m := buildGPT(100, 512, 128, 128, []rawEntry{{1, 40, 50}}, nil)
	for n := range 3 * 512 {
		_, _ = Read(m[:n], int64(n), 512)
		_, _ = Read(m[:n], int64(len(m)), 512) // shorter than promised
	}
}

// TestTypeNamesAgainstSfdisk looks up every GUID that types.go spells in
// sfdisk's own list.
func TestTypeNamesAgainstSfdisk(t *testing.T) {
	known := map[string]string{}
	for line := range strings.Lines(run(t, "", "sfdisk", "--label", "gpt", "-T")) {
		if id, name, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			known[strings.ToLower(id)] = strings.TrimSpace(name)
		}
	}
	source, err := os.ReadFile("types.go")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for word := range strings.FieldsFuncSeq(string(source), func(r rune) bool { return r == '"' || r == '\n' }) {
		if len(word) != 36 || strings.Count(word, "-") != 4 {
			continue
		}
		name := gptTypeName(word)
		if name == "" {
			t.Errorf("gptTypeName(%q) is empty", word)
			continue
		}
		want, ok := known[word]
		if !ok {
			t.Logf("sfdisk does not know %s (%s)", word, name)
			continue
		}
		checked++
		// The vendor or the purpose leads in both lists; sfdisk has "Solaris /usr &
		// Apple ZFS".
		if first := strings.Fields(name)[0]; !strings.Contains(strings.ToLower(want), strings.ToLower(first)) {
			t.Errorf("gptTypeName(%q) = %q; sfdisk says %q", word, name, want)
		}
	}
	if checked < 25 {
		t.Errorf("only %d types were compared", checked)
	}
}

func TestGrowable(t *testing.T) {
	for typ, want := range map[string]bool{
		typeLinuxData: true, typeRootX8664: true, "0x83": true,
		typeESP: false, "0x82": false, "0x8e": false, "0x5": false, "": false,
	} {
		if got := Growable(Partition{Type: typ}); got != want {
			t.Errorf("Growable(%q) = %v; want %v", typ, got, want)
		}
	}
}
