package source

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sparse is a disk of data, zeros and data, whose size is no multiple of a
// block.
func sparse() []byte {
	b := make([]byte, 5<<20+3*512)
	copy(b, testDisk(300<<10))
	copy(b[3<<20:], testDisk(70<<10))
	copy(b[len(b)-512:], testDisk(512))
	return b
}

// converted gives the disk to qemu-img, the judge.
func converted(t testing.TB, disk []byte, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("qemu-img is not installed")
	}
	out := filepath.Join(t.TempDir(), "image")
	args = append(append([]string{"convert", "-f", "raw"}, args...), writeFile(t, disk), out)
	if text, err := exec.CommandContext(t.Context(), "qemu-img", args...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img %v: %v: %s", args, err, text)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// read reads an image as a file and as a stream, and wants the disk.
func wantDisk(t *testing.T, name string, image, disk []byte, format string) {
	t.Helper()
	for from, opts := range map[string]Options{writeFile(t, image): {}, "-": {Stdin: bytes.NewReader(image), TempDir: t.TempDir()}} {
		d, err := Open(t.Context(), from, opts)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := drain(d)
		// VHD rounds up to a geometry.
		if err != nil || len(got) < len(disk) || !bytes.Equal(got[:len(disk)], disk) || len(bytes.Trim(got[len(disk):], "\x00")) > 0 {
			t.Errorf("%s: %d bytes, %v; want the disk of %d", name, len(got), err, len(disk))
		}
		if d.Format() != format {
			t.Errorf("%s: format %q; want %q", name, d.Format(), format)
		}
		d.Close()
	}
}

func drain(d *Disk) ([]byte, error) {
	var got []byte
	p := make([]byte, 1<<20)
	for {
		n, zero, err := d.ReadChunk(p)
		if errors.Is(err, io.EOF) {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		if zero {
			clear(p[:n])
		}
		got = append(got, p[:n]...)
	}
}

// wantCut wants every beginning of a source refused, but where all of the disk
// is in it.
func wantCut(t *testing.T, name string, image, disk []byte) {
	t.Helper()
	for _, n := range []int{
		len(image) - 1, len(image) - 3, len(image) - 512, len(image) - 1025, len(image) / 2, len(image) / 3, 70 << 10,
		4096,
	} {
		if n <= 0 || n >= len(image) {
			continue
		}
		d, err := Open(t.Context(), "-", Options{Stdin: bytes.NewReader(image[:n]), TempDir: t.TempDir()})
		var got []byte
		if err == nil {
			got, err = drain(d)
			d.Close()
		}
		if err == nil && (len(got) < len(disk) || !bytes.Equal(got[:len(disk)], disk)) {
			t.Errorf("%s: the first %d of %d bytes are taken for the whole", name, n, len(image))
		}
	}
}

// What an archive has holes of is a disk as well, and its name is told whatever
// stands behind it.
func TestArchiveOfHoles(t *testing.T) {
	t.Parallel()
	disk := sparse()
	for _, format := range []string{"gnu", "pax"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "disk.img"), disk, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{
			{"fallocate", "--dig-holes", filepath.Join(dir, "disk.img")},
			{"tar", "-C", dir, "--sparse", "--format=" + format, "-cf", filepath.Join(dir, "a.tar"), "disk.img"},
		} {
			if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%q: %v: %s", args, err, out)
			}
		}
		image, err := os.ReadFile(filepath.Join(dir, "a.tar"))
		if err != nil {
			t.Fatal(err)
		}
		if len(image) >= len(disk) {
			t.Errorf("%s: %d bytes for a disk of %d: there is no hole", format, len(image), len(disk))
		}
		wantDisk(t, "sparse tar, "+format, image, disk, "tar, raw")
	}
	d, err := Open(t.Context(), writeFile(t, zipped(t, nil, "disk.img", string(disk), "z.txt", "hello")), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := drain(d); err != nil || !strings.Contains(strings.Join(d.Notes(), ""), `"disk.img"`) {
		t.Errorf("notes %q, %v; want the name of the disk", d.Notes(), err)
	}
}

// The disks of virtual machines hold what qemu-img put there.
func TestVirtualDisks(t *testing.T) {
	t.Parallel()
	disk := sparse()
	for name, tt := range map[string]struct {
		args   []string
		format string
	}{
		"vmdk":                   {[]string{"-O", "vmdk"}, "vmdk"},
		"vmdk, stream-optimized": {[]string{"-O", "vmdk", "-o", "subformat=streamOptimized"}, "vmdk"},
		"vhd, dynamic":           {[]string{"-O", "vpc"}, "vhd"},
		"vhd, of that size":      {[]string{"-O", "vpc", "-o", "force_size=on"}, "vhd"},
		"vdi":                    {[]string{"-O", "vdi"}, "vdi"},
		"vdi, static":            {[]string{"-O", "vdi", "-o", "static=on"}, "vdi"},
		"vhdx":                   {[]string{"-O", "vhdx"}, "vhdx"},
		"vhdx, small blocks":     {[]string{"-O", "vhdx", "-o", "block_size=1M"}, "vhdx"},
		"vhdx, fixed":            {[]string{"-O", "vhdx", "-o", "subformat=fixed"}, "vhdx"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image := converted(t, disk, tt.args...)
			wantDisk(t, name, image, disk, tt.format)
			wantCut(t, name, image, disk)
			wantDisk(t, name+" in gzip", pack(t, image, "gzip", "-c"), disk, "gzip, "+tt.format)
		})
	}
}

// A VMDK in pieces is read by the file that names them, which have to lie
// beside it.
func TestVMDKExtents(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("qemu-img is not installed")
	}
	disk := sparse()
	for _, subformat := range []string{"monolithicFlat", "twoGbMaxExtentFlat", "twoGbMaxExtentSparse"} {
		dir := t.TempDir()
		name := filepath.Join(dir, "disk.vmdk")
		if out, err := exec.CommandContext(t.Context(), "qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat="+subformat,
			writeFile(t, disk), name).CombinedOutput(); err != nil {
			t.Fatalf("qemu-img: %v: %s", err, out)
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		pieces, err := filepath.Glob(filepath.Join(dir, "disk-*.vmdk"))
		if err != nil || len(pieces) != 1 {
			t.Fatalf("pieces %v, %v", pieces, err)
		}
		piece := filepath.Base(pieces[0])
		open := func(descriptor string) ([]byte, error) {
			if err := os.WriteFile(name, []byte(descriptor), 0o600); err != nil {
				t.Fatal(err)
			}
			d, err := Open(t.Context(), name, Options{})
			if err != nil {
				return nil, err
			}
			defer d.Close()
			return drain(d)
		}
		if got, err := open(string(text)); err != nil || !bytes.Equal(got, disk) {
			t.Errorf("%s: %d bytes, %v; want the disk of %d", subformat, len(got), err, len(disk))
		}
		// A hole between two of the same is still in their order.
		twice := strings.Replace(string(text), "\nRW ", "\nRW 2048 ZERO\nRW ", 1)
		if got, err := open(twice); err != nil || !bytes.Equal(got, append(make([]byte, 1<<20), disk...)) {
			t.Errorf("%s: with a hole in front: %d bytes, %v", subformat, len(got), err)
		}
		if err := os.Symlink("/etc/hostname", filepath.Join(dir, "link.vmdk")); err != nil {
			t.Fatal(err)
		}
		for old, young := range map[string]string{
			piece: "../" + piece, `"` + piece: `"/etc/hostname`, piece + `"`: piece + `x"`, `"` + piece + `"`: `"link.vmdk"`,
			"parentCID=ffffffff": "parentCID=12345678",
			"\nRW ":              "\nRW 9", "\nRW": "\nNOACCESS",
		} {
			if _, err := open(strings.Replace(string(text), old, young, 1)); err == nil {
				t.Errorf("%s: read with %q for %q", subformat, young, old)
			}
		}
		if _, _, err := readImage(t.Context(), "-", Options{Stdin: bytes.NewReader(text), TempDir: t.TempDir()}); err == nil ||
			!strings.Contains(err.Error(), "beside") {
			t.Errorf("%s: as a stream: %v", subformat, err)
		}
	}
}

// A fixed VHD is a raw disk with a footer, which is left out, also where it is
// seen last.
func TestFixedVHD(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1<<20 - 512, 1 << 20, 1<<20 + 512, 5<<20 + 3*512} {
		disk := testDisk(size)
		image := converted(t, disk, "-O", "vpc", "-o", "subformat=fixed,force_size=on")
		wrong := bytes.Clone(image)
		wrong[len(wrong)-512+vhdSizeAt] ^= 1
		for name, image := range map[string][]byte{"vhd": image, "gzip, raw": pack(t, image, "gzip", "-c"), "": wrong, "raw": image} {
			from, opts := writeFile(t, image), Options{}
			if name == "raw" || name == "" {
				from, opts = "-", Options{Stdin: bytes.NewReader(image)}
			}
			d, err := Open(t.Context(), from, opts)
			if err != nil {
				t.Fatal(err)
			}
			got, err := drain(d)
			switch {
			case name == "" && (err == nil || !strings.Contains(err.Error(), "qemu-img convert")):
				t.Errorf("%d bytes: a footer for another disk is taken: %v", size, err)
			case name != "" && (err != nil || !bytes.Equal(got, disk) || d.Format() != name):
				t.Errorf("%d bytes: %d as %s, %v; want the disk", size, len(got), d.Format(), err)
			case name != "" && name != "vhd" && !strings.Contains(strings.Join(d.Notes(), ""), "footer of a fixed VHD"):
				t.Errorf("%d bytes: notes %q; want that the footer is left out", size, d.Notes())
			}
			d.Close()
		}
	}
}

const vhdSizeAt = 48 + 5 // a byte of the size in the footer

func TestLZ4(t *testing.T) {
	t.Parallel()
	disk := sparse()
	for _, args := range []string{
		"-c", "-c -9", "-c -BD", "-c -B4 -BD", "-c -B7 -BX --content-size", "-c --no-frame-crc -BI",
		"-c -1 --content-size",
	} {
		image := pack(t, disk, "lz4", strings.Fields(args)...)
		wantDisk(t, "lz4 "+args, image, disk, "lz4, raw")
		wantCut(t, "lz4 "+args, image, disk)
	}
	half := len(disk) / 1024 * 512
	two := slices.Concat(pack(t, disk[:half], "lz4", "-c"), []byte("\x52\x2a\x4d\x18\x03\x00\x00\x00abc"),
		pack(t, disk[half:], "lz4", "-c", "-9"))
	wantDisk(t, "two frames", two, disk, "lz4, raw")
	image := pack(t, disk[:100<<10], "lz4", "-c")
	for at := 0; at < len(image); at += 7 {
		bad := slices.Clone(image)
		bad[at] ^= 0x10
		if got, _, err := readImage(t.Context(), "-", Options{Stdin: bytes.NewReader(bad)}); err == nil && !bytes.Equal(got, disk[:100<<10]) {
			t.Errorf("a bit at %d is another, and nobody sees it", at)
		}
	}
}

// archived makes a tar archive of these files, name and content in turn.
func archived(t *testing.T, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		h := &tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}
		if strings.HasSuffix(files[i], "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, files[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// zipped gives files to the program zip.
func zipped(t *testing.T, args []string, files ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath("zip"); err != nil {
		t.Skip("zip is not installed")
	}
	dir := t.TempDir()
	names := []string{}
	for i := 0; i < len(files); i += 2 {
		if err := os.WriteFile(filepath.Join(dir, files[i]), []byte(files[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
		names = append(names, files[i])
	}
	cmd := exec.CommandContext(t.Context(), "zip", append(append([]string{"-q"}, args...), append([]string{"out.zip"}, names...)...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("zip: %v: %s", err, out)
	}
	b, err := os.ReadFile(filepath.Join(dir, "out.zip"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestArchives(t *testing.T) {
	t.Parallel()
	disk := sparse()
	raw := string(disk)
	plain := archived(t, "disk.raw", raw)
	wantDisk(t, "tar", plain, disk, "tar, raw")
	wantDisk(t, "tar.gz", pack(t, plain, "gzip", "-c"), disk, "gzip, tar, raw")
	wantDisk(t, "tar in zstd", pack(t, plain, "zstd", "-q", "-c"), disk, "zstd, tar, raw")
	wantDisk(t, "tar with notes", archived(t, "x/", "", "x/README.txt", "hello", "x/disk.img", raw, "x/disk.img.sha256", "0"), disk,
		"tar, raw")
	ova := archived(t, "vm.ovf", "<Envelope/>", "vm-disk1.vmdk", string(converted(t, disk, "-O", "vmdk", "-o", "subformat=streamOptimized")),
		"vm.mf", "SHA1()")
	wantDisk(t, "OVA", ova, disk, "tar, vmdk")
	wantCut(t, "OVA", ova, disk)
	wantCut(t, "tar.gz", pack(t, plain, "gzip", "-c"), disk)

	wantDisk(t, "zip", zipped(t, nil, "disk.img", raw), disk, "zip, raw")
	wantDisk(t, "zip, stored", zipped(t, []string{"-0"}, "disk.img", raw), disk, "zip, raw")
	wantDisk(t, "zip, streamed", zipped(t, []string{"-fd"}, "disk.img", raw), disk, "zip, raw")
	wantDisk(t, "zip, 64 bit", zipped(t, []string{"-fz"}, "disk.img", raw), disk, "zip, raw")
	wantDisk(t, "zip with notes", zipped(t, nil, "a.txt", "hello", "disk.img", raw, "z.sha256", "0"), disk, "zip, raw")
	wantDisk(t, "zip of a vhd", zipped(t, nil, "disk.vhd", string(converted(t, disk, "-O", "vpc", "-o", "force_size=on"))), disk, "zip, vhd")
	wantCut(t, "zip", zipped(t, nil, "disk.img", raw), disk)
	wantCut(t, "zip, streamed", zipped(t, []string{"-fd"}, "disk.img", raw), disk)

	for name, packed := range map[string][]byte{
		"gzip": pack(t, disk, "gzip", "-c"), "zstd": pack(t, disk, "zstd", "-q", "-c"), "xz": pack(t, disk, "xz", "-c", "-0"),
		"lz4": pack(t, disk, "lz4", "-c"), "bzip2": pack(t, disk, "bzip2", "-c"),
	} {
		inside := archived(t, "vm.ovf", "<Envelope/>", "vm.img.packed", string(packed), "vm.mf", "SHA1()")
		wantDisk(t, "tar of "+name, inside, disk, "tar, "+name+", raw")
		wantCut(t, "tar of "+name, inside, disk)
		wantDisk(t, "zip of "+name, zipped(t, []string{"-0"}, "vm.img.packed", string(packed)), disk, "zip, "+name+", raw")
	}

	for name, tt := range map[string]struct {
		image []byte
		want  string
	}{
		"two disks in tar":  {archived(t, "a.img", raw, "b.img", raw), `"a.img" and "b.img"`},
		"two disks in zip":  {zipped(t, nil, "a.img", raw, "b.img", raw), `"a.img" and "b.img"`},
		"no disk in tar":    {archived(t, "a.txt", "hello"), "no disk image"},
		"no disk in zip":    {zipped(t, nil, "a.txt", "hello"), "no disk image"},
		"an archive in tar": {archived(t, "b.tar", string(plain)), "an archive again"},
		"an encrypted one":  {zipped(t, []string{"-P", "x"}, "a.img", raw), "encrypted"},
		"packed twice":      {pack(t, archived(t, "a.img.gz", string(pack(t, disk, "gzip", "-c"))), "gzip", "-c"), "only one layer"},
		"two packed ones":   {archived(t, "a.img.gz", string(pack(t, disk, "gzip", "-c")), "b.img", raw), `"a.img.gz" and "b.img"`},
		"a cut tar":         {plain[:len(plain)/2], "truncated"},
	} {
		_, _, err := readImage(t.Context(), "-", Options{Stdin: bytes.NewReader(tt.image), TempDir: t.TempDir()})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want an error with %q", name, err, tt.want)
		}
	}
}
