package bootcfg

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/disk/mounttest"
	"github.com/gild-dev/gild/internal/tier"
)

// bootctl puts entries in the order of systemd-boot and says which is the
// default. Of ids it shows no counters, and it keeps bad entries in the list.
func TestBootctl(t *testing.T) {
	// make test does not install it: its package makes itself the boot loader of
	// a host that has an EFI system partition.
	bootctl, err := exec.LookPath("bootctl")
	if err != nil {
		t.Skip("bootctl is not installed (apt-get install systemd-boot, where that may become the boot loader)")
	}
	tier.Root(t, "a file system of its own needs root")
	esp := t.TempDir()
	mounttest.Do(t, func() {
		if err := unix.Mount("esp", esp, "tmpfs", 0, "size=1m"); err != nil {
			t.Fatal(err)
		}
		for _, n := range []string{
			"a-1", "b-1.9", "b-1.10", "c+0-3", "c2+2-1", "s1 z 1", "s2 z 2", "s3 a", "sbad+0-1 a", "m1 z 1 bbbb",
			"x-6.8.0-rc1", "x-6.8.0", "y-5.14.0-427.el9", "y-5.14.0-427.13.1.el9_4", "t1 k 1~rc1", "t2 k 1", "t3 k 1^git", "t4 k 1.0",
		} {
			f := strings.Fields(n)
			text := "title " + f[0] + "\nlinux /linux\n"
			for i, key := range []string{"sort-key", "version", "machine-id"} {
				if len(f) > i+1 {
					text += key + " " + f[i+1] + "\n"
				}
			}
			write(t, filepath.Join(esp, "loader/entries", f[0]+".conf"), text)
		}
		write(t, filepath.Join(esp, "linux"), "k")
		volume := Volume{FS: os.DirFS(esp)}
		f := &finder{disk: &Disk{Volumes: []Volume{volume}}}
		entries := sdBoot{f}.bootEntries(&f.disk.Volumes[0], ".")
		slices.SortStableFunc(entries, compareEntries)
		var got, want []string
		for _, e := range entries {
			plain, _, _ := cutCounter(e.id)
			got = append(got, plain)
		}
		decoder := json.NewDecoder(strings.NewReader(list(t, bootctl, esp, "--json=short")))
		for {
			var e struct{ ID string }
			if err := decoder.Decode(&e); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			want = append(want, e.ID)
		}
		if len(want) != 18 || !slices.Equal(got, want) {
			t.Errorf("order %q\nbootctl %q", got, want)
		}
		for _, def := range []string{"b-*", "B-1.9.CONF", "b-1.9", "c*", "s?.conf", "[st]2.conf", "none", "c.conf", "c2.conf"} {
			conf := "timeout 3\ndefault " + def + "\n"
			write(t, filepath.Join(esp, "loader/loader.conf"), conf)
			chosen, _, _ := cutCounter(sdBoot{f}.pick(&outcome{}, &f.disk.Volumes[0], entries, "loader.conf", loaderConf(conf)).id)
			var want string
			for block := range strings.SplitSeq(list(t, bootctl, esp), "\n\n") {
				if _, id, ok := strings.Cut(block, " id: "); ok && strings.Contains(block, "(default)") {
					want, _, _ = strings.Cut(id, "\n")
				}
			}
			if chosen != want {
				t.Errorf("default %q: %s; bootctl takes %s", def, chosen, want)
			}
		}
	})
}

func write(t *testing.T, name, text string) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(name), 0o755)
	if err == nil {
		err = os.WriteFile(name, []byte(text), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func list(t *testing.T, bootctl, esp string, args ...string) string {
	t.Helper()
	cmd := exec.Command(bootctl, append([]string{"--esp-path=" + esp, "list"}, args...)...)
	cmd.Env = append(os.Environ(), "SYSTEMD_RELAX_ESP_CHECKS=1", "SYSTEMD_RELAX_XBOOTLDR_CHECKS=1")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("bootctl list: %v", err)
	}
	return string(out)
}
