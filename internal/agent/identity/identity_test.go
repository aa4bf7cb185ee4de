package identity

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/tier"
)

// image makes a root with what a distribution would have there. Names that end
// in "/" are directories.
func image(t *testing.T, files map[string]string) string {
	t.Helper()
	tier.Root(t, "files of other owners need root")
	dir := t.TempDir()
	base := map[string]string{
		"etc/passwd":                   "root:x:0:0:root:/root:/bin/bash\nops:x:1000:1001::/home/ops:/bin/sh\nbroken\nlost:x:12:12::/nowhere:\n",
		"etc/group":                    "root:x:0:\nops:x:1001:\nadm:x:4:ops\n",
		"etc/hosts":                    "127.0.0.1\tlocalhost\n127.0.1.1\tgolden\n::1\tlocalhost\n",
		"etc/machine-id":               "0123456789abcdef0123456789abcdef\n",
		"etc/ssh/ssh_host_rsa_key":     "the image's own",
		"etc/ssh/ssh_host_rsa_key.pub": "the image's own",
		"etc/ssh/sshd_config":          "",
		"usr/sbin/sshd":                "",
		"usr/lib/systemd/systemd":      "",
		"var/lib/systemd/random-seed":  "seed",
		"root/":                        "",
		"home/ops/":                    "",
	}
	for _, m := range []map[string]string{base, files} {
		for name, content := range m {
			path := filepath.Join(dir, name)
			if strings.HasSuffix(name, "/") {
				must(t, os.MkdirAll(path, 0o755))
				continue
			}
			must(t, os.MkdirAll(filepath.Dir(path), 0o755))
			must(t, os.WriteFile(path, []byte(content), 0o644))
		}
	}
	must(t, os.Chown(filepath.Join(dir, "home/ops"), 1000, 1001))
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	p, err := os.ReadFile(filepath.Join(dir, name))
	must(t, err)
	return string(p)
}

func apply(t *testing.T, dir string, id api.Identity) []string {
	t.Helper()
	notes, err := Write(dir, Job{Identity: id, Plan: "PLAN1", MAC: "52:54:00:00:00:01"})
	must(t, err)
	return notes
}

func TestNameAndMachineID(t *testing.T) {
	dir := image(t, nil)
	must(t, os.MkdirAll(filepath.Join(dir, "var/lib/dbus"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "var/lib/dbus/machine-id"), []byte("old\n"), 0o644))
	apply(t, dir, api.Identity{Hostname: "web-1.example.org"})
	if got := read(t, dir, "etc/hostname"); got != "web-1.example.org\n" {
		t.Errorf("hostname = %q", got)
	}
	if diff := cmp.Diff("127.0.0.1\tlocalhost\n127.0.1.1 web-1.example.org web-1\n::1\tlocalhost\n", read(t, dir, "etc/hosts")); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
	if got := read(t, dir, "etc/machine-id"); got != "" {
		t.Errorf("machine-id = %q; want an empty file, by which systemd draws one", got)
	}
	if target, err := os.Readlink(filepath.Join(dir, "var/lib/dbus/machine-id")); err != nil || target != "/etc/machine-id" {
		t.Errorf("D-Bus's machine-id leads to %q, %v", target, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "var/lib/systemd/random-seed")); !os.IsNotExist(err) {
		t.Errorf("the image's random seed is still there: %v", err)
	}
	apply(t, dir, api.Identity{MachineID: "keep"})
	apply(t, dir, api.Identity{MachineID: strings.Repeat("ab", 16)})
	if got := read(t, dir, "etc/machine-id"); got != strings.Repeat("ab", 16)+"\n" {
		t.Errorf("machine-id = %q; want the one given", got)
	}
}

// ssh-keygen judges the keys.
func TestHostKeys(t *testing.T) {
	keygen, err := exec.LookPath("ssh-keygen")
	if err != nil {
		t.Skip("no ssh-keygen: apt-get install openssh-client")
	}
	dir := image(t, nil)
	seen := map[string]bool{}
	for range 3 {
		apply(t, dir, api.Identity{Hostname: "web-1"})
		for _, kind := range []string{"ed25519"} {
			key := filepath.Join(dir, "etc/ssh/ssh_host_"+kind+"_key")
			st, err := os.Stat(key)
			must(t, err)
			if st.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %v", kind, st.Mode())
			}
			public, err := exec.Command(keygen, "-y", "-P", "", "-f", key).Output()
			must(t, err)
			if got := read(t, dir, "etc/ssh/ssh_host_"+kind+"_key.pub"); strings.TrimSpace(got) != strings.TrimSpace(string(public)) {
				t.Errorf("public half of %s is %q; ssh-keygen says %q", kind, got, public)
			}
			print, err := exec.Command(keygen, "-l", "-f", key).Output()
			must(t, err)
			if seen[string(print)] {
				t.Errorf("the same %s key twice: %s", kind, print)
			}
			seen[string(print)] = true
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "etc/ssh/ssh_host_rsa_key")); !os.IsNotExist(err) {
		t.Error("the image's own host key is still there")
	}
	dir = image(t, nil)
	apply(t, dir, api.Identity{SSHHostKeys: "keep"})
	if got := read(t, dir, "etc/ssh/ssh_host_rsa_key"); got != "the image's own" {
		t.Errorf("kept host key = %q", got)
	}
}

func TestFilesAndOwners(t *testing.T) {
	dir := image(t, nil)
	apply(t, dir, api.Identity{
		AuthorizedKeys: map[string][]string{"ops": {"ssh-ed25519 AAAA a", "ssh-ed25519 BBBB b"}, "root": {"ssh-ed25519 CCCC c"}},
		Files: []api.File{
			{Path: "/etc/motd", Content: "hello\n"},
			{Path: "/srv/new/dir/run", Content: "#!/bin/sh\n", Mode: "4750", Owner: "ops", Group: "adm"},
		},
		Credentials: map[string]string{"db.password": "s3cret"},
		CloudInit:   &api.CloudInit{UserData: "#cloud-config\n"},
	})
	for _, tt := range []struct {
		name     string
		mode     os.FileMode
		uid, gid uint32
		content  string
	}{
		{"home/ops/.ssh", os.ModeDir | 0o700, 1000, 1001, ""},
		{"home/ops/.ssh/authorized_keys", 0o600, 1000, 1001, "ssh-ed25519 AAAA a\nssh-ed25519 BBBB b\n"},
		{"root/.ssh/authorized_keys", 0o600, 0, 0, "ssh-ed25519 CCCC c\n"},
		{"etc/motd", 0o644, 0, 0, "hello\n"},
		{"srv/new/dir", os.ModeDir | 0o755, 0, 0, ""},
		{"srv/new/dir/run", os.ModeSetuid | 0o750, 1000, 4, "#!/bin/sh\n"},
		{"etc/credstore", os.ModeDir | 0o700, 0, 0, ""},
		{"etc/credstore/db.password", 0o600, 0, 0, "s3cret"},
		{"var/lib/cloud/seed/nocloud/user-data", 0o600, 0, 0, "#cloud-config\n"},
		{"var/lib/cloud/seed/nocloud/meta-data", 0o600, 0, 0, "instance-id: gild-plan1\n"},
	} {
		st, err := os.Lstat(filepath.Join(dir, tt.name))
		if err != nil {
			t.Error(err)
			continue
		}
		sys := st.Sys().(*syscall.Stat_t)
		if st.Mode() != tt.mode || sys.Uid != tt.uid || sys.Gid != tt.gid {
			t.Errorf("%s: %v, %d:%d; want %v, %d:%d", tt.name, st.Mode(), sys.Uid, sys.Gid, tt.mode, tt.uid, tt.gid)
		}
		if !st.IsDir() && read(t, dir, tt.name) != tt.content {
			t.Errorf("%s holds %q; want %q", tt.name, read(t, dir, tt.name), tt.content)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name string
		id   api.Identity
		want string
	}{
		{"unknown user", api.Identity{AuthorizedKeys: map[string][]string{"eve": {"k"}}}, `no user "eve"`},
		{"user without a home", api.Identity{AuthorizedKeys: map[string][]string{"lost": {"k"}}}, "no home directory"},
		{"unknown group", api.Identity{Files: []api.File{{Path: "/a", Group: "wheel"}}}, `no group "wheel"`},
		{"mode", api.Identity{Files: []api.File{{Path: "/a", Mode: "99"}}}, "not octal"},
		{"no network manager", api.Identity{Network: []api.Link{{DHCP: true}}}, "none of netplan"},
	} {
		_, err := Write(image(t, nil), Job{Identity: tt.id})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want %q", tt.name, err, tt.want)
		}
	}
}

// Links of a hostile image lead nowhere but inside it.
func TestHostileLinks(t *testing.T) {
	outside := t.TempDir()
	for _, name := range []string{"hostname", "motd", "ssh_host_rsa_key"} {
		must(t, os.WriteFile(filepath.Join(outside, name), []byte("untouched"), 0o644))
	}
	up := strings.Repeat("../", 40)
	for _, target := range []string{outside, up + outside, "/proc/self/root" + outside} {
		dir := image(t, nil)
		link := func(name, to string) {
			path := filepath.Join(dir, name)
			must(t, os.RemoveAll(path))
			must(t, os.MkdirAll(filepath.Dir(path), 0o755))
			must(t, os.Symlink(to, path))
		}
		link("etc/hostname", target+"/hostname") // a file that is replaced
		link("etc/ssh", target)                  // a directory that is emptied
		link("srv", target)                      // a directory that is written to
		link("home/ops/.ssh", target)
		link("etc/credstore", target)
		_, err := Write(dir, Job{Identity: api.Identity{
			Hostname: "web-1", Files: []api.File{{Path: "/srv/motd", Content: "evil"}},
			AuthorizedKeys: map[string][]string{"ops": {"evil"}}, Credentials: map[string]string{"c": "evil"},
		}})
		t.Logf("%s: %v", target, err)
		left, err := os.ReadDir(outside)
		must(t, err)
		if len(left) != 3 {
			t.Errorf("%s: %d files outside; want the 3 that were there", target, len(left))
		}
		for _, name := range []string{"hostname", "motd", "ssh_host_rsa_key"} {
			if got := read(t, outside, name); got != "untouched" {
				t.Errorf("%s: %s outside holds %q", target, name, got)
			}
		}
	}
}

func TestWriteAgainIsTheSame(t *testing.T) {
	dir := image(t, map[string]string{
		"lib/systemd/systemd-networkd": "", "lib/systemd/system/systemd-networkd.service": "",
		"usr/bin/curl": "",
	})
	id := api.Identity{
		Hostname: "web-1", SSHHostKeys: "keep", Network: []api.Link{{DHCP: true}}, BeaconURL: "http://10.0.0.1:8080/agent/v1/running/TOKEN",
		Files: []api.File{{Path: "/etc/motd", Content: "hello\n"}},
	}
	snapshot := func() string {
		out, err := exec.Command("find", dir, "!", "-type", "d", "-printf", "%P %m %U %G %l\n", "-exec", "cksum", "{}", ";").Output()
		must(t, err)
		return string(out)
	}
	apply(t, dir, id)
	first := snapshot()
	apply(t, dir, id)
	if diff := cmp.Diff(first, snapshot()); diff != "" {
		t.Errorf("writing again changed (-first +second):\n%s", diff)
	}
}

// No content reaches what is told.
func TestNotesHoldNoSecrets(t *testing.T) {
	const canary = "canary-5e7a"
	notes, err := Write(image(t, nil), Job{Identity: api.Identity{
		Files:       []api.File{{Path: "/etc/a", Content: canary}, {Path: "/etc/b", Content: canary, Owner: "nobody-here"}},
		Credentials: map[string]string{"c": canary}, CloudInit: &api.CloudInit{UserData: canary},
		BeaconURL: "http://10.0.0.1:8080/agent/v1/running/" + canary,
	}})
	if err == nil {
		t.Fatal("an unknown owner is no error")
	}
	if text := strings.Join(notes, "\n") + err.Error(); strings.Contains(text, canary) {
		t.Errorf("told: %s", text)
	}
}

func FuzzAccounts(f *testing.F) {
	f.Add("root:x:0:0:root:/root:/bin/sh\n")
	f.Add("a:b:99999999999999:1\n:::\n")
	f.Fuzz(func(t *testing.T, text string) {
		for name, a := range accounts(text) {
			if a.id < 0 || a.group < 0 {
				t.Errorf("account %q has a negative number", name)
			}
		}
	})
}

func FuzzWithHost(f *testing.F) {
	f.Add("127.0.0.1 localhost\n127.0.1.1 golden\n")
	f.Add("")
	f.Fuzz(func(t *testing.T, hosts string) {
		got := withHost(hosts, "127.0.1.1", "web-1")
		if again := withHost(got, "127.0.1.1", "web-1"); again != got {
			t.Errorf("withHost of its own answer changed it:\n%q\n%q", got, again)
		}
	})
}
