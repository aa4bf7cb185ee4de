package fsread_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/golden/fsread"
	"github.com/gild-dev/gild/internal/golden/fsread/probe"
	"github.com/gild-dev/gild/internal/tier"
)

// checkBlkid holds what was read against util-linux.
func checkBlkid(t *testing.T, image, kind, uuid, label string) {
	t.Helper()
	got := map[string]string{"TYPE": kind, "UUID": uuid, "LABEL": label}
	for _, line := range strings.Split(run(t, "blkid", "-p", "-o", "export", image), "\n") {
		key, value, _ := strings.Cut(line, "=")
		value = strings.ReplaceAll(value, `\ `, " ")
		if have, ok := got[key]; ok && have != value {
			t.Errorf("%s = %q; blkid says %q", key, have, value)
		}
		delete(got, key)
	}
	for key, have := range got {
		if have != "" {
			t.Errorf("%s = %q; blkid says nothing", key, have)
		}
	}
}

// pvcreate is for block devices only.
func TestProbeLVM(t *testing.T) {
	t.Parallel()
	tier.Root(t, "a loop device needs root")
	image := blank(t, 128<<20)
	device := strings.TrimSpace(run(t, "losetup", "--find", "--show", image))
	t.Cleanup(func() { _ = exec.Command("losetup", "-d", device).Run() })
	run(t, "pvcreate", "-q", "-y", "--config", `devices{filter=["a|^`+device+`$|","r|.*|"] use_devicesfile=0}`, device)
	run(t, "sync", image)
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sig, err := probe.Find(f, 128<<20)
	if err != nil || sig.Kind != "LVM2_member" {
		t.Errorf("Probe() = %+v, %v; want LVM2_member", sig, err)
	}
	checkBlkid(t, image, sig.Kind, sig.UUID, sig.Label)
	if _, err := fsread.Open(f, 128<<20); err == nil || !strings.HasPrefix(err.Error(), "LVM2_member") {
		t.Errorf("Open() = %v; want an error that names LVM2_member", err)
	}
}

// TestProbe names what is not read, so that an error can.
func TestProbe(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ kind, args string }{
		{"btrfs", "mkfs.btrfs -q -L golden"},
		{"swap", "mkswap -L golden"},
		{"swap", "mkswap -p 16384"},
		{"crypto_LUKS", "cryptsetup -q luksFormat --pbkdf-force-iterations 4 --pbkdf-memory 32 --key-file /dev/zero --keyfile-size 8"},
		{"ntfs", "mkfs.ntfs -q -F"},
		{"f2fs", "mkfs.f2fs -q -l golden"},
	} {
		t.Run(test.args, func(t *testing.T) {
			t.Parallel()
			image := blank(t, 128<<20)
			args := strings.Fields(test.args)
			run(t, args[0], append(args[1:], image)...)
			f, err := os.Open(image)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			sig, err := probe.Find(f, 128<<20)
			if err != nil || sig.Kind != test.kind {
				t.Errorf("Probe() = %+v, %v; want %s", sig, err, test.kind)
			}
			checkBlkid(t, image, sig.Kind, sig.UUID, sig.Label)
			if _, err := fsread.Open(f, 128<<20); err == nil || !strings.HasPrefix(err.Error(), test.kind) {
				t.Errorf("Open() = %v; want an error that names %s", err, test.kind)
			}
		})
	}
}

// A text that a format begins with, and none of its numbers, puts a file system
// in doubt only where it does so for blkid; what is free in it is kept all the
// same.
func TestBareTexts(t *testing.T) {
	t.Parallel()
	const size = 16 << 20
	for _, tt := range []struct {
		at   int64
		text string
	}{
		{3, "NTFS    "},
		{3, "EXFAT   "},
		{0, "hsqs"},
		{32769, "CD001"},
		{0, "XFSB"},
		{0, "bluestore block device"},
		{65600, "_BHRfS_M"},
		{4086, "SWAPSPACE2"},
		{1024, "\x10\x20\xf5\xf2"},
	} {
		image := blank(t, size)
		run(t, "mkfs.ext4", "-q", "-F", image)
		put(t, image, []marking{{tt.at, []byte(tt.text)}})
		f, err := os.Open(image)
		if err != nil {
			t.Fatal(err)
		}
		sig, err := probe.Find(f, size)
		f.Close()
		if says := verdict(t, image); err != nil || sig.Kind != "ext4" || len(sig.Others) != 1 ||
			(says == "ambivalent") != (len(sig.Rivals) > 0) {
			t.Errorf("%q at %d: %+v, %v; blkid says %s", tt.text, tt.at, sig, err, says)
		}
	}
}
