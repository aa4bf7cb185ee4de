package initramfs

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/u-root/u-root/pkg/cpio"

	"github.com/gild-dev/gild/internal/initramfs/agentbin"
	"github.com/gild-dev/gild/internal/initramfs/kmod/kmodtest"
	"github.com/gild-dev/gild/internal/initramfs/pick"
	"github.com/gild-dev/gild/internal/tier"
)

// noise is data that does not compress, the same for the same seed.
func noise(seed uint64, n int) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed)})
	b := make([]byte, n)
	_, _ = r.Read(b) // cannot fail
	return b
}

func selection() *pick.Selection {
	return &pick.Selection{
		Release: "6.1",
		Modules: []pick.File{
			{Name: "lib/modules/6.1/kernel/net/card.ko", Data: noise(1, 5000)},
			{Name: "lib/modules/6.1/modules.dep", Data: []byte("kernel/net/card.ko:\n")},
		},
		Firmware: []pick.File{
			{Name: "lib/firmware/big.bin", Data: noise(2, 9000)},
			{Name: "lib/firmware/x/small.bin", Data: noise(3, 300)},
		},
		Report: pick.Report{Modules: 1, Firmware: 2, FirmwareBytes: 9300},
	}
}

func modules(t testing.TB, sel *pick.Selection, budget int64) ([]byte, pick.Report) {
	t.Helper()
	var b bytes.Buffer
	report, err := WriteModules(&b, sel, budget)
	if err != nil {
		t.Fatalf("WriteModules() = %v", err)
	}
	return b.Bytes(), report
}

func build(t testing.TB, parts Parts) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Build(&b, parts); err != nil {
		t.Fatalf("Build() = %v", err)
	}
	return b.Bytes()
}

func whole(t testing.TB) Parts {
	archive, _ := modules(t, selection(), MaxSize)
	return Parts{
		Agent: []byte("\x7fELF agent"), Modules: bytes.NewReader(archive),
		Busybox: []byte("\x7fELF busybox"), Applets: []string{"sh", "busybox", "ls"},
		Early: []string{"xfs"},
		Extra: []File{{Name: "etc/gild/ca.pem", Data: []byte("PEM"), Perm: 0o600}},
	}
}

// unpack decompresses a zstd initramfs and lists its records.
func unpack(t testing.TB, packed []byte) (raw []byte, records []cpio.Record) {
	t.Helper()
	d, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderMaxWindow(window))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if raw, err = io.ReadAll(d); err != nil {
		t.Fatal(err)
	}
	if records, err = cpio.ReadAllRecords(cpio.Newc.Reader(bytes.NewReader(raw))); err != nil {
		t.Fatal(err)
	}
	return raw, records
}

func TestBuildHolds(t *testing.T) {
	raw, records := unpack(t, build(t, whole(t)))
	got := map[string]uint64{}
	for _, r := range records {
		got[r.Name] = r.Mode
		if r.MTime != 0 || r.UID != 0 || r.GID != 0 || r.Ino != 0 || r.NLink != 1 {
			t.Errorf("record %+v has a time, an owner, a number or links", r.Info)
		}
		switch r.Name {
		case "dev/console":
			if r.Rmajor != 5 || r.Rminor != 1 {
				t.Errorf("dev/console is device %d:%d; want 5:1", r.Rmajor, r.Rminor)
			}
		case "dev/null":
			if r.Rmajor != 1 || r.Rminor != 3 {
				t.Errorf("dev/null is device %d:%d; want 1:3", r.Rmajor, r.Rminor)
			}
		}
	}
	const dir, plain, link, char = cpio.S_IFDIR | 0o755, cpio.S_IFREG, cpio.S_IFLNK | 0o777, cpio.S_IFCHR
	want := map[string]uint64{
		"bin": dir, "dev": dir, "etc": dir, "etc/gild": dir, "etc/modules-load.d": dir, "etc/modules-load.d/gild.conf": plain | 0o644, "lib": dir,
		"lib/firmware": dir, "lib/firmware/x": dir,
		"lib/modules": dir, "lib/modules/6.1": dir, "lib/modules/6.1/kernel": dir, "lib/modules/6.1/kernel/net": dir,
		"newroot": dir, "proc": dir, "run": dir, "sys": dir, "tmp": dir,
		"init": plain | 0o755, "bin/busybox": plain | 0o755, "bin/sh": link, "bin/ls": link,
		"dev/console": char | 0o600, "dev/null": char | 0o666, "etc/gild/ca.pem": plain | 0o600,
		"lib/firmware/big.bin": plain | 0o644, "lib/firmware/x/small.bin": plain | 0o644,
		"lib/modules/6.1/kernel/net/card.ko": plain | 0o644, "lib/modules/6.1/modules.dep": plain | 0o644,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Build() records (-want +got):\n%s", diff)
	}
	if n := bytes.Count(raw, []byte(cpio.Trailer)); n != 1 {
		t.Errorf("Build() writes %d trailers; want 1", n)
	}
}

// TestBuildReproducible builds twice and compares, and shows that one byte of
// one part is seen.
func TestBuildReproducible(t *testing.T) {
	first, second := build(t, whole(t)), build(t, whole(t))
	if !bytes.Equal(first, second) {
		t.Error("Build() of the same parts = other bytes")
	}
	other := whole(t)
	other.Agent = []byte("\x7fELF agenT")
	if bytes.Equal(first, build(t, other)) {
		t.Error("Build() of another agent = the same bytes; the comparison proves nothing")
	}
}

func TestBuildRefuses(t *testing.T) {
	archive := func(records ...cpio.Record) io.Reader {
		var b bytes.Buffer
		err := compress(&b, Zstd, func(w io.Writer) error {
			out := cpio.Newc.Writer(w)
			if err := cpio.WriteRecords(out, records); err != nil {
				return err
			}
			return cpio.WriteTrailer(out)
		})
		if err != nil {
			t.Fatal(err)
		}
		return &b
	}
	agent := []byte("agent")
	cut, _ := modules(t, selection(), MaxSize)
	for name, parts := range map[string]Parts{
		"no agent":               {},
		"extra that is /init":    {Agent: agent, Extra: []File{{Name: "init"}}},
		"extra above the root":   {Agent: agent, Extra: []File{{Name: "../etc/passwd"}}},
		"absolute extra":         {Agent: agent, Extra: []File{{Name: "/etc/passwd"}}},
		"extra below a file":     {Agent: agent, Extra: []File{{Name: "init/x"}}},
		"extra named trailer":    {Agent: agent, Extra: []File{{Name: cpio.Trailer}}},
		"extra with device bits": {Agent: agent, Extra: []File{{Name: "x", Perm: cpio.S_IFCHR}}},
		"applet with a path":     {Agent: agent, Busybox: agent, Applets: []string{"../x"}},
		"applet twice":           {Agent: agent, Busybox: agent, Applets: []string{"ls", "ls"}},
		"unknown compression":    {Agent: agent, Compression: "lzma"},
		"modules with /init":     {Agent: agent, Modules: archive(file("init", agent, 0o755))},
		"modules with a device":  {Agent: agent, Modules: archive(cpio.CharDev("lib/mem", 0o666, 1, 1))},
		"modules with a link":    {Agent: agent, Modules: archive(cpio.Symlink("lib/modules", "/etc"))},
		"modules above the root": {Agent: agent, Modules: archive(file("lib/../../x", agent, 0o644))},
		"modules that are none":  {Agent: agent, Modules: strings.NewReader("070701")},
		"modules cut short":      {Agent: agent, Modules: bytes.NewReader(cut[:len(cut)-9])},
		"modules empty":          {Agent: agent, Modules: bytes.NewReader(nil)},
	} {
		if err := Build(io.Discard, parts); err == nil {
			t.Errorf("Build(%s) = nil; want an error", name)
		}
	}
}

func TestWriteModulesBudget(t *testing.T) {
	_, report := modules(t, selection(), 6500)
	want := pick.Report{Modules: 1, Firmware: 1, FirmwareBytes: 300, FirmwareLeft: []string{"lib/firmware/big.bin"}}
	if diff := cmp.Diff(want, report); diff != "" {
		t.Errorf("WriteModules(6500 bytes) report (-want +got):\n%s", diff)
	}
	if archive, _ := modules(t, selection(), 6500); len(archive) > 6500 {
		t.Errorf("WriteModules(6500 bytes) = %d bytes", len(archive))
	}
	if _, err := WriteModules(io.Discard, selection(), 3000); err == nil {
		t.Error("WriteModules(3000 bytes) = nil; want an error: the modules alone are larger")
	}
}

func TestCompressionFor(t *testing.T) {
	for _, tt := range []struct {
		config, release string
		want            Compression
	}{
		{"CONFIG_RD_GZIP=y\nCONFIG_RD_ZSTD=y\n", "4.18.0", Zstd},
		{"CONFIG_RD_GZIP=y\n# CONFIG_RD_ZSTD is not set\n", "6.1.0", Gzip},
		{"CONFIG_RD_GZIP=y\nCONFIG_RD_XZ=y\n", "6.1.0", Gzip},
		{"CONFIG_RD_ZSTD=m\nXCONFIG_RD_ZSTD=y\n", "6.1.0", Gzip},
		{"CONFIG_RD_ZSTD=y", "", Zstd},
		{"# CONFIG_RD_GZIP is not set\nCONFIG_RD_XZ=y\n", "6.1.0", None},
		{"# CONFIG_RD_GZIP is not set\nCONFIG_RD_ZSTD=y\n", "6.1.0", Zstd},
		{"", "5.8.18-300.fc33.x86_64", Gzip},
		{"", "5.9.0", Zstd},
		{"", "6.1.0-18-amd64", Zstd},
		{"", "5.10", Zstd},
		{"", "4.18.0-553.el8_10.x86_64", Gzip},
		{"", "10.0", Zstd},
		{"", "", Gzip},
		{"", "next-20240101", Gzip},
	} {
		config := []byte(tt.config)
		if tt.config == "" {
			config = nil
		}
		if got, err := CompressionFor(config, tt.release); got != tt.want || err != nil {
			t.Errorf("CompressionFor(%q, %q) = %s, %v; want %s", tt.config, tt.release, got, err, tt.want)
		}
	}
	if _, err := CompressionFor([]byte("# CONFIG_BLK_DEV_INITRD is not set\n"), "6.1.0"); err == nil {
		t.Error("a kernel that takes no initramfs is given one")
	}
}

// TestForeignTools lets the distribution's tools read what we write.
func TestForeignTools(t *testing.T) {
	for _, how := range []Compression{Zstd, Gzip} {
		parts := whole(t)
		parts.Compression = how
		image := filepath.Join(t.TempDir(), "initramfs")
		if err := os.WriteFile(image, build(t, parts), 0o644); err != nil {
			t.Fatal(err)
		}
		run := func(stdin []byte, name string, args ...string) string {
			if _, err := exec.LookPath(name); err != nil {
				t.Logf("%s is not installed", name)
				return ""
			}
			cmd := exec.CommandContext(t.Context(), name, args...)
			cmd.Stdin = bytes.NewReader(stdin)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%s of %s: %v: %s", name, how, err, out)
			}
			return string(out)
		}
		listings := map[string]string{"lsinitramfs": run(nil, "lsinitramfs", image)}
		if how == Zstd {
			run(nil, "zstd", "-t", image)
			if frames := run(nil, "zstd", "-lv", image); frames != "" &&
				(!strings.Contains(frames, "XXH64") || !strings.Contains(frames, "Frames: 1")) {
				t.Errorf("zstd -lv = %s; want one frame with a checksum", frames)
			}
			raw, _ := unpack(t, build(t, whole(t)))
			listings["cpio"] = run(raw, "cpio", "-t", "--quiet")
		} else {
			run(nil, "gzip", "-t", image)
		}
		for tool, listing := range listings {
			if listing != "" && (!strings.Contains(listing, "lib/modules/6.1/kernel/net/card.ko\n") || !strings.Contains(listing, "bin/sh\n")) {
				t.Errorf("%s lists of %s:\n%s", tool, how, listing)
			}
		}
	}
}

// TestGenericSize holds the promise on size with a distribution's kernel and
// the agents that make built.
func TestGenericSize(t *testing.T) {
	root, release := kmodtest.Kernel(t)
	tier.Slow(t, "compresses 80 MB at the highest level")
	sel, err := pick.Select(os.DirFS(root), release, pick.Generic(), nil)
	if err != nil {
		t.Fatal(err)
	}
	archive, report := modules(t, sel, ModulesBudget)
	t.Logf("%d modules, %d bytes; archive %d bytes", report.Modules, report.ModuleBytes, len(archive))
	if len(archive) > ModulesBudget {
		t.Errorf("generic module archive = %d bytes; want at most %d", len(archive), ModulesBudget)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		agent, err := agentbin.Agent(arch)
		if missing, ok := errors.AsType[*agentbin.MissingError](err); ok {
			t.Skipf("%v: %s", err, missing.Hint())
		}
		if err != nil {
			t.Fatal(err)
		}
		size := len(build(t, Parts{Agent: agent, Modules: bytes.NewReader(archive), Early: []string{"ext4"}}))
		t.Logf("with the agent for %s: %d bytes", arch, size)
		if size > MaxSize {
			t.Errorf("initramfs with the agent for %s = %d bytes; want at most %d", arch, size, MaxSize)
		}
	}
}

// FuzzModules: no module archive breaks Build, and none changes what is /init.
func FuzzModules(f *testing.F) {
	archive, _ := modules(f, &pick.Selection{Modules: []pick.File{{Name: "lib/modules/6.1/a.ko", Data: []byte("a")}}}, MaxSize)
	raw, _ := unpack(f, archive)
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		e := entries{}
		if err := e.add(file("init", []byte("agent"), 0o755)); err != nil {
			t.Fatal(err)
		}
		if err := e.addRecords(raw); err != nil {
			return
		}
		if init := e["init"]; init.FileSize != 5 || init.Mode != cpio.S_IFREG|0o755 {
			t.Errorf("a module archive made /init %+v", init.Info)
		}
		delete(e, "init")
		var plain, second bytes.Buffer
		if err := e.write(&plain); err != nil {
			t.Fatalf("write of an accepted archive = %v", err)
		}
		again := entries{}
		if err := again.addRecords(plain.Bytes()); err != nil {
			t.Fatalf("reading back what was written = %v", err)
		}
		if err := again.write(&second); err != nil || !bytes.Equal(plain.Bytes(), second.Bytes()) {
			t.Errorf("write, read, write = other bytes (%v)", err)
		}
	})
}
