package bootcfg_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gild-dev/gild/internal/golden/bootcfg"
	"github.com/gild-dev/gild/internal/golden/vmlinuz/vmlinuztest"
)

const release = "ID=os\nVERSION_ID=1\nPRETTY_NAME=OS\n"

// uki is a unified kernel image that systemd-boot lists.
func uki(cmdline string, more ...string) string {
	return string(peFile(append([]string{".linux", "k", ".osrel", release, ".cmdline", cmdline}, more...)...))
}

// What systemd-boot starts of what lies on an ESP (efi/) and an extended boot
// partition (boot/).
func TestSystemdBoot(t *testing.T) {
	t.Parallel()
	entry := func(lines ...string) string { return "linux /k\n" + strings.Join(lines, "\n") + "\n" }
	for name, tt := range map[string]struct {
		files  []string
		entry  string
		want   string
		doubts int
	}{
		"the newest by version": {files: []string{
			"a-6.9", entry("version 6.9", "sort-key os", "options a"), "b-6.10",
			entry("version 6.10", "sort-key os", "options b"),
		}, want: "b"},
		"the newest by name":    {files: []string{"a-6.9", entry("options a"), "a-6.10", entry("options b")}, want: "b"},
		"a sort key goes first": {files: []string{"z-9", entry("options a"), "a-1", entry("options b", "sort-key zz")}, want: "b"},
		"sort keys ascend": {
			files: []string{"a", entry("options a", "sort-key b"), "b", entry("options b", "sort-key a")},
			want:  "b",
		},
		"a machine id goes after none": {files: []string{
			"a", entry("options a", "sort-key s", "machine-id m"), "b",
			entry("options b", "sort-key s"),
		}, want: "b"},
		"no tries left":       {files: []string{"a-9+0-3", entry("options a"), "a-8+3", entry("options b")}, want: "b"},
		"none has tries left": {files: []string{"a-9+0-3", entry("options a")}, want: "a", doubts: 1},
		"more tries left":     {files: []string{"a+1-2", entry("options a"), "a+2-1", entry("options b")}, want: "b"},
		"default": {files: []string{
			"loader.conf", "timeout 3\ndefault a-*\n", "a-1", entry("options a"), "b-1",
			entry("options b"),
		}, want: "a"},
		"default, in another case": {files: []string{
			"loader.conf", "default A-?.CONF\r\n", "a-1", entry("options a"), "b-1",
			entry("options b"),
		}, want: "a"},
		"default, last line": {files: []string{
			"loader.conf", "default a-1.conf\n# default x\ndefault\t\"b-1.conf\"\n", "a-1",
			entry("options a"), "b-1", entry("options b"), "c-1", entry("options c"),
		}, want: "b"},
		"default without suffix": {
			files: []string{"loader.conf", "default a-1\n", "a-1", entry("options a"), "b-1", entry("options b")},
			want:  "b",
		},
		"default that was saved": {files: []string{
			"loader.conf", "default @saved\n", "a-1", entry("options a"), "b-1",
			entry("options b"),
		}, want: "b"},
		"default without a counter": {files: []string{
			"loader.conf", "default a-1.conf\n", "a-1+3", entry("options a"), "b-1",
			entry("options b"),
		}, want: "a", doubts: 1},
		"default that is bad": {files: []string{
			"loader.conf", "default a-*\n", "a-1+0", entry("options a"), "b-1",
			entry("options b"),
		}, want: "a", doubts: 1},
		"preferred that is bad": {files: []string{
			"loader.conf", "preferred a-*\n", "a-1+0", entry("options a"), "b-1",
			entry("options b"),
		}, want: "b"},
		"default on the wrong partition": {files: []string{
			"boot/loader/loader.conf", "default a-1.conf\n", "a-1", entry("options a"), "b-1",
			entry("options b"),
		}, want: "b"},
		"an entry that was asked for": {files: []string{
			"loader.conf", "default b-1.conf\n", "a-1", entry("options a"), "b-1",
			entry("options b"),
		}, entry: "a-*", want: "a"},
		"options of several lines": {files: []string{"a", entry("options a b", "# no", "", "options c")}, want: "a b c"},
		"another architecture": {files: []string{
			"b", entry("architecture ia32", "options b"), "a",
			entry("architecture X64", "options a"),
		}, want: "a"},
		"another, of a loader for it": {files: []string{
			"efi/EFI/BOOT/BOOTAA64.EFI", sdBootEFI, "b", entry("architecture aa64", "options b"),
			"a", entry("options a"),
		}, want: "b"},
		"the other of the two": {files: []string{"b", entry("architecture aa64", "options b"), "a", entry("options a")}, want: "a"},
		"default Windows": {
			files: []string{
				"loader.conf", "default auto-windows\n", "efi/EFI/Microsoft/Boot/bootmgfw.efi", "MZ",
				"a", entry("options a"),
			},
			want: "doubt: the default entry: systemd-boot would start the program /efi/EFI/Microsoft/Boot/bootmgfw.efi, so no kernel is " +
				"taken; it may be a.conf",
		},
		"default Windows, not there": {files: []string{"loader.conf", "default auto-windows\n", "a", entry("options a")}, want: "a"},
		"default Windows, no automatics": {files: []string{
			"loader.conf", "default auto-windows\nauto-entries no\n",
			"efi/EFI/Microsoft/Boot/bootmgfw.efi", "MZ", "a", entry("options a"),
		}, want: "a"},
		"default by a glob": {
			files: []string{"loader.conf", "default auto-*\n", "efi/shellx64.efi", "MZ", "a", entry("options a")},
			want:  "doubt: the default entry: systemd-boot would start the program /efi/shellx64.efi",
		},
		"default the firmware's setup": {
			files: []string{"loader.conf", "default auto-reboot-to-firmware-setup\n", "a", entry("options a")},
			want:  "doubt: the default entry: systemd-boot would start the firmware's setup",
		},
		"default to power off": {
			files: []string{"loader.conf", "default auto-poweroff\nauto-poweroff 1\n", "a", entry("options a")},
			want:  "doubt: the default entry: systemd-boot would start no system",
		},
		"default everything": {
			files: []string{"loader.conf", "default *\n", "efi/shellx64.efi", "MZ", "a", entry("options a")},
			want:  "a",
		},
		"Windows beside it":    {files: []string{"efi/EFI/Microsoft/Boot/bootmgfw.efi", "MZ", "a", entry("options a")}, want: "a"},
		"two kinds":            {files: []string{"b", entry("efi /k", "options b"), "a", entry("options a")}, want: "a"},
		"a kernel that is not": {files: []string{"b", "linux /none\noptions b\n", "a", entry("options a")}, want: "a"},
		"an initrd that is not": {
			files: []string{"b", entry("options b", "initrd /none"), "a", entry("options a")},
			want:  "doubt: the default entry: systemd-boot would start the entry b.conf, whose initrd",
		},
		"hidden names": {
			files: []string{".c", entry("options c"), "auto-c", entry("options c"), "a", entry("options a")},
			want:  "a",
		},
		"on the extended partition": {files: []string{
			"loader.conf", "default x-lts.conf\n", "boot/loader/entries/x-lts.conf",
			"linux /k\noptions lts\n", "boot/loader/entries/x-new.conf", "linux /k\noptions new\n", "boot/k", "k",
		}, want: "lts"},

		"a UKI":            {files: []string{"efi/EFI/Linux/os.efi", uki("a\x01b \n")}, want: "a b"},
		"upper case":       {files: []string{"efi/EFI/Linux/OS.EFI", uki("a")}, want: "a"},
		"UKIs, the newest": {files: []string{"efi/EFI/Linux/os-6.9.efi", uki("a"), "efi/EFI/Linux/os-6.10.efi", uki("b")}, want: "b"},
		"UKIs, by default": {files: []string{
			"loader.conf", "default os-6.9*\n", "efi/EFI/Linux/os-6.9+2.efi", uki("a"),
			"efi/EFI/Linux/os-6.10.efi", uki("b"),
		}, want: "a"},
		"a UKI without tries left": {files: []string{"efi/EFI/Linux/os-6.9.efi", uki("a"), "efi/EFI/Linux/os-6.10+0-1.efi", uki("b")}, want: "a"},
		"both types, one order":    {files: []string{"efi/EFI/Linux/x.efi", uki("a"), "y", entry("options b", "sort-key aa")}, want: "b"},
		"both types, by version": {
			files: []string{"efi/EFI/Linux/x.efi", uki("a"), "y", entry("options b", "sort-key os", "version 2")},
			want:  "b",
		},
		"one without .osrel": {files: []string{
			"efi/EFI/Linux/z.efi", string(peFile(".linux", "k", ".cmdline", "z")), "efi/EFI/Linux/a.efi",
			uki("a"),
		}, want: "a"},
		"all without .osrel": {files: []string{
			"efi/EFI/Linux/z.efi", string(peFile(".linux", "k", ".cmdline", "z")), "efi/EFI/Linux/a.efi",
			string(peFile(".linux", "k")),
		}, want: "z"},
		"no .cmdline": {files: []string{"efi/EFI/Linux/a.efi", string(peFile(".linux", "k", ".osrel", release))}, want: ""},
		"no kernel": {files: []string{
			"efi/EFI/Linux/z.efi", string(peFile(".text", "k", ".osrel", release)),
			"efi/EFI/Linux/a.efi", uki("a"),
		}, want: "a"},
		"addons": {files: []string{
			"efi/EFI/Linux/os+3.efi", uki("a", ".uname", "6.1"), "efi/EFI/Linux/os.efi.extra.d/2.addon.efi",
			string(peFile(".cmdline", "two", ".uname", "6.1")),
			"efi/EFI/Linux/os.efi.extra.d/1.addon.efi", string(peFile(".cmdline", "one\x00")), "efi/loader/addons/all.addon.efi",
			string(peFile(".cmdline", "all")), "efi/EFI/Linux/os.efi.extra.d/x.cred", "x",
		}, want: "a all one two"},
		"addons that are not taken": {files: []string{
			"efi/EFI/Linux/os.efi", uki("a", ".uname", "6.1"), "efi/EFI/Linux/os.efi.extra.d/1.addon.efi", uki("x"),
			"efi/EFI/Linux/os.efi.extra.d/2.addon.efi", string(peFile(".cmdline", "y", ".uname", "6.2")),
		}, want: "a", doubts: 2},
		"profiles": {files: []string{
			"efi/EFI/Linux/os.efi",
			uki("a", ".profile", "ID=main", ".profile", "ID=b\nTITLE=B", ".cmdline", "b"),
		}, want: "a"},
		"a profile by default": {files: []string{
			"loader.conf", "default os.efi@b\n", "efi/EFI/Linux/os.efi",
			uki("a", ".profile", "ID=main", ".profile", "ID=b\nTITLE=B", ".cmdline", "b"),
		}, want: "b"},

		"key uki":              {files: []string{"a", "uki /EFI/own/a.efi\nsort-key x\n", "efi/EFI/own/a.efi", uki("a")}, want: "a"},
		"key uki with options": {files: []string{"a", "uki \\EFI\\own\\a.efi\noptions o\n", "efi/EFI/own/a.efi", uki("a")}, want: "o"},
		"key uki with a profile": {files: []string{
			"a", "uki /a.efi\nprofile 1\n", "efi/a.efi",
			uki("a", ".profile", "ID=x", ".profile", "ID=y", ".cmdline", "b"),
		}, want: "b"},
		"key uki without a kernel": {
			files: []string{"b", "uki /b.efi\n", "efi/b.efi", string(peFile(".text", "x")), "a", entry("options a")},
			want:  "a",
		},
		"key efi, a kernel": {files: []string{
			"a", "efi /k.efi\noptions initrd=\\k a\n", "efi/k.efi",
			string(vmlinuztest.BzImage("6.1.0")),
		}, want: "a + efi/k"},
		"key efi, a UKI": {files: []string{"a", "efi /a.efi\n", "efi/a.efi", uki("a")}, want: "a"},
		"key efi, a shell": {
			files: []string{"a", "efi /shell.efi\n", "efi/shell.efi", string(peFile(".text", "x"))},
			want:  "doubt: the default entry: systemd-boot would start the program /efi/shell.efi, so no kernel is taken",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree := files("efi/k", "k", "efi/EFI/systemd/systemd-bootx64.efi", sdBootEFI)
			for i := 0; i < len(tt.files); i += 2 {
				path := tt.files[i]
				switch {
				case path == "loader.conf":
					path = "efi/loader/loader.conf"
				case !strings.Contains(path, "/"):
					path = "efi/loader/entries/" + path + ".conf"
				}
				tree[path] = &fstest.MapFile{Data: []byte(tt.files[i+1])}
			}
			d := mounted(t, tree, "efi:esp", "boot:xbootldr")
			found := bootcfg.Find(d, tt.entry)
			saysWhatDecided(t, d, found)
			got := text(found)
			if e := found.Entry; e != nil {
				got = strings.TrimPrefix(got, e.Source+" "+e.Kernel+" ")
			}
			if got != tt.want && (!strings.HasPrefix(tt.want, "doubt") || !strings.HasPrefix(got, tt.want)) ||
				found.Entry != nil && len(found.Doubts) != tt.doubts {
				t.Errorf("Find() = %q; want %q, %d doubts: %v", got, tt.want, tt.doubts, found.Doubts)
			}
		})
	}
}
