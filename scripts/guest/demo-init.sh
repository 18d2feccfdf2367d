# SPDX-License-Identifier: GPL-2.0-or-later
# What the guest of scripts/demo does; the prologue (mounts) comes before.
disk=/dev/nvme0n1
mib=64

fail() {
    echo "demo: FAILED: $1"
    poweroff -f
}

echo "demo: init after $(cut -d' ' -f1 /proc/uptime) s"
for _ in 1 2 3 4 5 6 7 8 9 10; do
    [ -b $disk ] && break
    sleep 1
done
[ -b $disk ] || fail "no $disk"
echo "demo: formatting $disk"
mke2fs -F $disk >/dev/null 2>&1 || fail mke2fs
mount -t ext4 $disk /mnt 2>/dev/null || mount -t ext2 $disk /mnt || fail mount

echo "demo: writing $mib MiB"
dd if=/dev/urandom of=/tmp/seed bs=64k count=16 2>/dev/null
start=$(cut -d' ' -f1 /proc/uptime)
i=0
while [ $i -lt 8 ]; do
    n=0
    while [ $n -lt $((mib / 8)) ]; do
        cat /tmp/seed
        n=$((n + 1))
    done >/mnt/file$i || fail "write of file$i"
    echo "file $i" >>/mnt/file$i
    echo "demo: wrote file$i"
    i=$((i + 1))
done
sync
echo "demo: write-time $start $(cut -d' ' -f1 /proc/uptime)"
sums=$(cd /mnt && md5sum file*)
echo 3 >/proc/sys/vm/drop_caches
echo "demo: reading back"
start=$(cut -d' ' -f1 /proc/uptime)
cat /mnt/file* >/dev/null
echo "demo: read-time $start $(cut -d' ' -f1 /proc/uptime)"
echo 3 >/proc/sys/vm/drop_caches
[ "$sums" = "$(cd /mnt && md5sum file*)" ] || fail "checksums differ after reading back"
echo "demo: checksums agree"
echo "$sums" | sed 's/^/demo: sum /'
grep nvme /proc/interrupts | sed 's/^/demo: irq /'
umount /mnt || fail umount
echo "demo: done"
poweroff -f
