package golden

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The worked example of docs/formats.md, built here anew: a disk of 64 KiB of
// 'g', 64 KiB of zeros and 4 KiB of 'd'. Its frames are written by hand as RLE
// blocks (RFC 8878, 3.1.1.2), so the bytes depend on no encoder's version.
func TestDocumentedExample(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "formats.md"))
	if err != nil {
		t.Fatal(err)
	}
	frames := [][]byte{rleFrame('g', 65536), rleFrame(0, 65536), rleFrame('d', 4096)}
	raw := strings.Repeat("g", 65536) + strings.Repeat("\x00", 65536) + strings.Repeat("d", 4096)

	table := must(NewTable(MinChunkSize, SHA256))
	var blob []byte
	for i, f := range frames {
		chunk := raw[i*MinChunkSize : min((i+1)*MinChunkSize, len(raw))]
		if err := table.Append(int64(len(chunk)), Chunk{
			Hash: SHA256.Sum([]byte(chunk)), Offset: int64(len(blob)), Length: int64(len(f)), Zero: i == 1,
		}); err != nil {
			t.Fatal(err)
		}
		blob = append(blob, f...)
	}
	chunks := tableBytes(table)
	config := must((&Config{Disk: Disk{
		Size: table.DiskSize, SectorSize: 512, ChunkSize: table.ChunkSize, Hash: "sha256", Scheme: "none",
	}}).Marshal())
	manifest := must((&Manifest{
		SchemaVersion: 2, MediaType: MediaTypeManifest, ArtifactType: ArtifactType,
		Config: descriptor(MediaTypeConfig, config),
		Layers: []Descriptor{descriptor(MediaTypeDisk, blob), descriptor(MediaTypeChunks, chunks)},
	}).Marshal())

	for name, want := range map[string][]byte{"disk blob": blob, "chunk table": chunks} {
		if got := documentedHex(t, string(doc), name); got != hex.EncodeToString(want) {
			t.Errorf("docs/formats.md, %s = %s; want\n%s", name, got, hex.Dump(want))
		}
	}
	for name, want := range map[string][]byte{"config": config, "manifest": manifest} {
		if got := strings.TrimSpace(documented(t, string(doc), "json", name)); got != string(want) {
			t.Errorf("docs/formats.md, %s = %s; want\n%s", name, got, want)
		}
	}
	if want := string(DigestOf(manifest)); !strings.Contains(string(doc), want) {
		t.Errorf("docs/formats.md does not name the image's digest %s", want)
	}

	// What the document shows must also be what a reader accepts.
	if _, err := NewImage(DigestOf(manifest), manifest, config, bytes.NewReader(chunks)); err != nil {
		t.Errorf("NewImage(documented example) = %v; want it accepted", err)
	}
	dec, err := NewDecoder(table)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	for i, f := range frames {
		if _, err := dec.Decode(i, f, make([]byte, table.ChunkSize)); err != nil {
			t.Errorf("Decode(%d, documented frame) = %v; want it accepted", i, err)
		}
	}
}

// rleFrame is a zstd frame of one block that repeats b n times, 256 to 65,791:
// magic, descriptor (single segment, a content size of two bytes), content
// size less 256, block header (last block, RLE), byte.
func rleFrame(b byte, n int) []byte {
	block := n<<3 | 1<<1 | 1
	return []byte{0x28, 0xb5, 0x2f, 0xfd, 0x60, byte(n - 256), byte((n - 256) >> 8), byte(block), byte(block >> 8), byte(block >> 16), b}
}

// documented returns the fenced block of the kind that follows the line
// "<!-- name -->".
func documented(t *testing.T, doc, kind, name string) string {
	t.Helper()
	_, rest, ok := strings.Cut(doc, "<!-- "+name+" -->\n```"+kind+"\n")
	if !ok {
		t.Fatalf("docs/formats.md has no %s block called %q", kind, name)
	}
	block, _, _ := strings.Cut(rest, "```")
	return block
}

// documentedHex returns the bytes of a block in the form of xxd: offset,
// colon, bytes, and text after two blanks.
func documentedHex(t *testing.T, doc, name string) string {
	t.Helper()
	var digits strings.Builder
	for line := range strings.Lines(documented(t, doc, "text", name)) {
		_, bytes, _ := strings.Cut(line, ": ")
		bytes, _, _ = strings.Cut(bytes, "  ")
		digits.WriteString(strings.ReplaceAll(strings.TrimSpace(bytes), " ", ""))
	}
	return digits.String()
}
