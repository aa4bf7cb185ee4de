package coldplug

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/agent/cmdline"
	"github.com/gild-dev/gild/internal/initramfs/kmod"
)

// release lays out a lib/modules/RELEASE as depmod would: virtio_net needs
// net_failover needs failover; xfs wishes for crc32c and needs libcrc32c.
func release(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "lib/modules/6.1")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"modules.dep": "kernel/virtio_net.ko: kernel/net_failover.ko kernel/failover.ko\n" +
			"kernel/net_failover.ko: kernel/failover.ko\nkernel/failover.ko:\n" +
			"kernel/xfs.ko: kernel/libcrc32c.ko\nkernel/libcrc32c.ko:\nkernel/crc32c_generic.ko:\n",
		"modules.alias":   "alias virtio:d00000001v* virtio_net\nalias fs-xfs xfs\nalias crypto-crc32c crc32c_generic\n",
		"modules.softdep": "softdep xfs pre: crypto-crc32c\n",
		"modules.builtin": "kernel/ext4.ko\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// loader records what it is told to insert; fail names modules that refuse.
func loader(t *testing.T, fail map[string]error) (*Loader, *[]string) {
	t.Helper()
	l, err := New(release(t))
	if err != nil {
		t.Fatal(err)
	}
	var inserted []string
	l.Sys = t.TempDir()
	l.Insert = func(path, _ string) error {
		name := strings.TrimSuffix(filepath.Base(path), ".ko")
		inserted = append(inserted, name)
		return fail[name]
	}
	return l, &inserted
}

func TestColdplugLoadsInOrderAndOnce(t *testing.T) {
	l, inserted := loader(t, nil)
	for _, dev := range []string{"virtio/devices/virtio0", "virtio/devices/virtio1", "acpi/devices/unknown"} {
		dir := filepath.Join(l.Sys, "bus", dev)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		alias := "virtio:d00000001v00001AF4\n"
		if strings.HasSuffix(dev, "unknown") {
			alias = "acpi:PNP0C0A:\n"
		}
		if err := os.WriteFile(filepath.Join(dir, "modalias"), []byte(alias), 0o444); err != nil {
			t.Fatal(err)
		}
	}
	devices, err := l.Coldplug(t.Context())
	if devices != 3 || err != nil {
		t.Errorf("Coldplug() = %d, %v; want 3, nil", devices, err)
	}
	if diff := cmp.Diff([]string{"failover", "net_failover", "virtio_net"}, *inserted); diff != "" {
		t.Errorf("inserted (-want +got):\n%s", diff)
	}
	if got := l.Loaded(); got != 3 {
		t.Errorf("Loaded() = %d; want 3", got)
	}
}

func TestLoadByName(t *testing.T) {
	for _, tt := range []struct {
		name string
		fail map[string]error
		ok   bool
		want []string
	}{
		{name: "xfs", ok: true, want: []string{"libcrc32c", "crc32c_generic", "xfs"}},
		{name: "fs-xfs", ok: true, want: []string{"libcrc32c", "crc32c_generic", "xfs"}},
		{name: "ext4", ok: true}, // built in
		{name: "btrfs", ok: false},
		{name: "xfs", fail: map[string]error{"xfs": unix.EEXIST}, ok: true, want: []string{"libcrc32c", "crc32c_generic", "xfs"}},
		{name: "xfs", fail: map[string]error{"crc32c_generic": unix.ENODEV}, ok: true, want: []string{"libcrc32c", "crc32c_generic", "xfs"}},
		{name: "xfs", fail: map[string]error{"xfs": unix.ENOEXEC}, ok: false, want: []string{"libcrc32c", "crc32c_generic", "xfs"}},
	} {
		l, inserted := loader(t, tt.fail)
		for range 2 { // the second time gives the same answer and inserts nothing
			if err := l.Load(tt.name); (err == nil) != tt.ok {
				t.Errorf("Load(%q) = %v; want ok %v", tt.name, err, tt.ok)
			}
		}
		if diff := cmp.Diff(tt.want, *inserted); diff != "" {
			t.Errorf("Load(%q), fail %v, inserted (-want +got):\n%s", tt.name, tt.fail, diff)
		}
	}
}

// What takes long to load stops nothing else from loading; who needs it waits.
func TestLoadEarly(t *testing.T) {
	l, _ := loader(t, nil)
	list := filepath.Join(l.root(), kmod.EarlyList)
	if err := os.MkdirAll(filepath.Dir(list), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(list, []byte("absent\nxfs\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	loading, load := make(chan string, 9), make(chan struct{})
	l.Insert = func(path, params string) error {
		if filepath.Base(path) == "xfs.ko" {
			loading <- params
			<-load
		}
		return nil
	}
	go l.LoadEarly()
	<-loading
	if err := l.Load("virtio_net"); err != nil || l.Loaded() != 5 {
		t.Errorf("Load(virtio_net) while xfs loads = %v, %d loaded; want nil, 5", err, l.Loaded())
	}
	waited := make(chan error)
	go func() { waited <- l.Load("xfs") }()
	select {
	case err := <-waited:
		t.Errorf("Load(xfs) = %v before it was loaded", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(load)
	if err := <-waited; err != nil || len(loading) != 0 {
		t.Errorf("Load(xfs) = %v, inserted %d times more; want nil, none", err, len(loading))
	}
}

// Parameters are the module's own, not those of what it needs.
func TestLoadWith(t *testing.T) {
	l, _ := loader(t, nil)
	got := map[string]string{}
	l.Insert = func(path, params string) error {
		got[filepath.Base(path)] = params
		return nil
	}
	if err := l.LoadWith("virtio-net", "napi_tx=0 csum=1"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"failover.ko": "", "net_failover.ko": "", "virtio_net.ko": "napi_tx=0 csum=1"}, got); diff != "" {
		t.Errorf("parameters (-want +got):\n%s", diff)
	}
}

func TestNoModulesIsAKernelWithAllBuiltIn(t *testing.T) {
	l, err := New(filepath.Join(t.TempDir(), "absent"))
	if err != nil {
		t.Fatal(err)
	}
	l.Alias("virtio:d00000001v1")
	if err := l.Load("xfs"); err != nil {
		t.Errorf("Load(xfs) = %v; want nil", err)
	}
}

func TestFollowerEndsWithItsContext(t *testing.T) {
	l, _ := loader(t, nil)
	f, err := l.Listen()
	if err != nil {
		t.Skipf("no uevent socket here: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := f.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Run() = %v; want deadline exceeded", err)
	}
}

func TestParseUevent(t *testing.T) {
	in := "add@/devices/pci0/virtio0\x00ACTION=add\x00DEVPATH=/devices/pci0/virtio0\x00MODALIAS=virtio:d1v2\x00SEQNUM=7\x00"
	want := Uevent{Action: "add", DevPath: "/devices/pci0/virtio0", Modalias: "virtio:d1v2"}
	if got, err := ParseUevent([]byte(in)); err != nil || got != want {
		t.Errorf("ParseUevent() = %+v, %v; want %+v", got, err, want)
	}
	for _, in := range []string{"", "\x00", "libudev\x00\xfe\xed", "add", "@/x", "add@x", strings.Repeat("a", maxUevent+1)} {
		if got, err := ParseUevent([]byte(in)); err == nil {
			t.Errorf("ParseUevent(%.20q) = %+v; want an error", in, got)
		}
	}
}

func FuzzParseUevent(f *testing.F) {
	f.Add([]byte("add@/devices/x\x00MODALIAS=pci:v1\x00"))
	f.Add([]byte("remove@/\x00\x00=\x00MODALIAS"))
	f.Fuzz(func(t *testing.T, p []byte) {
		u, err := ParseUevent(p)
		if err != nil {
			return
		}
		again, err := ParseUevent([]byte(u.Action + "@" + u.DevPath + "\x00MODALIAS=" + u.Modalias + "\x00"))
		if err != nil || again != u {
			t.Fatalf("ParseUevent of %+v written again = %+v, %v", u, again, err)
		}
	})
}

// What the image's modprobe.d and the command line say counts as it does for
// modprobe in the image's own initrd.
func TestTheImagesOwnWordsCount(t *testing.T) {
	dir := release(t)
	config := filepath.Join(dir, "../../..", kmod.ConfigFile)
	if err := os.MkdirAll(filepath.Dir(config), 0o755); err != nil {
		t.Fatal(err)
	}
	err := os.WriteFile(config, []byte("options failover a=1\noptions virtio_net csum=0\nblacklist crc32c_generic\n"+
		"install libcrc32c /usr/bin/setup; /sbin/modprobe -i libcrc32c\ninstall xfs /bin/false\nalias cards virtio_net\n"), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	inserted := func(line string, load func(*Loader)) map[string]string {
		l, err := New(dir)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		l.Insert = func(path, params string) error {
			got[strings.TrimSuffix(filepath.Base(path), ".ko")] = params
			return nil
		}
		l.Obey(cmdline.Parse(line))
		load(l)
		if undone := l.Undone(); len(undone) > 0 {
			got["undone"] = strings.Join(undone, " ")
		}
		return got
	}
	for name, tt := range map[string]struct {
		line string
		load func(*Loader)
		want map[string]string
	}{
		"options of all that is loaded": {
			"", func(l *Loader) { l.Alias("virtio:d00000001v00001AF4") },
			map[string]string{"failover": "a=1", "net_failover": "", "virtio_net": "csum=0"},
		},
		"a parameter of the command line": {
			"virtio-net.csum=1 failover.b", func(l *Loader) { l.Alias("virtio:d00000001v00001AF4") },
			map[string]string{
				"failover": "a=1 b", "net_failover": "", "virtio_net": "csum=0 csum=1",
			},
		},
		"parameters of the caller come last": {
			"", func(l *Loader) { _ = l.LoadWith("virtio_net", "csum=2") },
			map[string]string{"failover": "a=1", "net_failover": "", "virtio_net": "csum=0 csum=2"},
		},
		"a blacklisted one, by its alias": {"", func(l *Loader) { l.Alias("crypto-crc32c") }, map[string]string{}},
		"a blacklisted one, by its name":  {"", func(l *Loader) { _ = l.Load("crc32c_generic") }, map[string]string{"crc32c_generic": ""}},
		"blacklisted by the command line": {
			"modprobe.blacklist=virtio-net", func(l *Loader) { l.Alias("virtio:d00000001v00001AF4") },
			map[string]string{},
		},
		"kept out": {
			"", func(l *Loader) { _ = l.Load("xfs") },
			map[string]string{"crc32c_generic": "", "libcrc32c": "", "undone": "libcrc32c"},
		},
		"a command that nobody runs": {
			"", func(l *Loader) { _ = l.Load("libcrc32c") },
			map[string]string{"libcrc32c": "", "undone": "libcrc32c"},
		},
		"an alias": {
			"", func(l *Loader) { l.Alias("cards") },
			map[string]string{"failover": "a=1", "net_failover": "", "virtio_net": "csum=0"},
		},
	} {
		if diff := cmp.Diff(tt.want, inserted(tt.line, tt.load)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
