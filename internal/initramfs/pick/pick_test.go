package pick

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/gild-dev/gild/internal/initramfs/kmod"
	"github.com/gild-dev/gild/internal/initramfs/kmod/kmodtest"
)

const release = "6.1.0-gild"

// packed compresses data as a file of that name would be.
func packed(t testing.TB, name string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w interface {
		Write([]byte) (int, error)
		Close() error
	}
	var err error
	switch path.Ext(name) {
	case ".xz":
		w, err = xz.NewWriter(&b)
	case ".zst":
		w, err = zstd.NewWriter(&b)
	case ".gz":
		w = gzip.NewWriter(&b)
	default:
		return data
	}
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// signature stands for what sign-file appends behind a module.
const signature = "PKCS7~Module signature appended~\n"

// system is a small installed system below base ("" or "usr/").
func system(t testing.TB, base string) fstest.MapFS {
	t.Helper()
	root := fstest.MapFS{}
	dir := base + "lib/modules/" + release + "/"
	for name, info := range map[string][]string{
		"kernel/drivers/net/ethernet/x/card.ko.xz": {"firmware=x/card.bin", "firmware=x/new.bin", "firmware=x/gone.bin"},
		"kernel/drivers/net/mii.ko.zst":            nil,
		"kernel/drivers/net/wireless/radio.ko":     {"firmware=x/radio.bin"},
		"updates/dkms/vendor.ko.gz":                nil,
		"extra/gpu.ko":                             nil,
		"kernel/drivers/scsi/scsi_debug.ko":        nil,
		"kernel/fs/ext4/ext4.ko":                   nil,
		"kernel/crypto/crc32c-any.ko":              nil,
		"kernel/drivers/ata/lonely.ko":             nil,
	} {
		elf := append(kmodtest.Module{Info: info}.ELF(), signature...)
		root[dir+name] = &fstest.MapFile{Data: packed(t, name, elf)}
	}
	root[dir+"kernel/drivers/ata/torn.ko.xz"] = &fstest.MapFile{Data: []byte("\xfd7zXZ\x00torn")}
	for name, text := range map[string]string{
		"modules.dep": `kernel/drivers/net/ethernet/x/card.ko.xz: kernel/drivers/net/mii.ko.zst
kernel/drivers/net/mii.ko.zst:
kernel/drivers/net/wireless/radio.ko:
updates/dkms/vendor.ko.gz:
extra/gpu.ko:
kernel/drivers/scsi/scsi_debug.ko:
kernel/fs/ext4/ext4.ko:
kernel/crypto/crc32c-any.ko:
kernel/drivers/ata/lonely.ko: kernel/drivers/ata/nowhere.ko
kernel/drivers/ata/torn.ko.xz:
`,
		"modules.alias":   "alias pci:v1* card\nalias pci:v2* radio\nalias crypto-crc32c crc32c_any\n",
		"modules.softdep": "softdep ext4 pre: crypto-crc32c\nsoftdep radio pre: card\n",
		"modules.builtin": "kernel/drivers/block/virtio_blk.ko\n",
		"modules.order":   "kernel/drivers/net/ethernet/x/card.ko\nkernel/drivers/net/ethernet/x/vendor.ko\n",
	} {
		root[dir+name] = &fstest.MapFile{Data: []byte(text)}
	}
	root[base+"lib/firmware/x/card.bin.xz"] = &fstest.MapFile{Data: packed(t, ".xz", []byte("card"))}
	root[base+"lib/firmware/updates/x/new.bin"] = &fstest.MapFile{Data: []byte("newer")}
	root[base+"lib/firmware/x/new.bin"] = &fstest.MapFile{Data: []byte("old")}
	root[base+"lib/firmware/x/radio.bin"] = &fstest.MapFile{Data: []byte("radio")}
	return root
}

func TestSelect(t *testing.T) {
	for _, base := range []string{"", "usr/"} {
		sel, err := Select(system(t, base), release, Generic(), nil)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, f := range sel.Modules {
			name := strings.TrimPrefix(f.Name, "lib/modules/"+release+"/")
			got[name] = string(f.Data)
			if strings.HasSuffix(name, ".ko") {
				if !strings.HasPrefix(got[name], "\x7fELF") || !strings.HasSuffix(got[name], signature) {
					t.Errorf("%s is not the decompressed module with its signature", name)
				}
				got[name] = "ELF"
			}
		}
		want := map[string]string{
			"kernel/crypto/crc32c-any.ko":           "ELF",
			"kernel/drivers/net/ethernet/x/card.ko": "ELF",
			"kernel/drivers/net/mii.ko":             "ELF",
			"kernel/fs/ext4/ext4.ko":                "ELF",
			"updates/dkms/vendor.ko":                "ELF",
			"modules.alias":                         "alias pci:v1* card\nalias crypto-crc32c crc32c_any\n",
			"modules.builtin":                       "kernel/drivers/block/virtio_blk.ko\n",
			"modules.builtin.modinfo":               "",
			"modules.dep": "kernel/drivers/net/ethernet/x/card.ko: " +
				"kernel/drivers/net/mii.ko\nkernel/drivers/net/mii.ko:\nupdates/dkms/vendor.ko:\n" +
				"kernel/fs/ext4/ext4.ko:\nkernel/crypto/crc32c-any.ko:\n",
			"modules.order":   "kernel/drivers/net/ethernet/x/card.ko\nkernel/drivers/net/ethernet/x/vendor.ko\n",
			"modules.softdep": "softdep ext4 pre: crypto-crc32c\n",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Select() below %q (-want +got):\n%s", base, diff)
		}
		wantFirmware := []File{{"lib/firmware/x/card.bin", []byte("card")}, {"lib/firmware/x/new.bin", []byte("newer")}}
		if diff := cmp.Diff(wantFirmware, sel.Firmware); diff != "" {
			t.Errorf("Select() firmware (-want +got):\n%s", diff)
		}
		r := sel.Report
		if r.Modules != 5 || r.Builtin != 1 || r.Firmware != 2 || !slices.Equal(r.FirmwareLacks, []string{"x/gone.bin"}) {
			t.Errorf("Select() report = %+v; want 5 modules, 1 built in, 2 firmware files, x/gone.bin lacking", r)
		}
		if broken := strings.Join(r.Broken, "\n"); len(r.Broken) != 2 || !strings.Contains(broken, `"nowhere"`) ||
			!strings.Contains(broken, "torn.ko.xz: decompress") {
			t.Errorf("Select() broken = %q; want lonely (needs nowhere) and torn", r.Broken)
		}
		if !slices.Contains(r.Absent, "virtio_net") || slices.Contains(r.Absent, "virtio_blk") {
			t.Errorf("Select() absent = %q; want virtio_net in it, built-in virtio_blk not", r.Absent)
		}
	}
}

func TestSelectRefuses(t *testing.T) {
	for _, bad := range []string{"", ".", "..", "../6.1", "a/b", "6.2.0"} {
		if _, err := Select(system(t, ""), bad, Generic(), nil); err == nil {
			t.Errorf("Select(%q) = nil; want an error", bad)
		}
	}
	if _, err := Select(fstest.MapFS{}, release, Generic(), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Select() of an empty system = %v; want %v", err, fs.ErrNotExist)
	}
	empty := fstest.MapFS{"lib/modules/" + release + "/modules.dep": {}}
	if _, err := Select(empty, release, Generic(), nil); err == nil {
		t.Error("Select() without one driver = nil; want an error")
	}
}

// TestGenericOnRealKernel: what is chosen out of a distribution's kernel is
// closed (every need is there) and drives what people have.
func TestGenericOnRealKernel(t *testing.T) {
	root, release := kmodtest.Kernel(t)
	sel, err := Select(os.DirFS(root), release, Generic(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(sel.Report.Broken) > 0 {
		t.Errorf("Select() broken = %q", sel.Report.Broken)
	}
	tree := fstest.MapFS{}
	for _, f := range sel.Modules {
		tree[f.Name] = &fstest.MapFile{Data: f.Data}
	}
	dir, err := fs.Sub(tree, "lib/modules/"+release)
	if err != nil {
		t.Fatal(err)
	}
	x, err := kmod.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range x.Deps() {
		order, err := x.LoadOrder(d.Module.Name)
		if err != nil {
			t.Errorf("LoadOrder(%s) in the selection = %v", d.Module.Name, err)
		}
		for _, m := range order {
			if _, err := fs.Stat(dir, m.Path); err != nil {
				t.Errorf("%s is in modules.dep only: %v", m.Path, err)
			}
		}
	}
	for alias, want := range map[string]string{
		"pci:v00001AF4d00001000sv00001AF4sd00000001bc02sc00i00": "virtio_pci",
		"virtio:d00000001v00001AF4":                             "virtio_net",
		"pci:v00008086d000010D3sv00008086sd0000A01Fbc02sc00i00": "e1000e",
		"pci:v000015B3d00001017sv000015B3sd00000006bc02sc00i00": "mlx5_core",
		"pci:v00001000d0000005Dsv00001028sd00001F41bc01sc04i00": "megaraid_sas",
		"pci:v0000144Dd0000A80Asv0000144Dsd0000A801bc01sc08i02": "nvme",
		"fs-xfs":        "xfs",
		"crypto-crc32c": "crc32c_generic",
	} {
		if got := x.Resolve(alias); !slices.Contains(got, want) && !x.Builtin(want) {
			t.Errorf("Resolve(%s) = %v; want %s in it", alias, got, want)
		}
	}
	for _, f := range sel.Modules {
		for _, unwanted := range []string{"/wireless/", "/sound/", "/gpu/", "/media/"} {
			if strings.Contains(f.Name, unwanted) {
				t.Errorf("Select() takes %s", f.Name)
			}
		}
	}
}

func TestDecompressTruncated(t *testing.T) {
	data := bytes.Repeat([]byte("firmware "), 50)
	for _, ext := range []string{".xz", ".zst", ".gz"} {
		whole := packed(t, ext, data)
		if got, err := decompress(bytes.NewReader(whole)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("decompress(%s) = %d bytes, %v; want %d", ext, len(got), err, len(data))
		}
		for n := 6; n < len(whole); n++ { // from where the magic is whole
			if _, err := decompress(bytes.NewReader(whole[:n])); err == nil {
				t.Errorf("decompress(%s cut to %d of %d bytes) = nil; want an error", ext, n, len(whole))
			}
		}
	}
}

func TestRulesSayWhy(t *testing.T) {
	rules := Generic()
	seen := map[string]bool{}
	for _, r := range append(rules.Take, rules.Skip...) {
		if r.Why == "" || (r.Dir == "") == (r.Name == "") || seen[r.Dir+r.Name] {
			t.Errorf("rule %+v is without reason, has not exactly one of Dir and Name, or is there twice", r)
		}
		seen[r.Dir+r.Name] = true
	}
}

func FuzzDecompress(f *testing.F) {
	for _, ext := range []string{".xz", ".zst", ".gz", ""} {
		f.Add(packed(f, ext, []byte("driver")))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, err := decompress(bytes.NewReader(data)); err == nil && len(got) > maxFile {
			t.Errorf("decompress gives %d bytes", len(got))
		}
	})
}

// TestForeignModules takes what came from outside of the kernel by what its
// aliases say.
func TestForeignModules(t *testing.T) {
	root := fstest.MapFS{}
	dir := "lib/modules/" + release + "/"
	dep, alias := "", ""
	for name, m := range map[string]struct{ alias, needs string }{
		"kernel/drivers/net/ethernet/x/card.ko": {"pci:v00000001d*", ""},
		"kernel/net/wireless/cfg80211.ko":       {"", ""},
		"updates/dkms/r8125.ko":                 {"pci:v000010ECd00008125sv*sd*bc*sc*i*", ""},
		"weak-updates/vraid/vraid.ko":           {"pci:v00001000d000010E1sv*sd*bc01sc04i*", "extra/vlib.ko"},
		"extra/vlib.ko":                         {"", ""},
		"extra/nvidia.ko":                       {"pci:v000010DEd*sv*sd*bc03sc00i00*", ""},
		"updates/rtl8821.ko":                    {"usb:v0BDApC811d*dc*dsc*dp*icFFiscFFipFFin*", "kernel/net/wireless/cfg80211.ko"},
		"updates/usbnic.ko":                     {"usb:v0BDAp8156d*dc*dsc*dp*ic*isc*ip*in*", ""},
		"extra/zfs.ko":                          {"devname:zfs", ""},
		"updates/card.ko.dkms/none.ko":          {"", ""},
	} {
		root[dir+name] = &fstest.MapFile{Data: kmodtest.Module{Info: []string{"name=" + strings.TrimSuffix(path.Base(name), ".ko")}}.ELF()}
		dep += name + ": " + m.needs + "\n"
		if m.alias != "" {
			alias += "alias " + m.alias + " " + strings.TrimSuffix(path.Base(name), ".ko") + "\n"
		}
	}
	root[dir+"modules.dep"] = &fstest.MapFile{Data: []byte(dep)}
	root[dir+"modules.alias"] = &fstest.MapFile{Data: []byte(alias)}
	root[dir+"modules.order"] = &fstest.MapFile{Data: []byte("kernel/drivers/net/ethernet/x/card.ko\nkernel/net/wireless/cfg80211.ko\n")}
	config := &kmod.Config{}
	config.Parse([]byte("options r8125 aspm=0\ninstall vlib /usr/bin/setup\ninstall absent /usr/bin/setup\n"))
	sel, err := Select(root, release, Generic(), config)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range sel.Modules {
		if path.Ext(f.Name) == ".ko" {
			got = append(got, path.Base(f.Name))
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"card.ko", "r8125.ko", "usbnic.ko", "vlib.ko", "vraid.ko"}, got); diff != "" {
		t.Errorf("modules (-want +got):\n%s", diff)
	}
	if sel.Modules[0].Name != kmod.ConfigFile || !strings.Contains(string(sel.Modules[0].Data), "options r8125 aspm=0\n") {
		t.Errorf("the first file is %s; want modprobe.d", sel.Modules[0].Name)
	}
	if !slices.Equal(sel.Report.Undone, []string{"vlib"}) {
		t.Errorf("undone are %v; want vlib alone", sel.Report.Undone)
	}
	slices.Sort(sel.Report.Foreign)
	if !slices.Equal(sel.Report.Foreign, []string{"r8125", "usbnic", "vraid"}) {
		t.Errorf("foreign are %v", sel.Report.Foreign)
	}
}
