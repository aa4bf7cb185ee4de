package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gild-dev/gild/internal/vm"
)

// leanRecipe is to lean trees what recipe is to golden ones.
const leanRecipe = 3

// Lean is the same layout for a virtual machine only. It has no other drivers:
// half of the bytes, which an emulated processor hashes and writes. Its kernel
// is told what [vm.Steady] says.
func (s Spec) Lean() Spec {
	s.Name, s.lean = s.Name+"-lean", true
	return s
}

// leftOut are directories below lib/modules/RELEASE/kernel for which no virtual
// machine has the hardware, and no boot a use.
func leftOut() []string {
	return []string{
		"drivers/atm", "drivers/bluetooth", "drivers/comedi", "drivers/crypto", "drivers/edac", "drivers/firewire", "drivers/gpu",
		"drivers/hid", "drivers/hwmon", "drivers/iio", "drivers/infiniband", "drivers/input", "drivers/isdn", "drivers/leds",
		"drivers/media", "drivers/message", "drivers/mfd", "drivers/misc", "drivers/mmc", "drivers/mtd", "drivers/net/arcnet",
		"drivers/net/can", "drivers/net/dsa", "drivers/net/fddi", "drivers/net/hamradio", "drivers/net/ieee802154", "drivers/net/usb",
		"drivers/net/wan", "drivers/net/wireless", "drivers/net/wwan", "drivers/nfc", "drivers/parport", "drivers/pcmcia",
		"drivers/platform", "drivers/power", "drivers/scsi/[a-lo-r]*", "drivers/scsi/m[^u]*", "drivers/scsi/q*",
		"drivers/staging", "drivers/target", "drivers/thunderbolt", "drivers/ufs", "drivers/uwb", "drivers/vhost", "drivers/video",
		"drivers/watchdog", "drivers/xen", "drivers/net/ethernet/[a-hj-z]*",
		"fs/9p", "fs/afs", "fs/btrfs", "fs/ceph", "fs/cifs", "fs/coda", "fs/dlm", "fs/ecryptfs", "fs/f2fs", "fs/gfs2", "fs/hfs*", "fs/jffs2",
		"fs/jfs", "fs/nfs*", "fs/nilfs2", "fs/ntfs*", "fs/ocfs2", "fs/orangefs", "fs/smb", "fs/ubifs", "fs/udf", "fs/ufs",
		"lib/test_*", "net/appletalk", "net/atm", "net/batman-adv", "net/bluetooth", "net/can", "net/ceph", "net/dccp", "net/ieee802154",
		"net/mac80211", "net/mac802154", "net/netfilter", "net/nfc", "net/openvswitch", "net/rds", "net/rxrpc", "net/sched", "net/sctp",
		"net/smc", "net/sunrpc", "net/tipc", "net/vmw_vsock", "net/wireless", "net/xfrm",
		"sound",
	}
}

// lean returns a tar archive of the tree that lean images have.
func (b *Builder) lean(ctx context.Context) (string, error) {
	return b.keep(ctx, fmt.Sprintf("lean-%s-v%d.%d.tar.zst", suite, recipe, leanRecipe), func(ctx context.Context, dst, work string) error {
		base, err := b.Base(ctx)
		if err != nil {
			return err
		}
		return isolate(func() error { return buildLean(ctx, base, filepath.Join(work, "root"), dst) })
	})
}

func buildLean(ctx context.Context, base, root, dst string) error {
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	args := []string{"--extract", "--file", base, "--directory", root, "--numeric-owner", "--xattrs", "--xattrs-include=*"}
	for _, dir := range leftOut() {
		args = append(args, "--exclude=./usr/lib/modules/*/kernel/"+dir)
	}
	if err := run(ctx, nil, nil, "tar", args...); err != nil {
		return err
	}
	for name, text := range map[string]string{
		// A machine that hangs is to answer when it is asked why, and on a busy host no
		// device is to be given up.
		"etc/sysctl.d/sysrq.conf":             "kernel.sysrq = 1\n",
		"etc/systemd/system.conf.d/lean.conf": "[Manager]\nDefaultDeviceTimeoutSec=20min\nDefaultTimeoutStartSec=20min\n",
		"etc/default/grub.d/lean.cfg":         "GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX " + vm.Steady + "\"\n",
	} {
		if err := writeFile(filepath.Join(root, name), text); err != nil {
			return err
		}
	}
	kernels, _ := filepath.Glob(filepath.Join(root, "boot/vmlinuz-*")) // the only error is a bad pattern
	if len(kernels) != 1 {
		return fmt.Errorf("%d kernels in the golden tree; want one", len(kernels))
	}
	if err := mountTree(root); err != nil {
		return err
	}
	err := chroot(ctx, root, "/usr/sbin/depmod", strings.TrimPrefix(filepath.Base(kernels[0]), "vmlinuz-"))
	if err == nil {
		err = chroot(ctx, root, "update-initramfs", "-u")
	}
	if err = errors.Join(err, unmountTree(root)); err != nil {
		return err
	}
	return packTree(ctx, root, dst)
}
