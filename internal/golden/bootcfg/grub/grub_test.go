package grub

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
)

// disk has one partition with the given files; "kernel" is always there.
func disk(files map[string]string) []Device {
	fsys := fstest.MapFS{"kernel": {Data: []byte("k")}, "empty": {}, "dir/file": {Data: []byte("f")}}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return []Device{
		{Number: 0},
		{Number: 1, Scheme: "gpt", UUID: "ABCD-1234", Label: "esp", Kind: "vfat", FS: fstest.MapFS{}},
		{Number: 2, Scheme: "gpt", UUID: "0a1b", Label: "root", Kind: "ext4", FS: fsys},
	}
}

func machine(flavour Flavour, config string, more map[string]string) *Machine {
	files := map[string]string{"boot/grub/grub.cfg": config}
	for name, text := range more {
		files[name] = text
	}
	m := &Machine{Devices: disk(files), Platform: "efi", CPU: "x86_64", Flavour: flavour}
	m.Prefix = File{&m.Devices[2], "/boot/grub"}
	m.Config = File{&m.Devices[2], "/boot/grub/grub.cfg"}
	return m
}

func decide(config string) Result { return Decide(machine(Upstream, config, nil)) }

// How words are made of variables and quotes: the arguments that a command
// gets.
func TestExpansion(t *testing.T) {
	const vars = "e=\nx='x y'\nl=' x '\np=2\n"
	for script, want := range map[string]string{
		`f $e z`:                            "[z]",
		`f "$e" z`:                          "[][z]",
		`f ''`:                              "[]",
		`f $x`:                              "[x][y]",
		`f z$x`:                             "[zx][y]",
		`f $x$x`:                            "[x][yx][y]",
		`f z$l`:                             "[zx]",
		`f $l"y"`:                           "[xy]",
		`f $l$l`:                            "[xx]",
		"b=$x\nf \"$b\"":                    "[x]",
		"set b=$x\nf \"$b\"":                "[x]",
		"set b=\"$x\"\nf \"$b\"":            "[x y]",
		"set a = b\nf \"$a\"":               "[]",
		"set a=1 c=2\nf $a \"$c\"":          "[1][]",
		"a=1 f no\nf $a":                    "[1]",
		`f "a\b\$c\"d\\e"`:                  `[a\b$c"d\e]`,
		`f 'a\b$x'`:                         `[a\b$x]`,
		`f a\ b`:                            "[a b]",
		`f \n`:                              "[n]",
		`for i in $x "$x"; do f "$i"; done`: "[x][y][x y]",
		"f a#b c;#d":                        "[a#b][c]",
		"f a\\\nb":                          "[ab]",
		"f \"a\\\nb\"":                      "[ab]",
		"f 'a\nb'":                          "[a\nb]",
		`f $"a b"`:                          "[a b]",
		`f ${x}z`:                           "[x][yz]",
		`f a=$p b${p}c`:                     "[a=2][b2c]",
		`f if then fi`:                      "[if][then][fi]",
		`f (x) [y] a:b~!=*`:                 "[(x)][[y]][a:b~!=*]",
		"f \"a\n#gone\nb\"":                 "[a\nb]",
		"if true; then f $?; fi":            "[0]",
		"g 1 \"2 3\"":                       "[2][1][2 3]",
		"f a\rb":                            "[ab]",
		"\ufefff lost\nf kept":              "[kept]",
		"f kept\nf \x00 lost\nf lost too":   "[kept]",
	} {
		config := vars + "function f {\n for a in \"$@\"; do out=\"$out[$a]\"; done\n}\nfunction g {\n f \"$#\" \"$@\"\n}\n" + script +
			"\nlinux /kernel \"$out\"\nboot\n"
		if strings.Contains(script, "\x00") { // the rest of the file is lost
			config = vars + "out=[kept]\nlinux /kernel \"$out\"\nboot\n" + script
		}
		want := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "'", `\'`).Replace(want)
		if strings.Contains(want, " ") {
			want = `"` + want + `"`
		}
		if got := decide(config); got.Cmdline != want || len(got.Asked)+len(got.Remarks) > 0 {
			t.Errorf("%s: %q (%s, %v %v); want %q", script, got.Cmdline, got.Instead, got.Asked, got.Remarks, want)
		}
	}
}

// What the parser refuses is thrown away with its whole statement, and the next
// line starts afresh.
func TestSyntaxErrors(t *testing.T) {
	for _, bad := range []string{
		"; v=bad", "v=bad;; v=bad", "v=bad && true", "v=bad || true", "v=bad | cat", "v=bad < x", "v=bad &", "if true; then; v=bad; fi",
		"if true; then fi", "{ v=bad; }", "[[ a = a ]]", "case x", "v=bad; echo \"^(.*)$\"", "v=bad; echo $", "v=bad; echo ${", "v=bad; echo ${x",
		"menuentry x {}", "menuentry x {\n# only this\n}", "function f { v=bad }", "fi", "done", "v=bad; in x", "time v=bad",
		"for x in a; do; done",
	} {
		got := decide("v=good\n" + bad + "\nlinux /kernel $v\nboot\n")
		if got.Cmdline != "good" {
			t.Errorf("%q: %q (%s); want it thrown away", bad, got.Cmdline, got.Instead)
		}
	}
	got := decide("v=good\nif false; then\n echo $\n v=rest\nfi\nlinux /kernel $v\nboot\n")
	if got.Cmdline != "rest" {
		t.Errorf("after an error within an if: %q; want its rest run", got.Cmdline)
	}
	if got := decide("echo 'not closed\nlinux /kernel\nboot\n"); got.Instead == "" {
		t.Errorf("an open quote: %+v; want nothing left", got.Outcome)
	}
}

func TestTest(t *testing.T) {
	yes := []string{
		`[ ]`, `test`, `[ $unset ]`, `[ -n $unset ]`, `[ -z $unset ]`, `[ $unset = y ]`, `[ $unset != y ]`, `[ "$unset" = "" ]`, `[ a b ]`,
		`[ a = a -o b = c -a c = d ]`, `[ ( a = b -o c = c ) -a d = d ]`, `[ ! ]`, `[ ! "" ]`, `[ -z ]`, `[ = ]`, `[ "010" -eq 8 ]`,
		`[ "08" -eq 8 ]`,
		`[ 0x10 -eq 16 ]`, `[ "" -eq 0 ]`, `[ abc -eq 0 ]`, `[ a -eq b ]`, `[ "12abc" -eq 12 ]`, `[ 2 -eq 2.0 ]`, `[ " 5" -eq 5 ]`,
		`[ 4294967297 -eq 1 ]`,
		`[ -1 -lt 0 ]`, `[ B \< a ]`, `[ 10 \< 9 ]`, `[ vmlinuz-2 -plt vmlinuz-11 ]`, `[ 5.15.0 -pgt 5.9.0 ]`, `[ 1 -eq 1 -a test -n "x" ]`,
		`[ -f /kernel ]`, `[ -e /dir ]`, `[ -d /dir ]`, `[ -d /dir/ ]`, `[ -s /kernel ]`, `[ -f /empty ]`, `[ -d (hd0,gpt2) ]`,
		`[ -d (hd0,gpt2)/ ]`, `[ -e "" ]`,
		`[ -f (hd0,2)/kernel ]`, `[ -f ($root)/kernel ]`, `[ /kernel -nt /none ]`, `[ /none -ot /kernel ]`, `[ "$feature_menuentry_id" = y ]`,
		`! false`, `! [ a = b ]`,
		`regexp '^a(b+)$' abb`, `nosuchcommand`, `! nosuchcommand`, `insmod none`, `search --label root`, `search -u 0A1B`, `source /none`,
		`load_env -f /boot/grub/env`,
		`cat /kernel`, `cmp /kernel /empty`, `crc /kernel`, `testload /empty`, `sha256sum /kernel`, `hashsum --hash sha256 /kernel`, `ls /none`,
		`list_env`,
	}
	no := []string{
		`[ "$unset" ]`, `[ x$unset = xy ]`, `[ "x y" = x y ]`, `[ a "" ]`, `[ ! a = b -a b = c ]`, `[ 1 -eq 1 -a test -n "" ]`, `[ -z = x ]`,
		`[ -s /empty ]`, `[ -s /dir ]`, `[ -f kernel ]`, `[ -f /Kernel ]`, `[ -f /dir ]`, `[ -e (nodev)/x ]`, `[ -e (hd0,gpt9)/kernel ]`,
		`search --label none`, `search none`, `false`,
		`regexp '^b' abb`, `load_env -f /none`, `load_env -f /kernel`,
		`cat /none`, `cat /dir`, `cmp /kernel /none`, `crc /none`, `testload (hd0,gpt9)/kernel`, `sha256sum /none`, `hashsum -h md5 /none`,
	}
	env := map[string]string{"boot/grub/env": envSignature + "a=b\n"}
	for want, list := range map[string][]string{"yes": yes, "no": no} {
		for _, condition := range list {
			got := Decide(machine(Upstream, "if "+condition+"; then v=yes; else v=no; fi\nlinux /kernel $v\nboot\n", env))
			if got.Cmdline != want || len(got.Others)+len(got.Remarks) > 0 {
				t.Errorf("%s: %q (%s); want %s; %v", condition, got.Cmdline, got.Instead, want, got.Asked)
			}
		}
	}
}

// What a clock, a key, a sum or a signature decides is asked, with the words
// that name it.
func TestAsked(t *testing.T) {
	for condition, want := range map[string]string{
		"insmod datehook; if [ $HOUR -lt 12 ]":               "the clock",
		"insmod /x/datehook.mod; if [ \"$WEEKDAY\" = 1 ]":    "the clock",
		"if hashsum --hash sha256 --check /sums --prefix /x": "hashsum",
		"if sha256sum -c /sums":                              "sha256sum",
		"if verify_detached /kernel /kernel.sig":             "verify_detached",
		"if file --is-x86-linux /kernel":                     "file",
		"fdtdump --prop model --set m; if [ \"$m\" = x ]":    "fdtdump",
	} {
		got := decide(condition + "; then v=yes; else v=no; fi\nlinux /kernel $v\nboot\n")
		if len(got.Asked) != 1 || !strings.Contains(got.Asked[0].What, want) || len(got.Others) != 1 {
			t.Errorf("%s: asked %v, others %v; want a question about %s", condition, got.Asked, got.Others, want)
		}
	}
	if got := decide("if [ $HOUR -lt 12 ]; then v=yes; else v=no; fi\nlinux /kernel $v\nboot\n"); len(got.Others) > 0 {
		t.Errorf("without its module the clock is asked: %v", got.Asked)
	}
}

// Return codes and control flow.
func TestFlow(t *testing.T) {
	for _, tt := range []struct{ script, want string }{
		{"load_env -f /none; v=$?", "7"},
		{"load_env -f /kernel; v=$?", "4"},
		{"search --file /none --set=x; v=$?", "5"},
		{"search --set=x /kernel; v=$?", "17"},
		{"regexp b a; v=$?", "1"},
		{"return 3; v=$?", "18"},
		{"set a; v=$?", "18"},
		{"function f {\n return 4\n}\nf; v=$?", "4"},
		{"false; if false; then true; fi; v=$?", "0"},
		{"v=a; while [ $v != aaa ]; do v=${v}a; done", "aaa"},
		{"v=a; until [ $v = aaa ]; do v=${v}a; done", "aaa"},
		{"for i in 1 2 3; do if [ $i -eq 2 ]; then continue; fi; v=$v$i; done", "13"},
		{"for i in 1 2 3; do if [ $i -eq 2 ]; then break; fi; v=$v$i; done", "1"},
		{"for i in 1 2; do for j in 1 2; do v=$v$i$j; break 2; done; done", "11"},
		{"function f {\n v=$2; shift; v=$v$1\n}\nf a b", "bb"},
		{"function f {\n v=1\n}\nfunction f {\n v=2\n}\nf", "2"},
		{"function echo {\n v=shadow\n}\nv=kept; echo x", "kept"},
		{"eval 'v=a; v=${v}b'", "ab"},
		{"regexp '(.*),(.*)' hd0,gpt2 -s v", "hd0"},
		{"regexp --set 2:v '(.*),(.*)' hd0,gpt2", "gpt2"},
		{"search --set v --label root --no-floppy", "hd0,gpt2"},
		{"search --no-floppy --fs-uuid --set=v --hint-efi=hd9,gpt1 0A1b", "hd0,gpt2"},
		{"v=old; search --label none --set=v", "old"},
		{"search.fs_uuid abcd-1234 v hd0,gpt1", "hd0,gpt1"},
		{"search --file /kernel --set=v", "hd0,gpt2"},
		{"probe --set=v --fs-uuid ($root)", "0a1b"},
		{"set root=(hd0,gpt1); v=$root", "hd0,gpt1"},
		{"load_env -f /boot/grub/env; v=$a/$w/$e", `b=c//"q"`},
		{"load_env -f /boot/grub/env e; v=x$a$e", `x"q"`},
		{"v=$grub_platform$config_file", "efi(hd0,gpt2)/boot/grub/grub.cfg"},
	} {
		got := Decide(machine(Upstream, tt.script+"\nset root=hd0,gpt2\nlinux /kernel \"$v\"\nboot\n", map[string]string{
			"boot/grub/env": envSignature + "a=b=c\n  w=3\ne=\"q\"\nlast=x",
		}))
		if want := strings.ReplaceAll(tt.want, `"`, `\"`); got.Cmdline != want || got.Instead != "" {
			t.Errorf("%s: %q (%s); want %q", tt.script, got.Cmdline, got.Instead, want)
		}
	}
}

// The table of defaults: what upstream's and Red Hat's menus make of them.
func TestDefault(t *testing.T) {
	const entries = `
function e { linux /kernel $1; boot; }
menuentry Zero --id z { e Zero; }
menuentry One --id one { e One; }
submenu "Adv > anced" --id adv {
	menuentry A0 --id a0 { e A0; }
	menuentry A1 --id 5abc { e A1; }
	submenu Deep --id deep {
		menuentry D0 --id d0 { e D0; }
		menuentry D1 --id d1 { e D1; }
	}
}
menuentry "3 title" { e 3title; }
menuentry One --id dup { e dup; }
menuentry 5 4fabc --id 4fid { e 4fabc; }
`
	menu := strings.Replace(entries, "menuentry 5 4fabc", "menuentry 4fabc", 1)
	menu = strings.Replace(menu, "function e { linux /kernel $1; boot; }", "function e {\n linux /kernel $1; boot;\n}", 1)
	for _, tt := range []struct{ def, upstream, redHat string }{
		{"", "Zero", "Zero"},
		{"-1", "Zero", "Zero"},
		{"9", "Zero", "Zero"},
		{"saved", "Zero", "Zero"},
		{"ONE", "Zero", "Zero"},
		{"1", "One", "One"},
		{"0x1", "One", "One"},
		{" 1", "One", "One"},
		{"2", "A0", "A0"},
		{"adv", "A0", "A0"},
		{"2>", "A0", "Zero"},
		{"2>9", "A0", "Zero"},
		{"2>1", "A1", "Zero"},
		{"1>0", "One", "Zero"},
		{"2>2>1", "D1", "Zero"},
		{"adv>deep>d1", "D1", "D1"},
		{"adv>5abc", "A0", "A1"},
		{"One", "One", "One"},
		{"3x", "3title", "Zero"},
		{"4fid", "dup", "4fabc"},
		{"4fabc", "dup", "4fabc"},
		{"5x", "4fabc", "Zero"},
		{"one ", "Zero", "Zero"},
		{"a0", "Zero", "Zero"},
		{"A1", "Zero", "Zero"},
		{"Adv > anced>A1", "Zero", "Zero"},
		{"Adv >> anced>A1", "A1", "A1"},
	} {
		for flavour, want := range map[Flavour]string{Upstream: tt.upstream, RedHat8: tt.redHat} {
			got := Decide(machine(flavour, fmt.Sprintf("default='%s'\n%s", tt.def, menu), nil))
			if got.Cmdline != want {
				t.Errorf("flavour %d, default=%q: %q (%s); want %q", flavour, tt.def, got.Cmdline, got.Instead, want)
			}
		}
	}
	// From RHEL 9 on the default stays within a submenu.
	if got := Decide(machine(RedHat9, "default=2\n"+menu, nil)); got.Cmdline != "D0" {
		t.Errorf("RHEL 9, default=2: %q; want entry 2 of the submenu, and there entry 2 again, which is none: D0", got.Cmdline)
	}
}

// What an image cannot tell is tried both ways, and matters only where the ways
// part.
func TestQuestions(t *testing.T) {
	const entries = "\nmenuentry a --id a {\n linux /kernel a\n}\nmenuentry b --id b {\n linux /kernel b\n}\n"
	for _, tt := range []struct {
		name, config, want string
		others, asked      int
	}{
		{"only the waiting", "if keystatus --shift; then timeout=-1; else timeout=5; fi" + entries, "a", 0, 0},
		{"the entry", "if keystatus --shift; then default=b; fi" + entries, "a", 1, 1},
		{"a value of the firmware", "smbios --type 1 --get-string 5 --set=name\nif [ \"$name\" = x ]; then default=b; fi" + entries, "a", 1, 1},
		{
			"a loop over an unknown value", "smbios --set=x\nfor i in 1 2 3 4 5 6 7 8 9; do if [ $x = $i ]; then default=b; fi; done" + entries, "a",
			1, 9,
		},
		{"long mode", "if cpuid -l; then default=b; fi" + entries, "b", 0, 0},
		{"another disk", "if [ -f (hd1,gpt1)/x ]; then default=b; fi" + entries, "a", 1, 1},
	} {
		got := decide(tt.config)
		if got.Cmdline != tt.want || len(got.Others) != tt.others || len(got.Asked) != tt.asked {
			t.Errorf("%s: %q, others %v, asked %v; want %q, %d, %d", tt.name, got.Cmdline, got.Others, got.Asked, tt.want, tt.others, tt.asked)
		}
	}
	got := decide("smbios --set=x\nlinux /kernel serial=$x\nboot\n")
	if !strings.Contains(got.Instead, "what smbios gives") || got.Kernel.Path != "" {
		t.Errorf("a command line of the firmware: %+v", got.Outcome)
	}
}

// What ends never, or grows without end, is ended.
func TestBounds(t *testing.T) {
	for _, config := range []string{
		"while true; do x=1; done", "a=xxxxxxxx\nwhile true; do a=$a$a; done", "function f {\n f; f\n}\nf",
		"source $config_file\nsource $config_file",
		"configfile $config_file", "menuentry a {\n configfile $config_file\n}", strings.Repeat("if true; then ", 5000),
		strings.Repeat("keystatus; ", 100),
		"for a in 1 2 3 4 5 6 7 8 9; do for b in 1 2 3 4 5 6 7 8 9; do if keystatus $a$b; then x=$a; fi; eval \"if keystatus --$a; then " +
			"y=1; fi\"; done; done",
		strings.Repeat("menuentry x {\n true\n}\n", 5000),
	} {
		if got := decide(config); got.Kernel.Path != "" {
			t.Errorf("%.40q: %+v; want nothing booted", config, got.Outcome)
		}
	}
}

func TestBLSVariables(t *testing.T) {
	for _, tt := range []struct{ in, nine, eight string }{
		{"$kernelopts $tuned_params", "root=/dev/x ro ", "root=/dev/x ro "},
		{"root=U ro $kernelopts quiet", "root=U ro root=/dev/x ro quiet", "root=U ro root=/dev/x ro quiet"},
		{"$a/foo", "AA /foo", "AA /foo"},
		{"p=$a,q", "p=AA ,q", "p=AA ,q"},
		{`x=\$a y`, `x=\$a y`, `x=\AA `},
		{"${a} z", "{a} z", "{a} z"},
		{"$undef x y", "x y", "x y"},
		{"$a b", "AA ", "AA "},
		{"x", "", ""},
	} {
		for flavour, want := range map[Flavour]string{RedHat9: tt.nine, RedHat8: tt.eight} {
			r := &runner{
				m: &Machine{Flavour: flavour}, left: &budget{100, 10000},
				vars: map[string]string{"kernelopts": "root=/dev/x ro", "a": "AA"},
			}
			if got := (bls{r}).expandOptions(tt.in); got != want {
				t.Errorf("flavour %d, %q: %q; want %q", flavour, tt.in, got, want)
			}
		}
	}
}

// What is left for a script may end anywhere, also on the way to a question
// that another way has come to.
func TestBudgetEndsAnywhere(t *testing.T) {
	const script = "for i in 1 2 3; do v=$v$i; done\nif keystatus; then set default=1; fi\nif [ -z \"$v\" ]; then true; fi\nif " +
		"keystatus --alt; then set default=0; fi\n" +
		"menuentry a { linux /kernel a\n}\nmenuentry b { linux /kernel b\n}\n"
	whole := Decide(machine(Upstream, script, nil))
	for _, unit := range []budget{{1, 0}, {0, 16}} {
		ended := 0
		for n := range 400 {
			left := budget{maxSteps, maxBytes}
			if unit.steps > 0 {
				left.steps = n
			} else {
				left.bytes = n * unit.bytes
			}
			got := decideWithin(machine(Upstream, script, nil), &left)
			if got.Cmdline != whole.Cmdline || len(got.Others) != len(whole.Others) {
				if ended++; len(got.Remarks) == 0 {
					t.Errorf("with %+v times %d: %+v; want that it is said", unit, n, got)
				}
			}
		}
		if ended == 0 || ended == 400 {
			t.Errorf("%+v: %d of 400 end early", unit, ended)
		}
	}
}

// maxFuzzed bounds what a fuzzer makes longer and longer.
const maxFuzzed = 4 << 10

func FuzzDecide(f *testing.F) {
	f.Add("if [ -s $prefix/grubenv ]; then load_env; fi\nset default=\"${saved_entry}\"\nmenuentry 'a b' $x --id z { linux /kernel a "+
		"\"b c\"\ninitrd /empty\n}\nblscfg\n", "saved_entry=z\n", "title a\nlinux /kernel\noptions $a b\n", true)
	f.Add("for x in 1 2; do while true; do break 2; done; done; submenu s { menuentry t { configfile /boot/grub/grub.cfg; } }", "a=b",
		"efi /x", false)
	f.Add("function f { if keystatus; then return 1; fi; }\nif f; then regexp --set 1:v '(a*)' aab; fi\nsearch -s -f /kernel\n", "", "", false)
	f.Fuzz(func(t *testing.T, config, env, entry string, redHat bool) {
		if len(config)+len(env)+len(entry) > maxFuzzed {
			return
		}
		flavour := Upstream
		if redHat {
			flavour = RedHat9
		}
		got := decideWithin(machine(flavour, config, map[string]string{
			"boot/grub/grubenv": envSignature + env, "loader/entries/a.conf": entry, "loader/entries/b.conf": "linux /kernel\n",
		}), &budget{500, 1 << 16}) // endless scripts are most of what a fuzzer makes
		if (got.Kernel.Path == "") == (got.Instead == "") || strings.Contains(got.Cmdline, unknown) || len(got.Menu) > maxItems ||
			len(got.Others) > maxRuns {
			t.Errorf("Decide() = %+v", got)
		}
	})
}

// FuzzEnv: a record more at the end is one more, whatever stands before it,
// unless the last one has no end.
func FuzzEnv(f *testing.F) {
	f.Add("saved_entry=a>b\n# x\nnext_entry=\n")
	f.Add("a=\\\nb\nc=\\\\\n###")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > maxFuzzed {
			return
		}
		if _, ok := parseEnv(text); ok != strings.HasPrefix(text, envSignature) {
			t.Fatalf("parseEnv(%q) = %v", text, ok)
		}
		list, ok := parseEnv(envSignature + text)
		more, _ := parseEnv(envSignature + "first=1\n" + text)
		if !ok || len(more) != len(list)+1 || more[0] != (variable{"first", "1"}) {
			t.Errorf("parseEnv(%q) has %d records, with one in front %d", text, len(list), len(more))
		}
		for i, v := range list {
			if more[i+1] != v || strings.HasPrefix(v.name, "#") || strings.Contains(v.name, "=") {
				t.Errorf("record %d is %q, with one in front %q", i, v, more[i+1])
			}
		}
	})
}

// FuzzEntry reads an entry of blscfg and makes its script.
func FuzzEntry(f *testing.F) {
	f.Add("title a\nlinux /kernel\ninitrd /empty $x\noptions $kernelopts a=$b \\$c ${d}\n", "root=x ro")
	f.Add("efi /x\nversion 1~2\n\nlinux /y", "")
	f.Fuzz(func(t *testing.T, text, kernelopts string) {
		if len(text)+len(kernelopts) > maxFuzzed {
			return
		}
		for _, flavour := range []Flavour{Upstream, RedHat8, RedHat9, RedHat10} {
			r := &runner{
				m: machine(flavour, "", nil), left: &budget{1000, 1 << 16},
				vars: map[string]string{"kernelopts": kernelopts, "default_kernelopts": kernelopts},
			}
			e := &blsEntry{name: "a", file: r.m.Config, keys: bls{r}.keys(text)}
			it := bls{r}.item(e)
			if _, ok := e.get("linux"); ok && (it == nil || len(it.body.Lines) == 0 || it.title == "") {
				t.Errorf("entry %q = %+v", text, it)
			}
			if (bls{r}).compare(e, e) != 0 {
				t.Error("an entry differs from itself")
			}
		}
	})
}
