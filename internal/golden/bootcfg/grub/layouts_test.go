package grub

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

// layout is a file of testdata: settings, one a line, and below "-- P/NAME --"
// the file NAME of partition P. Partition 1 is a FAT, partition 2 and 3 are
// ext4.
//
//	platform pc       $grub_platform, efi if it is not said
//	flavour 9         Red Hat's GRUB of that release, which grub-emu is not
//	config FILE       read first; (hd0,gpt2)/boot/grub/grub.cfg if it is not said
//	prefix DIR        $prefix; the directory of config if it is not said
//	files FILE...     P/NAME of files whose content does not matter
//	want TEXT         the outcome as [outcomeText] has it
//	asked N           questions that the outcome depends on
type layout struct {
	set   map[string]string
	files map[string]string
}

func readLayout(t *testing.T, name string) layout {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	l := layout{map[string]string{"config": "(hd0,gpt2)/boot/grub/grub.cfg", "platform": "efi"}, map[string]string{}}
	file := ""
	for line := range strings.Lines(string(data)) {
		if n, ok := strings.CutPrefix(strings.TrimSuffix(line, " --\n"), "-- "); ok && strings.HasSuffix(line, " --\n") {
			file = n
			l.files[file] = ""
			continue
		}
		if file != "" {
			l.files[file] += line
			continue
		}
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if key == "files" {
			for _, f := range strings.Fields(value) {
				l.files[f] = "x"
			}
			continue
		}
		l.set[key] = value
	}
	if l.set["prefix"] == "" {
		l.set["prefix"] = l.set["config"][:strings.LastIndex(l.set["config"], "/")]
	}
	return l
}

const (
	espID, bootID, rootID = "1234-ABCD", "66666666-7777-4888-8999-aaaaaaaaaaaa", "11111111-2222-4333-8444-555555555555"
)

func (l layout) machine() *Machine {
	trees := [4]fstest.MapFS{{}, {}, {}, {}}
	for name, text := range l.files {
		trees[name[0]-'0'][name[2:]] = &fstest.MapFile{Data: []byte(text)}
	}
	m := &Machine{Platform: l.set["platform"], CPU: "x86_64", Devices: []Device{
		{},
		{Number: 1, Scheme: "gpt", UUID: espID, Label: "ESP", Kind: "vfat", FS: trees[1]},
		{Number: 2, Scheme: "gpt", UUID: rootID, Label: "root", Kind: "ext4", FS: trees[2]},
		{Number: 3, Scheme: "gpt", UUID: bootID, Label: "boot", Kind: "ext4", FS: trees[3]},
	}}
	m.Flavour = map[string]Flavour{"8": RedHat8, "9": RedHat9, "10": RedHat10}[l.set["flavour"]]
	at := func(name string) File {
		return File{&m.Devices[name[strings.Index(name, ",gpt")+4]-'0'], name[strings.Index(name, ")")+1:]}
	}
	m.Config, m.Prefix = at(l.set["config"]), at(l.set["prefix"])
	m.Cmdpath = "(hd0,gpt1)/EFI/BOOT"
	return m
}

// outcomeText is an outcome in one line.
func outcomeText(o *Outcome) string {
	if o.Instead != "" {
		return "instead " + o.Instead
	}
	s := fmt.Sprintf("%s %s", o.Kernel, o.Cmdline)
	for _, i := range o.Initrds {
		s += " + " + i.String()
	}
	return s
}

// The layouts of distributions and of images with two slots. grub-emu, which is
// GRUB itself, judges those of upstream.
func TestLayouts(t *testing.T) {
	names, err := filepath.Glob("testdata/layouts/*.txt")
	if err != nil || len(names) < 40 {
		t.Fatalf("%d layouts, %v", len(names), err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			t.Parallel()
			l := readLayout(t, name)
			got := Decide(l.machine())
			if text := outcomeText(&got.Outcome); text != l.set["want"] {
				t.Errorf("boots %s\nwant  %s", text, l.set["want"])
			}
			if asked := fmt.Sprint(len(got.Asked)); asked != "0" && asked != l.set["asked"] ||
				len(got.Remarks) > 0 && !strings.HasPrefix(l.set["want"], "instead") {
				t.Errorf("asked %v, remarks %v", got.Asked, got.Remarks)
			}
			if l.set["flavour"] == "" && !strings.HasPrefix(l.set["want"], "instead nothing") {
				if judged := l.judge(t); judged != l.set["want"] {
					t.Errorf("grub-emu boots %s\nwant           %s", judged, l.set["want"])
				}
			}
		})
	}
}

// judge asks grub-emu, which has no linux command: functions of that name say
// what they are given, and a command that would boot leaves.
func (l layout) judge(t *testing.T) string {
	for _, program := range []string{"grub-emu", "script", "mcopy"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Logf("%s is not installed", program)
			return l.set["want"]
		}
	}
	dir := t.TempDir()
	disk := filepath.Join(dir, "disk")
	run := func(name string, args ...string) {
		// env looks for programs where an unprivileged PATH does not.
		cmd := exec.Command("env", append([]string{"MTOOLS_SKIP_CHECK=1", "PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", name}, args...)...)
		if name == "sfdisk" {
			cmd.Stdin = strings.NewReader("label: gpt\nstart=2048,size=16384\nstart=18432,size=16384\nstart=34816,size=16384\n")
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
	}
	for name, text := range l.files {
		text = regexp.MustCompile(`(?m)^(\s*)boot$`).ReplaceAllString(text, "${1}exit")
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run("truncate", "-s", "26M", disk)
	run("sfdisk", "-q", "--no-reread", "--no-tell-kernel", disk)
	for i, id := range []string{"", espID, rootID, bootID} {
		if i == 0 {
			continue
		}
		part, tree := filepath.Join(dir, fmt.Sprint("part", i)), filepath.Join(dir, fmt.Sprint(i))
		if err := os.MkdirAll(tree, 0o755); err != nil {
			t.Fatal(err)
		}
		run("truncate", "-s", "8M", part)
		if i == 1 {
			run("mkfs.vfat", "-n", "ESP", "-i", strings.ReplaceAll(id, "-", ""), part)
			if top, err := filepath.Glob(tree + "/*"); err == nil && len(top) > 0 {
				run("mcopy", append([]string{"-s", "-i", part}, append(top, "::/")...)...)
			}
		} else {
			run("mkfs.ext4", "-q", "-F", "-U", id, "-L", []string{"root", "boot"}[i-2], "-d", tree, part)
		}
		run("dd", "if="+part, "of="+disk, "bs=1M", fmt.Sprint("seek=", 1+8*(i-1)), "conv=notrunc", "status=none")
	}
	wrapper := fmt.Sprintf(`function linux { echo "@@L" "$root@@"; for a in "$@"; do echo "@@A" "$a@@"; done; }
function linux16 { linux "$@"; }
function initrd { for a in "$@"; do echo "@@I" "$a@@" "$root@@"; done; }
function initrd16 { initrd "$@"; }
function chainloader { echo "@@X" "chainloader $*@@"; exit; }
function multiboot2 { echo "@@X" "multiboot2 $*@@"; exit; }
function fwsetup { echo "@@X" "fwsetup@@"; exit; }
loopback hd0 (host)%s
set root=%s
set prefix=%s
set cmdpath=(hd0,gpt1)/EFI/BOOT
set grub_platform=%s
set grub_cpu=x86_64
set timeout=0
export timeout
configfile %s
exit
`, disk, strings.Trim(strings.SplitN(l.set["prefix"], ")", 2)[0], "("), l.set["prefix"], l.set["platform"], l.set["config"])
	wrapper = regexp.MustCompile(`(?m)^(function \w+) \{ (.*) \}$`).ReplaceAllString(wrapper, "$1 {\n$2\n}")
	if err := os.Mkdir(filepath.Join(dir, "w"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "w/grub.cfg"), []byte(wrapper), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("timeout", "30", "script", "-qec", "stty cols 250 rows 60; grub-emu -d "+filepath.Join(dir, "w"),
		"/dev/null").Output()
	if err != nil {
		t.Logf("grub-emu: %v", err)
	}
	return judged(string(out))
}

// judged reads what the functions said.
func judged(out string) string {
	var kernel, root string
	var args, initrds []string
	path := func(name, root string) string {
		if strings.HasPrefix(name, "(") {
			return regexp.MustCompile(`^\(hd0,(\d)`).ReplaceAllString(name, "(hd0,gpt$1")
		}
		return "(" + root + ")" + name
	}
	for _, m := range regexp.MustCompile(`(?s)@@([LAIX]) (.*?)@@(?: (.*?)@@)?`).FindAllStringSubmatch(strings.ReplaceAll(out, "\r\n", "\n"),
		-1) {
		switch m[1] {
		case "L":
			root, kernel, args, initrds = m[2], "", nil, nil
		case "A":
			if kernel == "" {
				kernel = path(m[2], root)
				continue
			}
			args = append(args, m[2])
		case "I":
			initrds = append(initrds, path(m[2], m[3]))
		case "X":
			return "instead " + m[2]
		}
	}
	if kernel == "" {
		return "nothing: " + fmt.Sprintf("%q", out[max(0, len(out)-1500):])
	}
	s := kernel + " " + quote(args)
	for _, i := range initrds {
		s += " + " + i
	}
	return s
}
