package identity

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const (
	oldRoot, newRoot = "0a1f6c52-7d07-4c0e-9d9a-5b1c2a7e0003", "f00ff00f-1111-4222-8333-444455556666"
	oldPart, newPart = "11111111-2222-4333-8444-555555555501", "99999999-2222-4333-8444-5555555555aa"
)

func ids() IDs {
	return IDs{oldRoot: newRoot, oldPart: newPart, "61d0-0001": "ABCD-EF12", "61d00001-01": "deadbeef-01", "61d00001-02": "deadbeef-02"}
}

func TestReplace(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"UUID=" + oldRoot + " / xfs defaults 0 1\n", "UUID=" + newRoot + " / xfs defaults 0 1\n"},
		{"UUID=\"" + strings.ToUpper(oldRoot) + "\"", "UUID=\"" + strings.ToUpper(newRoot) + "\""},
		{"/dev/disk/by-uuid/" + oldRoot, "/dev/disk/by-uuid/" + newRoot},
		{"root=PARTUUID=" + oldPart + " ro", "root=PARTUUID=" + newPart + " ro"},
		{
			"menuentry 'x' $menuentry_id_option 'gnulinux-simple-" + oldRoot + "' {",
			"menuentry 'x' $menuentry_id_option 'gnulinux-simple-" + newRoot + "' {",
		},
		{oldRoot + oldRoot, oldRoot + oldRoot},
		{"x" + oldRoot, "x" + oldRoot},
		{oldRoot + "0", oldRoot + "0"},
		{oldRoot[:35], oldRoot[:35]},
		{"ü" + oldRoot, "ü" + oldRoot},
		{"İ UUID=" + oldRoot, "İ UUID=" + newRoot}, // what lower case would make longer
		{"UUID=61D0-0001 /boot/efi vfat", "UUID=ABCD-EF12 /boot/efi vfat"},
		{"UUID=61d0-0001 /boot/efi vfat", "UUID=abcd-ef12 /boot/efi vfat"},
		{"search --no-floppy --fs-uuid --set=root 61D0-0001", "search --no-floppy --fs-uuid --set=root ABCD-EF12"},
		{"search\n61D0-0001", "search\n61D0-0001"},
		{"phone 61D0-0001", "phone 61D0-0001"},
		{"UUID=61D0-0001-7", "UUID=61D0-0001-7"},
		{"PARTUUID=61d00001-01 / ext4", "PARTUUID=deadbeef-01 / ext4"},
		{"root=PARTUUID=61d00001-02", "root=PARTUUID=deadbeef-02"},
		{"PARTUUID=61d00001-021", "PARTUUID=61d00001-021"},
	} {
		if got := ids().Replace(tt.in); got != tt.want {
			t.Errorf("Replace(%q) = %q; want %q", tt.in, got, tt.want)
		}
	}
}

// Texts follow wherever links lead, with mode and owner; programs are only told
// of.
func TestIDsOfATree(t *testing.T) {
	line := "UUID=" + oldRoot + " / xfs\n"
	dir := image(t, map[string]string{
		"etc/fstab":                          line + "UUID=61D0-0001 /boot/efi vfat\n",
		"etc/default/grub.d/50-x.cfg":        "GRUB_CMDLINE_LINUX=\"resume=UUID=" + oldRoot + "\"\n",
		"etc/default/grub":                   "GRUB_TIMEOUT=1\n",
		"etc/grub.d/40_custom":               "#!/bin/sh\n" + line,
		"etc/motd":                           line,
		"boot/grub2/grub.cfg":                "search --fs-uuid " + oldRoot + "\n",
		"boot/efi/EFI/debian/grub.cfg":       "search.fs_uuid " + oldRoot + " root\n",
		"boot/efi/EFI/BOOT/BOOTX64.EFI":      strings.Repeat("x", 1<<20-7) + strings.ToUpper(oldPart) + "tail",
		"boot/loader/entries/1.conf":         "options root=PARTUUID=" + oldPart + "\n",
		"boot/loader/entries/1.conf.old":     line,
		"boot/grub/i386-pc/load.cfg":         "search.fs_uuid 61D0-0001 root\n",
		"boot/grub/i386-pc/moddep.lst":       line,
		"boot/grub/x86_64-efi/load.cfg":      "search.fs_uuid " + oldRoot + " root\n",
		"boot/efi/EFI/redhat/grubenv":        "saved_entry=gnulinux-" + oldRoot + "\n####",
		"etc/systemd/system/":                "",
		"boot/extlinux/extlinux.conf/trap":   "a directory where a file is meant",
		"etc/initramfs-tools/conf.d/resume":  "RESUME=UUID=" + oldRoot + "\n",
		"etc/systemd/system/srv.mount":       "What=/dev/disk/by-uuid/" + oldRoot + "\n",
		"etc/systemd/system/other.service":   line,
		"etc/initramfs-tools/conf.d/other":   line,
		"etc/cloud/somewhere-else/grub.conf": line,
	})
	must(t, os.Chmod(filepath.Join(dir, "etc/grub.d/40_custom"), 0o751))
	must(t, os.Chown(filepath.Join(dir, "etc/default/grub.d/50-x.cfg"), 7, 8))
	must(t, os.Symlink("../efi/EFI/redhat/grubenv", filepath.Join(dir, "boot/grub2/grubenv")))
	must(t, os.Symlink("/etc/passwd", filepath.Join(dir, "etc/crypttab"))) // of the image, if at all
	must(t, os.Symlink("loop", filepath.Join(dir, "etc/default/loop")))

	want := []string{
		"/etc/fstab", "/etc/default/grub.d/50-x.cfg", "/etc/grub.d/40_custom", "/etc/initramfs-tools/conf.d/resume",
		"/etc/systemd/system/srv.mount",
		"/boot/grub2/grub.cfg", "/boot/efi/EFI/redhat/grubenv", "/boot/grub/x86_64-efi/load.cfg", "/boot/loader/entries/1.conf",
		"/boot/efi/EFI/debian/grub.cfg",
	}
	found, err := FindIDs(dir, ids())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, found.Texts); diff != "" {
		t.Errorf("FindIDs().Texts (-want +got):\n%s", diff)
	}
	held := map[string]string{oldPart: "/boot/efi/EFI/BOOT/BOOTX64.EFI", "61d0-0001": "/boot/grub/i386-pc/load.cfg"}
	if diff := cmp.Diff(held, found.Held); diff != "" {
		t.Errorf("FindIDs().Held (-want +got):\n%s", diff)
	}
	if read(t, dir, "etc/motd") != line || !strings.Contains(read(t, dir, "etc/fstab"), oldRoot) {
		t.Error("FindIDs() changed something")
	}
	names, err := WriteIDs(dir, ids())
	if diff := cmp.Diff(want, names); err != nil || diff != "" {
		t.Errorf("WriteIDs() = %v (-want +got):\n%s", err, diff)
	}
	for _, name := range want {
		if text := read(t, dir, name); strings.Contains(text, oldRoot) || strings.Contains(text, oldPart) {
			t.Errorf("%s has %q", name, text)
		}
	}
	if names, err := WriteIDs(dir, ids()); len(names) != 0 || err != nil {
		t.Errorf("WriteIDs() again = %q, %v; want nothing to do", names, err)
	}
	if read(t, dir, "etc/motd") != line || !strings.Contains(read(t, dir, "boot/loader/entries/1.conf.old"), oldRoot) {
		t.Error("WriteIDs() changed a file that is not on its list")
	}
	if info, err := os.Stat(filepath.Join(dir, "etc/grub.d/40_custom")); err != nil || info.Mode().Perm() != 0o751 {
		t.Errorf("40_custom: %v, %v; want mode 0751", info.Mode(), err)
	}
	var st unix.Stat_t
	must(t, unix.Stat(filepath.Join(dir, "etc/default/grub.d/50-x.cfg"), &st))
	if st.Uid != 7 || st.Gid != 8 {
		t.Errorf("50-x.cfg belongs to %d:%d; want 7:8", st.Uid, st.Gid)
	}
	if target, err := os.Readlink(filepath.Join(dir, "boot/grub2/grubenv")); err != nil || target != "../efi/EFI/redhat/grubenv" {
		t.Errorf("grubenv is %q, %v; want the link that it was", target, err)
	}
}

// A file that cannot be read in full stops everything before anything is
// changed.
func TestFindIDsTooLarge(t *testing.T) {
	dir := image(t, map[string]string{"boot/grub/grub.cfg": strings.Repeat("#", maxText+1)})
	if _, err := FindIDs(dir, ids()); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("FindIDs() of a huge grub.cfg = %v; want an error", err)
	}
}

// The length stays, nothing but IDs changes, and a second time changes nothing.
func FuzzReplace(f *testing.F) {
	f.Add("UUID=" + oldRoot + " / xfs\nsearch 61D0-0001 PARTUUID=61d00001-01 by-uuid/" + strings.ToUpper(oldRoot))
	f.Add("search --fs-uuid " + oldRoot[:30])
	f.Fuzz(func(t *testing.T, text string) {
		got := ids().Replace(text)
		if len(got) != len(text) {
			t.Fatalf("Replace(%q) = %q: the length changed", text, got)
		}
		if again := ids().Replace(got); again != got {
			t.Errorf("Replace(%q) = %q; want no change", got, again)
		}
		lower := strings.ToLower(text)
		if got != text && !slices.ContainsFunc([]string{oldRoot, oldPart, "61d0-0001", "61d00001-0"},
			func(id string) bool { return strings.Contains(lower, id) }) {
			t.Errorf("Replace(%q) = %q without an ID in it", text, got)
		}
	})
}
