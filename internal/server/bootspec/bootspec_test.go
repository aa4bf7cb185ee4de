package bootspec

import (
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/initramfs"
	"github.com/gild-dev/gild/internal/initramfs/agentbin"
	"github.com/gild-dev/gild/internal/server/bootspec/bootspectest"
)

// A gild without the agent must say so to the operator, not to each machine.
func TestCheckAsksForTheAgents(t *testing.T) {
	for _, tt := range []struct {
		name   string
		images map[string]string
		with   []string
		ok     bool
	}{
		{"no agent, no image", nil, nil, true},
		{"no agent, no kernel", map[string]string{"a": ""}, nil, true},
		{"no agent", map[string]string{"a": "", "b": "amd64"}, nil, false},
		{"another agent", map[string]string{"a": "arm64"}, []string{"amd64"}, false},
		{"the agent", map[string]string{"a": "amd64"}, []string{"amd64"}, true},
	} {
		f := &Files{Store: bootspectest.Store(t, tt.images), Agent: bootspectest.Agents(tt.with...), Dir: t.TempDir()}
		err := f.Check()
		missing, ok := errors.AsType[*agentbin.MissingError](err)
		if (err == nil) != tt.ok || err != nil && (!ok || missing.Hint() == "") {
			t.Errorf("%s: Check = %v; want ok %v, or a MissingError", tt.name, err, tt.ok)
		}
	}
}

// What a script names is there, under the names that it was given.
func TestSpecNamesItsFiles(t *testing.T) {
	st := bootspectest.Store(t, map[string]string{"a": "amd64"})
	f := &Files{Store: st, Agent: bootspectest.Agents("amd64"), Dir: t.TempDir()}
	im, err := st.Image("a")
	if err != nil {
		t.Fatal(err)
	}
	s, err := f.Spec(t.Context(), Question{Image: im.Digest, Servers: []string{"http://s", "http://t"}, Ticket: "tkt"})
	if err != nil {
		t.Fatal(err)
	}
	if want := "gild.server=http://s,http://t gild.ticket=tkt ro"; s.Cmdline != want || s.Release != "6.1" || s.Arch != "amd64" {
		t.Errorf("Spec = %+v; want the command line %q", s, want)
	}
	if want := "/boot/" + string(im.Digest) + "/kernel"; s.Kernel() != want {
		t.Errorf("Kernel() = %q; want %q", s.Kernel(), want)
	}
	if path, stamp, _ := strings.Cut(s.Initramfs(), "?v="); path != "/boot/"+string(im.Digest)+"/initramfs" || stamp == "" {
		t.Errorf("Initramfs() = %q", s.Initramfs())
	}
	for file, want := range map[string]bool{Kernel: true, Initramfs: true, "": false, "../kernel": false} {
		opened, err := f.Open(t.Context(), s.Source, file)
		if !want {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Open(%q) = %v; want fs.ErrNotExist", file, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		p, err := io.ReadAll(opened)
		opened.Close()
		if err != nil || len(p) == 0 || opened.Tag == "" || file == Kernel && string(p) != "kernel of a" {
			t.Errorf("Open(%q) has %d bytes, tag %q, %v", file, len(p), opened.Tag, err)
		}
	}
}

// The initramfs holds the CA, and another CA makes another initramfs.
func TestInitramfsHoldsTheCA(t *testing.T) {
	st := bootspectest.Store(t, map[string]string{"a": "amd64"})
	im, err := st.Image("a")
	if err != nil {
		t.Fatal(err)
	}
	stamps := map[string]bool{}
	for _, ca := range []string{"", "CA one\n", "CA two\n"} {
		f := &Files{Store: st, Agent: bootspectest.Agents("amd64"), CA: []byte(ca)}
		src, err := f.bySource(im.Digest)
		if err != nil {
			t.Fatal(err)
		}
		parts, err := f.parts(src)
		if err != nil {
			t.Fatal(err)
		}
		var want []initramfs.File
		if ca != "" {
			want = []initramfs.File{{Name: api.FileCA, Data: []byte(ca)}}
		}
		if diff := cmp.Diff(want, parts.Extra); diff != "" {
			t.Errorf("with the CA %q (-want +got):\n%s", ca, diff)
		}
		s, err := f.Spec(t.Context(), Question{Image: im.Digest})
		if err != nil {
			t.Fatal(err)
		}
		stamps[s.Initramfs()] = true
	}
	if len(stamps) != 3 {
		t.Errorf("%d names for the initramfs of three CAs", len(stamps))
	}
}

// Whatever keeps a machine from booting is said before it is armed.
func TestBootable(t *testing.T) {
	st := bootspectest.Store(t, map[string]string{"plain": "", "foreign": "riscv64", "line": "amd64", "good": "amd64"})
	bootspectest.GiveBoot(t, st, "line", golden.Boot{Arch: "amd64", KernelRelease: "6.1", Cmdline: "a=$b"})
	f := &Files{Store: st, Agent: bootspectest.Agents("amd64")}
	for name, says := range map[string]string{"plain": "no kernel", "foreign": "agent for riscv64", "line": "cannot be passed", "good": ""} {
		im, err := st.Image(name)
		if err != nil {
			t.Fatal(err)
		}
		err = f.Bootable(im.Digest)
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("Bootable(%s) = %v; want %q", name, err, says)
		}
	}
	if err := f.Bootable(golden.DigestOf([]byte("other"))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Bootable of what is not stored = %v; want fs.ErrNotExist", err)
	}
}

func TestCmdline(t *testing.T) {
	for _, tt := range []struct {
		image  string
		rescue bool
		want   string
	}{
		{"", false, "gild.server=http://s"},
		{" root=UUID=1  ro ", false, "gild.server=http://s root=UUID=1 ro"},
		{"gild.server=http://evil gild.rescue quiet", false, "gild.server=http://s quiet"},
		{"rdinit=/bin/sh initrd=x BOOT_IMAGE=/v init=/sbin/init", false, "gild.server=http://s init=/sbin/init"},
		{"console=ttyS0,115200n8", true, "gild.server=http://s gild.rescue console=ttyS0,115200n8"},
		{"a=1\nboot", false, "gild.server=http://s a=1 boot"},
	} {
		if got, err := cmdline(tt.image, Question{Servers: []string{"http://s"}}, tt.rescue); got != tt.want || err != nil {
			t.Errorf("cmdline(%q) = %q, %v; want %q", tt.image, got, err, tt.want)
		}
	}
	for _, bad := range []string{"a=${net0/mac}", "a && b", "a;b", "a|b", "#c", "ü", "a\x00b", strings.Repeat("a ", 1100)} {
		if got, err := cmdline(bad, Question{Servers: []string{"http://s"}}, false); err == nil {
			t.Errorf("cmdline(%.40q) = %.40q, nil; want an error", bad, got)
		}
	}
}
