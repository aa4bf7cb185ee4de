package golden

import (
	"slices"
	"strings"
	"testing"
)

// A word counts where an initrd makes another root of it, and not where it
// switches that off or means something else.
func TestInitrdWork(t *testing.T) {
	t.Parallel()
	for _, word := range strings.Fields(`overlayroot=tmpfs overlayroot=device:dev=/dev/sdb systemd.volatile=overlay systemd.volatile=yes mount.usr=UUID=1 ostree=/ostree/boot.1/a/b/0
		roothash=01ab usrhash=01ab rd.luks.uuid=luks-1 rd.lvm.lv=vg/root rd.md.uuid=1 cryptdevice=UUID=1:root zfs=rpool/ROOT ip=dhcp nfsroot=10.0.0.1:/x
		boot=live boot=casper boot=overlay rd.break rd.break=pre-mount break break=mount casper toram ignition.firstboot rd.live.image rd.neednet=1 loop=/a.img
		root=live:LABEL=x root=ZFS=rpool root=nbd:10.0.0.1:x root=/dev/md0 root=/dev/mapper/vg-root root=/dev/nfs root=tmpfs`) {
		b := Boot{Cmdline: "ro " + word + " quiet"}
		if got := b.InitrdWork(); !slices.Equal(got, []string{word}) {
			t.Errorf("%s: InitrdWork() = %q", word, got)
		}
	}
	const idle = `root=UUID=1 root=PARTUUID=1-2 root=LABEL=x root=/dev/sda1 root=/dev/nvme0n1p2 root=/dev/disk/by-uuid/1 root=gpt-auto ro rw rootflags=subvol=@
		overlayroot= overlayroot=disabled systemd.volatile=no ip=off ip=none rd.luks=0 rd.lvm=0 rd.md=0 rd.dm=0 rd_NO_LUKS boot=local boot=UUID=1 boot=/dev/sda1
		resume=UUID=1 init=/sbin/init quiet splash console=ttyS0 net.ifnames=0 fsck.mode=force rd.driver.blacklist=x mount.usrflags=ro loopback break_x zfs.zfs_arc_max=1`
	if got := (&Boot{Cmdline: idle}).InitrdWork(); len(got) > 0 {
		t.Errorf("InitrdWork() = %q; want nothing", got)
	}
	both := Boot{Cmdline: "overlayroot=tmpfs overlayroot=tmpfs", RootWork: []string{"mount /usr"}}
	if got := both.InitrdWork(); !slices.Equal(got, []string{"mount /usr", "overlayroot=tmpfs"}) {
		t.Errorf("InitrdWork() = %q", got)
	}
}
