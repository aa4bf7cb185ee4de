package cli_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/clitest"
	"github.com/gild-dev/gild/internal/cli/exit"
)

// A shell completes names that are known, and shows nothing when no server is.
func TestCompletion(t *testing.T) {
	machines := append(clitest.Fleet(), api.Machine{ID: "x", Spec: api.Spec{Name: "$(reboot)"}})
	machines[1].Inventory = &api.Inventory{Disks: []api.Disk{
		{Name: "nvme0n1", Serial: "S4EW", Transport: "nvme"}, {Name: "sda", Serial: "a b", WWN: "0x5000"},
	}}
	f := clitest.NewFake(t, machines...)
	for line, want := range map[string]string{
		"flash|":                  "52:54:00:00:00:01 web-1 web-2 db-1.example.org",
		"cancel|web-1|":           "52:54:00:00:00:01 web-2 db-1.example.org",
		"machine|show|web-1|":     "",
		"power|off|web-1|":        "52:54:00:00:00:01 web-2 db-1.example.org",
		"power|boot-once|--from|": "disk network http cd",
		"flash|--image|":          "web db",
		"flash|--identity|":       "plain none",
		"watch|-l|":               "rack=b7 role=web",
		"flash|--handoff|":        "auto switch_root kexec reboot instant",
		"events|--machine|":       "52:54:00:00:00:01 web-1 web-2 db-1.example.org",
		"machine|edit|--image|":   "web db",
		"image|show|":             "web db",
		"image|show|web|":         "",
		"image|verify|web|":       "db",
		"group|rm|":               "rack-b7",
		"identity|rm|":            "plain",
		"flash|web-1|--disk|":     "largest name=nvme0n1 name=sda serial=S4EW smallest transport=nvme wwn=0x5000",
		"flash|--disk|":           "largest name=nvme0n1 name=sda smallest transport=nvme",
		"flash|web-2|--disk|":     "largest smallest",
		"serve|--dhcp|":           "auto server proxy off",
		"flash|--server|ftp:||":   "",
		"flash|--server|http:x||": "",
	} {
		got := gild.Ask(t, f, append([]string{"__completeNoDesc"}, strings.Split(line, "|")...)...)
		words := strings.Fields(got.Stdout)
		if len(words) > 0 {
			words = words[:len(words)-1] // the directive
		}
		if strings.Join(words, " ") != want {
			t.Errorf("completing %q = %q; want %q", line, words, want)
		}
	}
}

func TestCompletionInBash(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is not installed")
	}
	f := clitest.NewFake(t, clitest.Fleet()...)
	dir := t.TempDir()
	for _, shell := range []string{"bash", "zsh", "fish"} {
		got := gild.Ask(t, f, "completion", shell)
		if got.Code != exit.CodeOK || got.Stdout == "" {
			t.Fatalf("completion %s: %+v", shell, got)
		}
		path := filepath.Join(dir, shell)
		if err := os.WriteFile(path, []byte(got.Stdout), 0o644); err != nil {
			t.Fatal(err)
		}
		if program, err := exec.LookPath(shell); err == nil {
			clitest.Tool(t, "", program, "-n", path)
		}
	}
	// The script calls the program by the name on the command line, which in
	// the place of a program can be a function.
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "gild")); err != nil {
		t.Fatal(err)
	}
	script := `
_get_comp_words_by_ref() { words=("${COMP_WORDS[@]}"); cword=$COMP_CWORD; cur=${words[cword]}; prev=${words[cword-1]}; }
__ltrim_colon_completions() { :; }
compopt() { :; }
source "$1/bash"
COMP_WORDS=(gild flash web) COMP_CWORD=2 COMP_LINE="gild flash web" COMP_POINT=14
__start_gild
printf '%s\n' "${COMPREPLY[@]}"
`
	cmd := exec.CommandContext(t.Context(), bash, "--norc", "-c", script, "bash", dir)
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "GILD_SERVER="+f.URL, "GILD_DATA="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if words := strings.Fields(string(out)); err != nil || len(words) != 2 || words[0] != "web-1" || words[1] != "web-2" {
		t.Errorf("bash completes gild flash web to %q, %v; want web-1 and web-2", out, err)
	}
}

func TestManPages(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	dirs := []string{t.TempDir(), t.TempDir()}
	for _, dir := range dirs {
		if got := gild.Run(t, t.TempDir(), nil, "man", dir); got.Code != exit.CodeOK {
			t.Fatalf("%+v", got)
		}
	}
	if a, b := clitest.Listing(dirs[0]), clitest.Listing(dirs[1]); a != b || !strings.Contains(a, "gild-machine-edit.1") {
		t.Errorf("two runs wrote\n%s\n%s", a, b)
	}
	page, err := os.ReadFile(filepath.Join(dirs[0], "gild-flash.1"))
	if err != nil || !bytes.Contains(page, []byte(".TH")) || !bytes.Contains(page, []byte("--wipe")) {
		t.Errorf("gild-flash.1 = %.200q, %v", page, err)
	}
	man, err := exec.LookPath("man")
	if err != nil {
		t.Skip("man is not installed")
	}
	for page, want := range map[string]string{
		"gild-flash.1":     "SYNOPSIS",
		"gild-selectors.7": "rack in (b7,b8)    label rack is one of these",
		// Lines stay lines, and nothing in them is a request.
		"gild-disk-rules.7": "serial=S4EWNX0R    wwn=0x5000c500a1b2c3d4    name=nvme0n1\n",
	} {
		cmd := exec.CommandContext(t.Context(), man, "--warnings", "-l", filepath.Join(dirs[0], page))
		cmd.Env = append(os.Environ(), "MANWIDTH=100")
		out, err := cmd.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte(want)) || bytes.Contains(out, []byte("warning:")) {
			t.Errorf("man %s = %s, %v; want %q", page, out, err, want)
		}
	}
}

// A directory of section 1 gets no pages of section 7.
func TestManTopicsBesideSectionOne(t *testing.T) {
	dir := t.TempDir()
	if got := gild.Run(t, t.TempDir(), nil, "man", filepath.Join(dir, "man1")); got.Code != exit.CodeOK {
		t.Fatalf("%+v", got)
	}
	for path, want := range map[string]int{"man1/*.7": 0, "man7/*.7": 2, "man7/*.1": 0} {
		if got, _ := filepath.Glob(filepath.Join(dir, path)); len(got) != want {
			t.Errorf("%s: %q; want %d", path, got, want)
		}
	}
}

func TestTopics(t *testing.T) {
	for topic, text := range map[string]string{"selectors": "rack!=b7", "disk-rules": "size>=400G", "identity": "sshHostKeys"} {
		got := gild.Run(t, t.TempDir(), nil, "help", topic)
		if got.Code != exit.CodeOK || !strings.Contains(got.Stdout, text) {
			t.Errorf("help %s: %+v; want %q", topic, got, text)
		}
		about, _, _ := strings.Cut(got.Stdout, "Usage:")
		for line := range strings.Lines(about) {
			if len(line) > 81 {
				t.Errorf("help %s: a line of %d: %s", topic, len(line), line)
			}
		}
	}
}
