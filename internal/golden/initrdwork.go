package golden

import (
	"slices"
	"strings"
)

// The words of a command line by which an initrd changes what the root is, or
// opens what is needed beside it. switch_root without that initrd would start
// another system than a boot from the disk.
//
// Sources: dracut.cmdline(7), initramfs-tools(7), the hooks of mkinitcpio,
// casper(7), live-boot(7), systemd-volatile-root(8), ostree-prepare-root(1),
// overlayroot.conf.
var (
	rootWords = strings.Fields(`overlayroot aufs ostree roothash usrhash mount.usr
		systemd.volatile systemd.verity_root_data systemd.verity_usr_data
		rd.overlay rd.overlayfs rd.live.image rd.live.overlay rd.live.overlay.overlayfs rd.live.ram rd.writable.fsimg
		rd.luks.uuid rd.luks.name rd.luks.serial rd.luks.partuuid rd.lvm.lv rd.lvm.vg rd.md.uuid rd.dm.uuid rd.iscsi.initiator
		rd_LUKS_UUID rd_LVM_LV rd_LVM_VG rd_MD_UUID
		luks.uuid luks.name cryptdevice cryptopts zfs bootfs nfsroot netroot iscsi_initiator ip
		ignition.firstboot coreos.first_boot flatcar.first_boot rd.neednet rd.break break
		live-media findiso fromiso iso-scan/filename casper toram copytoram archisobasedir archisolabel img_dev loop`)
	// rootsByInitrd begin the values of root= that only an initrd finds.
	rootsByInitrd = strings.Fields("live: liveiso: liveimg: nbd: nfs: nfs4: iscsi: fcoe: zfs: http: https: " +
		"ZFS= bind: mount: /dev/nfs /dev/nbd /dev/md /dev/dm- /dev/mapper/ /dev/zram /dev/ram /dev/loop tmpfs overlay")
)

// InitrdWork is what the image's own initrd would do with the root, in the
// words that ask for it; nothing for nearly all images. Such a system is
// entered by kexec, which runs that initrd.
func (b *Boot) InitrdWork() []string {
	work := slices.Clone(b.RootWork)
	for word := range strings.FieldsSeq(b.Cmdline) {
		if changesRoot(word) && !slices.Contains(work, word) {
			work = append(work, word)
		}
	}
	return work
}

func changesRoot(word string) bool {
	name, value, valued := strings.Cut(word, "=")
	switch name {
	case "root":
		return slices.ContainsFunc(rootsByInitrd, func(p string) bool { return strings.HasPrefix(value, p) })
	case "boot":
		// initramfs-tools' script, but for "local"; dracut's device of /boot has
		// another form.
		return valued && value != "local" && !strings.ContainsAny(value, "=/")
	}
	if !slices.Contains(rootWords, name) {
		return false
	}
	return !valued || !slices.Contains([]string{"", "0", "no", "off", "none", "false", "disabled"}, value)
}
