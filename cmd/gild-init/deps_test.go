package main

import (
	"flag"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/gild-dev/gild/"

// forbidden is what PID 1 must never reach, and why. A name that ends in "/"
// means everything below it too.
var forbidden = map[string]string{
	module + "internal/server/":             "the server's side: its state and protocols are none of the machine's business",
	module + "internal/cli/":                "the front door is above",
	module + "internal/api/operatorclient/": "an agent asks nothing that operators ask",
	module + "internal/vm/":                 "the machine runs no machines",
	module + "internal/golden/pack/":        "a machine receives images, it makes none",
	module + "internal/golden/source/":      "as pack: readers of foreign image formats",
	module + "internal/golden/store/":       "as pack: brings the OCI library",
	module + "internal/golden/fsread/":      "the kernel reads file systems here",
	module + "internal/golden/bootcfg/":     "the image's config says how it boots",
	"github.com/spf13/cobra/":               "there is no command line",
	"go.etcd.io/":                           "state lives on the server",
	"google.golang.org/grpc/":               "comes with etcd",
	"oras.land/oras-go/v2/":                 "pulling by digest takes three requests",
	"github.com/opencontainers/":            "brings regexp; golden has the few types",
	"github.com/danielgtaylor/huma/v2/":     "the operator's API",
	"github.com/vbauerster/mpb/v8/":         "the console draws its own line",
	"github.com/u-root/u-root/":             "sysfs tells what SMBIOS says",
	"sigs.k8s.io/yaml/":                     "there is no configuration file",
	"text/template/":                        "1.6 MB, and defeats the linker's dead code elimination",
	"html/template/":                        "as text/template",
	"regexp/":                               "bloats; every grammar here is a few bytes",
	"expvar/":                               "nothing reads it",
	"net/http/pprof/":                       "a door nobody guards",
	"testing/":                              "test code in a program",
	"os/exec/":                              "the one program that is started, the rescue shell, has a fixed path",
	"os/user/":                              "there is one user",
	"debug/elf/":                            "brings DWARF and zlib; one header is looked at",
	"encoding/gob/":                         "comes only with a mistake",
	"plugin/":                               "needs a dynamic linker",
	"go/ast/":                               "comes only with a mistake",
}

// architectures are those that the Makefile builds for.
var architectures = []string{"amd64", "arm64"}

// buildTags are those of the Makefile: with others other packages would be
// linked.
func buildTags(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "\nAGENTTAGS ")
	tags, _, _ := strings.Cut(rest, "\n")
	if tags = strings.TrimLeft(tags, " ="); !ok || tags == "" {
		t.Fatal("the Makefile does not set AGENTTAGS")
	}
	return tags
}

func list(t *testing.T, arch string, args ...string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v", strings.Join(args, " "), err)
	}
	return strings.Fields(string(out))
}

// closure returns every package that the agent links, with the architectures
// that it is linked for.
func closure(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, arch := range architectures {
		for _, name := range list(t, arch, "-tags", buildTags(t), "-deps", ".") {
			all[name] = append(all[name], arch)
		}
	}
	return all
}

func TestForbidden(t *testing.T) {
	linked := closure(t)
	for name, why := range forbidden {
		for dep := range linked {
			if strings.HasPrefix(dep+"/", name) {
				t.Errorf("gild-init reaches %s: %s", dep, why)
			}
		}
	}
}

// allowedFile lists what the agent may link, a package a line:
//
//	name [architecture] # reason
//
// Without an architecture it is linked for all of them.
const allowedFile = "packages.txt"

// founders is how many packages of the list have no reason: those that were
// linked when it was begun. They can only become fewer.
const founders = 256

var update = flag.Bool("update", false, "write what is linked to "+allowedFile+"; the reasons of what is new are yours to add")

// allowed is one line of the list.
type allowed struct{ arch, reason string }

func readAllowed(t *testing.T) map[string]allowed {
	t.Helper()
	text, err := os.ReadFile(allowedFile)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]allowed{}
	for line := range strings.Lines(string(text)) {
		entry, reason, _ := strings.Cut(strings.TrimSpace(line), "#")
		fields := strings.Fields(entry)
		switch len(fields) {
		case 0: // a comment
		case 1:
			all[fields[0]] = allowed{reason: strings.TrimSpace(reason)}
		default:
			all[fields[0]] = allowed{arch: strings.Trim(fields[1], "[]"), reason: strings.TrimSpace(reason)}
		}
	}
	return all
}

// only is the one architecture that a package is linked for; empty for all.
func only(archs []string) string {
	if len(archs) == len(architectures) {
		return ""
	}
	return archs[0]
}

// The agent is PID 1 of every machine: whatever it links, somebody has decided.
func TestClosure(t *testing.T) {
	linked, list := closure(t), readAllowed(t)
	if *update {
		writeAllowed(t, linked, list)
		list = readAllowed(t)
	}
	without := 0
	for name, archs := range linked {
		entry, ok := list[name]
		switch {
		case !ok:
			t.Errorf("gild-init links %s, which %s does not list: is it worth it? go test ./cmd/gild-init -update adds it; give it a reason", name,
				allowedFile)
		case entry.arch != only(archs):
			t.Errorf("gild-init links %s for %v; %s has %q", name, archs, allowedFile, entry.arch)
		case entry.reason == "":
			without++
		}
	}
	for name := range list {
		if _, ok := linked[name]; !ok {
			t.Errorf("%s lists %s, which gild-init does not link (any more): go test ./cmd/gild-init -update removes it", allowedFile, name)
		}
	}
	if without != founders {
		t.Errorf("%d packages of %s have no reason; want the %d of its beginning: a new one needs a reason, and what has gone lowers the number",
			without, allowedFile, founders)
	}
}

func writeAllowed(t *testing.T, linked map[string][]string, old map[string]allowed) {
	t.Helper()
	var out strings.Builder
	out.WriteString("# What gild-init links. TestClosure holds it to this list; a new line needs a reason:\n# name [architecture] # reason\n")
	for _, name := range slices.Sorted(maps.Keys(linked)) {
		out.WriteString(name)
		if arch := only(linked[name]); arch != "" {
			out.WriteString(" [" + arch + "]")
		}
		if reason := old[name].reason; reason != "" {
			out.WriteString(" # " + reason)
		}
		out.WriteString("\n")
	}
	if err := os.WriteFile(allowedFile, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A rule about a package that was renamed guards nothing.
func TestForbiddenExist(t *testing.T) {
	root := filepath.Join("..", "..")
	goMod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	std := list(t, architectures[0], "std")
	for name := range forbidden {
		bare := strings.TrimSuffix(name, "/")
		switch own, ours := strings.CutPrefix(bare, module); {
		case ours:
			if info, err := os.Stat(filepath.Join(root, own)); err != nil || !info.IsDir() {
				t.Errorf("%s does not exist (any more)", bare)
			}
		case strings.Contains(strings.SplitN(bare, "/", 2)[0], "."):
			if !strings.Contains(string(goMod), bare) {
				t.Errorf("no module of go.mod is, or is below, %s", bare)
			}
		case !slices.Contains(std, bare):
			t.Errorf("%s is not in the standard library", bare)
		}
	}
}
