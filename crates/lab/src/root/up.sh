#!/bin/sh
# What a board does before it takes orders: its networks, the lab's files, ssh. The kernel's command
# line says what is special about it:
#   memtwin.name=NAME        its name
#   memtwin.net=ADDRESS@MTU,…  of eth1, eth2, …: what is left empty is only set up
#   memtwin.load=MODULE,…    kernel modules, with what they depend on
export PATH=/usr/sbin:/usr/bin:/usr/lib/busybox HOME=/root

parameter() { sed -n "s/^/ /; s/.* memtwin\.$1=\([^ ]*\).*/\1/p" /proc/cmdline; }

mkdir -p /run/lock /run/rpcbind /dev/pts /dev/shm /tmp /root/.ssh /lab /srv
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
dmesg -n 1
name=$(parameter name)
hostname "${name:-board}"
echo "127.0.0.1 localhost ${name:-board}" >/etc/hosts

ip link set lo up
ip address add 10.0.2.15/24 dev eth0
ip link set eth0 up
n=0
for net in $(parameter net | tr , ' '); do
    n=$((n + 1))
    address=${net%@*} mtu=${net#*@}
    [ -n "$mtu" ] && ip link set "eth$n" mtu "$mtu"
    [ -n "$address" ] && ip address add "$address" dev "eth$n"
    ip link set "eth$n" up
done
load $(parameter load | tr , ' ')

mount -t ext4 -o ro /dev/vdb /lab || echo "MEMTWIN WARNING no files of the lab"
for program in /lab/bin/*; do
    [ -x "$program" ] && ln -sf "$program" /usr/bin/
done
chmod 700 /root /root/.ssh
cp /lab/authorized_keys /root/.ssh/ && chmod 600 /root/.ssh/authorized_keys
key=/etc/dropbear_key
dropbearkey -t ed25519 -f $key >/dev/null 2>&1
dropbear -r $key -s -K 30 -p 10.0.2.15:22 -P /run/dropbear.pid
echo "MEMTWIN HOSTKEY $(dropbearkey -y -f $key | grep '^ssh-' | cut -d' ' -f1,2)"
