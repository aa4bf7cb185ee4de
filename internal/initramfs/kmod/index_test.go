package kmod_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/initramfs/kmod"
	"github.com/gild-dev/gild/internal/initramfs/kmod/kmodtest"
)

func file(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }

// small has what matters in a few lines: a flattened chain, soft dependencies
// by alias, a cycle of wishes, built-in modules and needs that are not there.
var small = fstest.MapFS{
	"modules.dep": file(`kernel/a.ko: kernel/b-b.ko.xz kernel/c.ko
kernel/b-b.ko.xz: kernel/c.ko
kernel/c.ko:
kernel/fs/ext9.ko: kernel/c.ko
kernel/crc_fast.ko:
kernel/crc_slow.ko:
kernel/wish1.ko:
kernel/wish2.ko:
kernel/broken.ko: kernel/gone.ko
kernel/hopeful.ko:
kernel/bitter.ko: kernel/hopeful.ko kernel/broken.ko
kernel/loop1.ko: kernel/loop2.ko
kernel/loop2.ko: kernel/loop1.ko
`),
	"modules.alias": file(`# comment
alias crypto-crc crc_fast
alias crypto-crc crc-slow
alias pci:v00008086d*sv* a
alias pci:v00008086d00001234sv* b_b
alias pci:v*d* c
alias usb:v13FDp3940d0[0-2]* wish1
not an alias
alias short
`),
	"modules.softdep": file(`softdep ext9 pre: crypto-crc nosuch post: wish1
softdep ext9 pre: inside
softdep wish1 pre: wish2
softdep wish2 pre: wish1
softdep hopeful pre: broken
softdep a b
`),
	"modules.builtin":         file("kernel/inside.ko\n"),
	"modules.builtin.modinfo": file("inside.alias=pci:v0000AAAAd*\x00inside.license=GPL\x00odd\x00"),
}

func load(t testing.TB, fsys fs.FS) *kmod.Index {
	t.Helper()
	x, err := kmod.Load(fsys)
	if err != nil {
		t.Fatalf("Load() = %v", err)
	}
	return x
}

func TestResolve(t *testing.T) {
	x := load(t, small)
	for _, test := range []struct {
		alias string
		want  []string
	}{
		{"pci:v00008086d00001234sv00", []string{"b_b", "a", "c"}},
		{"pci:v00008086d00009999sv00", []string{"a", "c"}},
		{"pci:v0000AAAAd1", []string{"c", "inside"}},
		{"crypto_crc", []string{"crc_fast", "crc_slow"}},
		{"usb:v13FDp3940d02xx", []string{"wish1"}},
		{"usb:v13FDp3940d03xx", nil},
		{"b-b", []string{"b_b"}},
		{"inside", []string{"inside"}},
		{"", nil},
	} {
		if diff := cmp.Diff(test.want, x.Resolve(test.alias)); diff != "" {
			t.Errorf("Resolve(%q) (-want +got):\n%s", test.alias, diff)
		}
	}
}

func TestLoadOrder(t *testing.T) {
	x := load(t, small)
	for _, test := range []struct {
		names string
		want  string
		err   string
	}{
		{names: "a", want: "c b_b a"},
		{names: "b-b a", want: "c b_b a"},
		{names: "ext9", want: "c crc_fast crc_slow ext9 wish2 wish1"},
		{names: "wish1", want: "wish2 wish1"},
		{names: "inside c", want: "c"},
		{names: "loop1", want: "loop2 loop1"},
		{names: "hopeful", want: "hopeful"},
		{names: "broken", err: `module "gone" is not among this kernel's modules, needed by "broken"`},
		{names: "bitter", err: `"gone" is not among this kernel's modules, needed by "broken", needed by "bitter"`},
		{names: "hopeful broken", err: `needed by "broken"`},
		{names: "nosuch a", err: `module "nosuch" is not`},
	} {
		got, err := x.LoadOrder(strings.Fields(test.names)...)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) || got != nil {
				t.Errorf("LoadOrder(%s) = %v, %v; want error with %q", test.names, got, err, test.err)
			}
			continue
		}
		var names []string
		for _, m := range got {
			names = append(names, m.Name)
		}
		if err != nil || strings.Join(names, " ") != test.want {
			t.Errorf("LoadOrder(%s) = %v, %v; want %s", test.names, names, err, test.want)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, dep := range map[string]string{
		"path out of the folder": "../../etc/x.ko:\n",
		"absolute path":          "/lib/modules/1/x.ko:\n",
		"no colon":               "kernel/x.ko\n",
		"need out of the folder": "kernel/x.ko: ../y.ko\n",
		"no module":              "kernel/x.txt:\n",
	} {
		if _, err := kmod.Load(fstest.MapFS{"modules.dep": file(dep)}); err == nil {
			t.Errorf("Load() with %s = nil; want an error", name)
		}
	}
	if _, err := kmod.Load(fstest.MapFS{}); !os.IsNotExist(err) && !strings.Contains(err.Error(), "not exist") {
		t.Errorf("Load() of nothing = %v; want one that says modules.dep does not exist", err)
	}
}

func TestMatch(t *testing.T) {
	for _, test := range []struct {
		pattern, alias string
		want           bool
	}{
		{"", "", true},
		{"*", "", true},
		{"a*b*c", "aXXbYYbc", true},
		{"a*b*c", "aXXbYYb", false},
		{"a?c", "abc", true},
		{"a?c", "ac", false},
		{"[a-c]x", "bx", true},
		{"[!a-c]x", "bx", false},
		{"[!a-c]x", "dx", true},
		{"[]]", "]", true},
		{"[!]]", "x", true},
		{"[a-", "[a-", true},
		{"[", "[", true},
		{"[!", "[!", true},
		{"[a-]", "-", true},
		{"net-pf-*", "net_pf-16", true},
		{`a\*`, "a*", true},
		{`a\*`, "ab", false},
		{`a\`, `a\`, true},
	} {
		if got := kmod.Match(test.pattern, test.alias); got != test.want {
			t.Errorf("Match(%q, %q) = %v; want %v", test.pattern, test.alias, got, test.want)
		}
	}
}

// modprobe runs Debian's tool on a tree and returns its words of one kind
// ("insmod" or "builtin") as module names, in order.
func modprobe(t *testing.T, root, release string, args ...string) (names []string, ok bool) {
	t.Helper()
	tool, err := exec.LookPath("modprobe")
	if err != nil {
		if tool, err = exec.LookPath("/usr/sbin/modprobe"); err != nil {
			t.Skip("modprobe (package kmod) is not installed")
		}
	}
	cmd := exec.CommandContext(t.Context(), tool, append([]string{"-d", root, "-S", release}, args...)...)
	cmd.Env = append(os.Environ(), "MODPROBE_OPTIONS=")
	out, err := cmd.Output()
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) > 1 && fields[0] == "insmod":
			name, _ := kmod.NameOf(fields[1])
			names = append(names, name)
		case len(fields) == 1:
			names = append(names, fields[0])
		}
	}
	return names, err == nil
}

// agree compares an index with modprobe: the load order of each name, the
// answers to each alias.
func agree(t *testing.T, root, release string, names, aliases []string) {
	t.Helper()
	dir := filepath.Join(root, "lib/modules", release)
	x := load(t, os.DirFS(dir))
	text, err := os.ReadFile(filepath.Join(dir, "modules.softdep"))
	if err != nil {
		t.Fatal(err)
	}
	lines, manyLines := map[string]int{}, map[string]bool{}
	for _, s := range kmod.ParseSoftdep(text) {
		lines[s.Module]++
		manyLines[s.Module] = lines[s.Module] > 1
	}
	for _, name := range names {
		want, _ := modprobe(t, root, release, "--show-depends", name)
		order, err := x.LoadOrder(name)
		if err != nil {
			t.Errorf("LoadOrder(%s) = %v", name, err)
			continue
		}
		var got []string
		for _, m := range order {
			got = append(got, m.Name)
		}
		// modprobe reads only the first softdep line of a module (btrfs has one for
		// each checksum it may ask for): then ours are more. Otherwise both name the
		// same modules.
		slices.Sort(want)
		want = slices.Compact(want)
		if !manyLines[name] {
			if diff := cmp.Diff(want, slices.Sorted(slices.Values(got))); diff != "" {
				t.Errorf("LoadOrder(%s) against modprobe --show-depends (-modprobe +ours):\n%s", name, diff)
			}
		}
		for _, module := range want {
			if !slices.Contains(got, module) {
				t.Errorf("LoadOrder(%s) = %v; lacks %s, which modprobe loads", name, got, module)
			}
		}
		place := map[string]int{}
		for i, m := range got {
			place[m] = i
		}
		for _, d := range x.Deps() {
			at, in := place[d.Module.Name]
			for _, need := range d.Needs {
				if in && place[need.Name] >= at {
					t.Errorf("LoadOrder(%s) loads %s before its need %s", name, d.Module.Name, need.Name)
				}
			}
		}
	}
	for _, alias := range aliases {
		want, _ := modprobe(t, root, release, "-R", alias)
		var got []string
		for _, name := range x.Resolve(alias) {
			if !x.Builtin(name) || len(want) > 0 && slices.Contains(want, name) {
				got = append(got, name)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, slices.Compact(want)) {
			t.Errorf("Resolve(%s) = %v; modprobe -R says %v", alias, got, want)
		}
	}
}

// TestAgainstModprobe lets depmod index a small tree and compares with modprobe
// on it.
func TestAgainstModprobe(t *testing.T) {
	depmod, err := exec.LookPath("depmod")
	if err != nil {
		if depmod, err = exec.LookPath("/usr/sbin/depmod"); err != nil {
			t.Skip("depmod (package kmod) is not installed")
		}
	}
	root, release := t.TempDir(), "6.1.0-gild"
	tree := map[string][]byte{"modules.order": nil, "modules.builtin": []byte("kernel/inside.ko\n")}
	for name, m := range map[string]kmodtest.Module{
		"kernel/lib/low":        {Exports: []string{"low_fn"}},
		"kernel/net/mid-dle":    {Exports: []string{"mid_fn"}, Needs: []string{"low_fn"}},
		"kernel/net/card":       {Info: []string{"alias=pci:v00008086d0000100Esv*sd*bc*sc*i*"}, Needs: []string{"mid_fn", "low_fn"}},
		"kernel/net/any":        {Info: []string{"alias=pci:v00008086d*sv*sd*bc*sc*i*"}},
		"kernel/usb/stick":      {Info: []string{"alias=usb:v13FDp3940d0[0-2]*dc*", "softdep=pre: low post: any"}},
		"kernel/crypto/crc-hw":  {Info: []string{"alias=crypto-crc32c"}},
		"kernel/crypto/crc-any": {Info: []string{"alias=crypto-crc32c"}},
		"kernel/fs/ext9":        {Info: []string{"alias=fs-ext9", "softdep=pre: crypto-crc32c inside nosuch"}, Needs: []string{"mid_fn"}},
	} {
		m.Info = append(m.Info, "name="+strings.ReplaceAll(filepath.Base(name), "-", "_"), "license=GPL")
		tree[name+".ko"] = m.ELF()
	}
	kmodtest.WriteTree(t, filepath.Join(root, "lib/modules", release), tree)
	if out, err := exec.CommandContext(t.Context(), depmod, "-b", root, release).CombinedOutput(); err != nil {
		t.Fatalf("depmod: %v: %s", err, out)
	}
	agree(t, root, release,
		[]string{"low", "mid_dle", "card", "stick", "ext9"},
		[]string{
			"pci:v00008086d0000100Esv0sd0bc0sc0i0", "pci:v00008086d00001234sv0sd0bc0sc0i0", "fs-ext9", "fs_ext9",
			"usb:v13FDp3940d01dc00", "usb:v13FDp3940d03dc00", "crypto-crc32c", "mid-dle", "nosuch",
		})
}

// TestAgainstModprobeOnRealKernel does the same on a distribution's kernel.
func TestAgainstModprobeOnRealKernel(t *testing.T) {
	root, release := kmodtest.Kernel(t)
	x := load(t, os.DirFS(filepath.Join(root, "lib/modules", release)))
	names := []string{"ext4", "xfs", "btrfs", "virtio_net", "e1000e", "mlx5_core", "bnx2x", "ahci", "nvme", "uas", "r8152", "hv_netvsc"}
	names = slices.DeleteFunc(names, func(name string) bool { _, ok := x.Module(name); return !ok })
	for i, d := range x.Deps() {
		if i%50 == 0 {
			names = append(names, d.Module.Name)
		}
	}
	text, err := os.ReadFile(filepath.Join(root, "lib/modules", release, "modules.alias"))
	if err != nil {
		t.Fatal(err)
	}
	aliases := []string{"pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00", "fs-xfs", "crypto-crc32c"}
	for i, a := range kmod.ParseAlias(text) {
		if i%200 == 0 && !strings.ContainsAny(a.Pattern, "[?") {
			aliases = append(aliases, strings.ReplaceAll(a.Pattern, "*", "0"))
		}
	}
	agree(t, root, release, names, aliases)
}

func BenchmarkLoadAndResolve(b *testing.B) {
	root, release := kmodtest.Kernel(b)
	dir := os.DirFS(filepath.Join(root, "lib/modules", release))
	b.Run("load", func(b *testing.B) {
		for b.Loop() {
			load(b, dir)
		}
	})
	x := load(b, dir)
	b.Run("resolve", func(b *testing.B) {
		for b.Loop() {
			x.Resolve("pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00")
		}
	})
}
