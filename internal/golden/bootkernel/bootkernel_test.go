package bootkernel

import (
	"errors"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/golden"
)

func named(name, arch, release string) *BootKernel {
	return &BootKernel{Name: name, Config: Config{Arch: arch, Release: release}}
}

func TestChoose(t *testing.T) {
	all := []*BootKernel{
		named("a", "amd64", "6.1.0-9-amd64"), named("b", "amd64", "6.1.0-10-amd64"), named("c", "arm64", "6.12"),
		named("d", "amd64", "5.10"),
	}
	for _, tt := range []struct{ name, arch, want string }{
		{"", "amd64", "b"},
		{"d", "amd64", "d"},
		{"d", "arm64", "c"}, // what is named is for other machines
		{"gone", "amd64", "b"},
		{"", "riscv64", ""},
	} {
		k, err := Choose(all, tt.name, tt.arch)
		if tt.want == "" {
			if none, ok := errors.AsType[*NoneError](err); !ok || none.Hint() == "" {
				t.Errorf("Choose(%q, %s) = %v; want a NoneError", tt.name, tt.arch, err)
			}
			continue
		}
		if err != nil || k.Name != tt.want {
			t.Errorf("Choose(%q, %s) = %+v, %v; want %s", tt.name, tt.arch, k, err, tt.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good := golden.Descriptor{MediaType: golden.MediaTypeKernel, Digest: golden.DigestOf([]byte("k")), Size: 1}
	modules := golden.Descriptor{MediaType: golden.MediaTypeModules, Digest: golden.DigestOf([]byte("m")), Size: 1}
	for name, tt := range map[string]struct {
		config  string
		kernel  golden.Descriptor
		replace string // of the artifact type
		says    string
	}{
		"sound":        {`{"arch":"amd64","release":"6.1"}`, good, "", ""},
		"no release":   {`{"arch":"amd64"}`, good, "", "names no architecture or no release"},
		"no JSON":      {`x`, good, "", "config"},
		"another type": {`{"arch":"amd64","release":"6.1"}`, good, "application/vnd.other", "no boot kernel"},
		"an empty kernel": {
			`{"arch":"amd64","release":"6.1"}`,
			golden.Descriptor{MediaType: good.MediaType, Digest: good.Digest},
			"",
			"has 0 bytes",
		},
		"a wrong digest": {
			`{"arch":"amd64","release":"6.1"}`,
			golden.Descriptor{MediaType: good.MediaType, Digest: "../x", Size: 1},
			"",
			"digest",
		},
		"no kernel": {`{"arch":"amd64","release":"6.1"}`, modules, "", "no such part"},
	} {
		config := golden.Descriptor{MediaType: MediaTypeConfig, Digest: golden.DigestOf([]byte(tt.config)), Size: int64(len(tt.config))}
		p, err := Manifest(config, tt.kernel, modules)
		if err != nil {
			t.Fatal(err)
		}
		if tt.replace != "" {
			p = []byte(strings.Replace(string(p), ArtifactType, tt.replace, 1))
		}
		_, err = Parse(golden.DigestOf(p), p, func(golden.Digest, int64) ([]byte, error) { return []byte(tt.config), nil })
		if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: Parse = %v; want %q", name, err, tt.says)
		}
	}
	if _, err := Parse(golden.DigestOf([]byte("other")), []byte("{}"), nil); err == nil {
		t.Error("Parse of a manifest with another digest = nil; want an error")
	}
}
