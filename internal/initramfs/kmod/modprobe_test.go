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

// configs are what systems have in modprobe.d.
var configs = map[string]string{
	"etc/modprobe.d/local.conf": `# comment
options card allow_unsupported_sfp=1,1
options card debug=3
options mid-dle mode=active
blacklist rival
blacklist   other-rival
alias  special-device  mid_dle
alias pci:v0000BBBBd* low
alias pci:v0000CCCCd* off
softdep stick pre: low \
    post: any
install kept-out /bin/true
install refused /bin/false
install both /sbin/modprobe --ignore-install both $CMDLINE_OPTS && /sbin/modprobe -q low
install instead /sbin/modprobe low; /sbin/modprobe any || :
install scripted /sbin/modprobe --ignore-install scripted && /usr/bin/setup --quiet
install twice /bin/true
install twice /sbin/modprobe low
`,
	"usr/lib/modprobe.d/local.conf":  "options card hidden=1\n",
	"usr/lib/modprobe.d/vendor.conf": "options low\tvendor=1\n",
	"etc/modprobe.d/not-read.txt":    "blacklist card\n",
}

// wantConfig is what one module is loaded as.
func configured(x *kmod.Index, c *kmod.Config, name string) []string {
	order, err := x.LoadOrder(name)
	if err != nil {
		return nil
	}
	var got []string
	for _, m := range order {
		got = append(got, strings.TrimSpace(m.Name+" "+c.Options(m.Name)))
	}
	return got
}

// TestConfigAgainstModprobe loads as modprobe itself would, with the same
// modprobe.d.
func TestConfigAgainstModprobe(t *testing.T) {
	if _, err := exec.LookPath("depmod"); err != nil {
		if _, err := os.Stat("/sbin/depmod"); err != nil {
			t.Skip("depmod is not installed")
		}
	}
	const release = "6.1.0-test"
	root := t.TempDir()
	tree := map[string][]byte{"modules.order": nil, "modules.builtin": nil}
	for _, name := range []string{
		"low", "mid-dle", "card", "rival", "other_rival", "stick", "any", "kept-out", "refused", "both", "instead",
		"scripted", "twice",
	} {
		m := kmodtest.Module{Info: []string{"name=" + kmod.CanonicalName(name), "license=GPL"}}
		switch name {
		case "low":
			m.Exports = []string{"low_fn"}
		case "card":
			m.Needs = []string{"low_fn"}
			m.Info = append(m.Info, "alias=pci:v0000AAAAd*")
		case "rival", "other_rival":
			m.Info = append(m.Info, "alias=pci:v0000AAAAd*")
		case "any":
			m.Info = append(m.Info, "alias=pci:v0000BBBBd*", "alias=pci:v0000CCCCd*")
		}
		tree["kernel/"+name+".ko"] = m.ELF()
	}
	kmodtest.WriteTree(t, filepath.Join(root, "lib/modules", release), tree)
	for name, text := range configs {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), find("depmod"), "-b", root, release).CombinedOutput(); err != nil {
		t.Fatalf("depmod: %v: %s", err, out)
	}
	c, odd := kmod.LoadConfig(os.DirFS(root))
	if len(odd) > 0 {
		t.Errorf("LoadConfig() tells %v", odd)
	}
	x := load(t, os.DirFS(filepath.Join(root, "lib/modules", release)))
	x.Use(c)

	// modprobe has no way to take another root's modprobe.d but a list of folders.
	args := []string{"-n", "-v", "-d", root, "-S", release}
	for _, dir := range []string{"etc/modprobe.d", "usr/lib/modprobe.d"} {
		args = append(args, "-C", filepath.Join(root, dir))
	}
	for _, name := range []string{"low", "mid-dle", "card", "stick", "rival", "special-device", "both", "instead"} {
		var want []string
		out, err := exec.CommandContext(t.Context(), find("modprobe"), append(args, name)...).CombinedOutput()
		if err != nil {
			t.Fatalf("modprobe %s: %v: %s", name, err, out)
		}
		for line := range strings.Lines(string(out)) {
			words := strings.Fields(line)
			switch {
			case words[0] == "insmod":
				module, _ := kmod.NameOf(words[1])
				want = append(want, strings.TrimSpace(module+" "+strings.Join(words[2:], " ")))
			case words[0] == "install" && name == "both":
				want = []string{"both", "low vendor=1"}
			case words[0] == "install" && name == "instead":
				want = []string{"low vendor=1", "any"}
			}
		}
		names := x.Resolve(name)
		if len(names) == 0 {
			t.Errorf("Resolve(%q) = nothing; modprobe loads %v", name, want)
			continue
		}
		got := configured(x, c, names[0])
		if !slices.Equal(got, want) {
			t.Errorf("%s is loaded as %q; modprobe: %q", name, got, want)
		}
	}
}

func find(program string) string {
	if p, err := exec.LookPath(program); err == nil {
		return p
	}
	return "/sbin/" + program
}

func TestConfig(t *testing.T) {
	root := fstest.MapFS{}
	for name, text := range configs {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	c, odd := kmod.LoadConfig(root)
	if len(odd) > 0 {
		t.Fatal(odd)
	}
	for word, value := range map[string]string{
		"modprobe.blacklist": "a-b,c", "rd.driver.blacklist": "d", "mid_dle.io": "5", "card.name": "two words", "card.flag": "",
		"gild.server": "http://s", "quiet": "",
	} {
		c.AddWord(word, value)
	}
	for module, want := range map[string]bool{"a_b": true, "c": true, "d": true, "rival": true, "other_rival": true, "card": false} {
		if c.Blacklisted(module) != want {
			t.Errorf("Blacklisted(%s) = %v", module, !want)
		}
	}
	if got := c.Options("mid-dle"); got != "mode=active io=5" {
		t.Errorf("Options(mid-dle) = %q", got)
	}
	if got := c.Options("card"); !strings.HasPrefix(got, "allow_unsupported_sfp=1,1 debug=3 ") || !strings.Contains(got, `name="two words"`) ||
		!strings.Contains(got, "flag") || strings.Contains(got, "hidden") {
		t.Errorf("Options(card) = %q", got)
	}
	for module, want := range map[string]kmod.Install{
		"kept_out": {Line: "/bin/true", Understood: true},
		"refused":  {Line: "/bin/false", Understood: true},
		"twice":    {Line: "/bin/true", Understood: true},
		"both": {
			Line: "/sbin/modprobe --ignore-install both $CMDLINE_OPTS && /sbin/modprobe -q low", Loads: []string{"both", "low"},
			Understood: true,
		},
		"instead": {Line: "/sbin/modprobe low; /sbin/modprobe any || :", Loads: []string{"low", "any"}, Understood: true},
	} {
		got, ok := c.InstallOf(module)
		if diff := cmp.Diff(want, got); !ok || diff != "" {
			t.Errorf("InstallOf(%s) (-want +got):\n%s", module, diff)
		}
	}
	if got, ok := c.InstallOf("scripted"); !ok || got.Understood {
		t.Errorf("InstallOf(scripted) = %+v; want one that is not understood", got)
	}
	// What is carried says the same.
	again := &kmod.Config{}
	again.Parse(c.Format())
	if diff := cmp.Diff(string(c.Format()), string(again.Format())); diff != "" {
		t.Errorf("Format() of what Format() wrote (-first +again):\n%s", diff)
	}
}

func FuzzConfig(f *testing.F) {
	for _, text := range configs {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 4<<10 {
			return
		}
		c := &kmod.Config{}
		c.Parse(text)
		first := c.Format()
		again := &kmod.Config{}
		again.Parse(first)
		if got := again.Format(); string(got) != string(first) {
			t.Errorf("Format() of what Format() wrote = %q; want %q", got, first)
		}
	})
}

// What hides a file of the distribution hides it wherever the link leads, and
// the parameters that Debian's initrd gives a module are the last.
func TestLoadConfigHiddenAndDebian(t *testing.T) {
	root := fstest.MapFS{
		"usr/lib/modprobe.d/a.conf":   {Data: []byte("blacklist a\n")},
		"etc/modprobe.d/a.conf":       {Data: []byte("/dev/null"), Mode: fs.ModeSymlink | 0o777},
		"etc/modprobe.d/b.conf":       {Data: []byte("options b x=1\n")},
		"etc/initramfs-tools/modules": {Data: []byte("# comment\nc\n b-b \tx=2 y=3 # why\nb x=4\n")},
	}
	c, odd := kmod.LoadConfig(root)
	if len(odd) > 0 {
		t.Errorf("LoadConfig() tells %v", odd)
	}
	if got, want := string(c.Format()), "options b x=1\noptions b x=4\noptions b_b x=2 y=3\n"; got != want {
		t.Errorf("LoadConfig() = %q; want %q", got, want)
	}
}
