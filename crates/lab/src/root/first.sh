#!/bin/busybox sh
# The first program of a board: finds its root file system. What fails here ends it, and the kernel
# says so.
/bin/busybox --install -s /bin
export PATH=/bin
mkdir -p /proc /sys /dev /root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
dmesg -n 1
while read -r module; do
    insmod "/modules/$module.ko" || echo "MEMTWIN WARNING insmod $module rc=$?"
done </modules/base.order
for _ in $(seq 100); do
    [ -b /dev/vda ] && [ -b /dev/vdb ] && break
    usleep 100000
done
mount -t ext4 /dev/vda /root || { echo "MEMTWIN no root file system"; exit 1; }
mkdir -p /root/proc /root/sys /root/dev /root/run
mount -t tmpfs -o mode=755 tmpfs /root/run
mv /modules /root/run/modules
for folder in proc sys dev; do
    mount -o move "/$folder" "/root/$folder"
done
exec switch_root /root /sbin/init
