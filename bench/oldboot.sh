#!/bin/busybox sh
# The pipeline that gild is measured against: the image into memory, from there to the disk, then into it.
# It says when it has reached what, in seconds since the kernel started.
/bin/busybox mkdir -p /proc /sys /dev /ram /newroot
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
export PATH=/bin
say() { read -r up _ < /proc/uptime; echo "[$up] old: $1" > /dev/console; }
die() { say "failed: $1"; exec sleep 1000000; }
word() { for w in $(cat /proc/cmdline); do case $w in "$1"=*) echo "${w#*=}" ;; esac; done; }

modprobe virtio_pci && modprobe virtio_net && modprobe virtio_blk || die drivers
ip link set eth0 up
ip address add "$(word bench.address)" dev eth0
url=$(word bench.image)
tries=0
until wget -q --spider "$url" 2> /dev/null; do
	tries=$((tries + 1))
	[ $tries -lt 300 ] || die network
	usleep 100000
done
say network

mount -t tmpfs -o size=95% ram /ram
wget -q -O /ram/image "$url" || die download
say downloaded
case $url in
*.gz) gunzip -c < /ram/image | dd of=/dev/vda bs=4M iflag=fullblock conv=fsync 2> /dev/null || die write ;;
*) dd if=/ram/image of=/dev/vda bs=4M conv=fsync 2> /dev/null || die write ;;
esac
say written
umount /ram
blockdev --rereadpt /dev/vda || die partitions
modprobe crc32c_generic || modprobe crc32c-intel # a soft dependency of libcrc32c, which busybox does not read
modprobe xfs || die xfs
mount -t xfs -o ro /dev/vda2 /newroot || die mount
say handoff
for dir in proc sys dev; do mount --move /$dir /newroot/$dir; done
exec switch_root /newroot /sbin/init
