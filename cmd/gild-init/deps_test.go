package main

import (
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
	module + "internal/server/":         "the server's side: its state and protocols are none of the machine's business",
	module + "internal/cli/":            "the front door is above",
	module + "internal/vm/":             "the machine runs no machines",
	module + "internal/golden/pack/":    "a machine receives images, it makes none",
	module + "internal/golden/source/":  "as pack: readers of foreign image formats",
	module + "internal/golden/store/":   "as pack: brings the OCI library",
	module + "internal/golden/fsread/":  "the kernel reads file systems here",
	module + "internal/golden/bootcfg/": "the image's config says how it boots",
	"github.com/spf13/cobra/":           "there is no command line",
	"go.etcd.io/":                       "state lives on the server",
	"google.golang.org/grpc/":           "comes with etcd",
	"oras.land/oras-go/v2/":             "pulling by digest takes three requests",
	"github.com/opencontainers/":        "brings regexp; golden has the few types",
	"github.com/danielgtaylor/huma/v2/": "the operator's API",
	"github.com/vbauerster/mpb/v8/":     "the console draws its own line",
	"github.com/u-root/u-root/":         "sysfs tells what SMBIOS says",
	"sigs.k8s.io/yaml/":                 "there is no configuration file",
	"text/template/":                    "1.6 MB, and defeats the linker's dead code elimination",
	"html/template/":                    "as text/template",
	"regexp/":                           "bloats; every grammar here is a few bytes",
	"expvar/":                           "nothing reads it",
	"net/http/pprof/":                   "a door nobody guards",
	"testing/":                          "test code in a program",
	"os/exec/":                          "the one program that is started, the rescue shell, has a fixed path",
	"os/user/":                          "there is one user",
	"debug/elf/":                        "brings DWARF and zlib; one header is looked at",
	"encoding/gob/":                     "comes only with a mistake",
	"plugin/":                           "needs a dynamic linker",
	"go/ast/":                           "comes only with a mistake",
}

func list(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v", strings.Join(args, " "), err)
	}
	return strings.Fields(string(out))
}

func TestDeps(t *testing.T) {
	closure := list(t, "-deps", ".")
	for name, why := range forbidden {
		for _, dep := range closure {
			if strings.HasPrefix(dep+"/", name) {
				t.Errorf("gild-init reaches %s: %s", dep, why)
			}
		}
	}
	t.Logf("%d packages", len(closure))
}

// A rule about a package that was renamed guards nothing.
func TestForbiddenExist(t *testing.T) {
	root := filepath.Join("..", "..")
	goMod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	std := list(t, "std")
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
