#!/bin/busybox sh
# The first program of a Memtwin guest. It loads the modules, does what the kernel's command line says
# (memtwin.root=, memtwin.run=, memtwin.cmd=, memtwin.orders=), and then takes orders, a line each.
# docs/guest.md describes both. It never ends: the kernel would panic.

[ -L /bin/sh ] || /bin/busybox --install -s /bin
export PATH=/bin HOME=/
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /run /tmp /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
# On a disk, what is of this boot alone does not belong there.
mount -t tmpfs tmpfs /run
# A message of the kernel in the middle of an answer would break it.
dmesg -n 1

# The value of memtwin.$1 on the kernel's command line, which may stand in double quotes. (The first t
# forgets that the blank was put in.)
parameter() {
    sed -n 's/^/ /; t a; :a; s/.* memtwin\.'"$1"'="\([^"]*\)".*/\1/p; t; s/.* memtwin\.'"$1"'=\([^ ]*\).*/\1/p' /proc/cmdline
}

[ -e /modules/order ] && while read -r module; do
    insmod "/modules/$module" || echo "MEMTWIN WARNING insmod $module rc=$?"
done </modules/order

# The root file system on a disk has this same program, and no modules. It may take a moment to come.
root=$(parameter root)
if [ -n "$root" ] && [ -e /modules/order ]; then
    for _ in $(seq 100); do
        [ -b "$root" ] && break
        usleep 100000
    done
    mkdir -p /root
    if mount -t "$(parameter fstype)" "$root" /root; then
        umount -l /dev/shm /dev/pts /dev /sys /run /proc
        exec switch_root /root /init
    fi
    echo "MEMTWIN WARNING no root file system on $root"
fi
ip link set lo up 2>/dev/null

# Its driver may be one of the modules, and take a moment.
orders=/dev/console
asked=$(parameter orders)
if [ -n "$asked" ]; then
    for _ in $(seq 100); do
        [ -c "/dev/$asked" ] && break
        usleep 100000
    done
    if [ -c "/dev/$asked" ]; then
        orders=/dev/$asked
    else
        echo "MEMTWIN WARNING no /dev/$asked: orders by the console"
    fi
fi
exec <"$orders" >"$orders" 2>&1
stty -echo

begin() { echo "MEMTWIN BEGIN $1"; }
# The answer begins on a line of its own, whatever the program has left unfinished.
end() { printf '\nMEMTWIN DONE %s rc=%s\n' "$1" "$2"; }

# start NAME LOG PROGRAM…: runs a program in a session of its own, so that it is stopped with all
# that it starts.
start() {
    case $1 in *[!A-Za-z0-9_-]* | '') echo "'$1' is no name"; return 2 ;; esac
    if [ -e "/run/$1.pid" ] && kill -0 "$(cat "/run/$1.pid")" 2>/dev/null; then
        echo "$1 runs already"
        return 1
    fi
    setsid sh -c "exec $3" </dev/null >"$2" 2>&1 &
    echo $! >"/run/$1.pid"
    echo "$2" >"/run/$1.log-file"
}

# stop NAME: ends it, prints what it has said, returns what it has returned.
stop() {
    if ! [ -e "/run/$1.pid" ]; then
        echo "no $1 was started"
        return 127
    fi
    pid=$(cat "/run/$1.pid")
    kill -TERM -- "-$pid" 2>/dev/null
    setsid sh -c "sleep 10; kill -KILL -- -$pid" </dev/null >/dev/null 2>&1 &
    guard=$!
    wait "$pid"
    rc=$?
    # It may not have come to its own session yet, and is then no group.
    kill -KILL -- "-$guard" "$guard" 2>/dev/null
    wait "$guard" 2>/dev/null
    rm "/run/$1.pid"
    [ "$(cat "/run/$1.log-file")" = "/run/$1.log" ] && cat "/run/$1.log"
    return $rc
}

# obey ID VERB REST
obey() {
    begin "$1"
    name=${3%% *}
    line=${3#* }
    rc=0
    case $2 in
    run) sh -c "$3" </dev/null; rc=$? ;;
    start) start "$name" "/run/$name.log" "$line"; rc=$? ;;
    show) start "$name" "$orders" "$line"; rc=$? ;;
    stop) stop "$name"; rc=$? ;;
    log) cat "/run/$name.log"; rc=$? ;;
    poweroff | reboot) end "$1" 0; sync; "$2" -f; rc=$? ;;
    *) echo "unknown order '$2': run, start, show, stop, log, poweroff, reboot"; rc=127 ;;
    esac
    end "$1" $rc
}

page=$(sed -n 's/^KernelPageSize: *\([0-9]*\) kB/\1/p' /proc/self/smaps | head -n 1)
echo "MEMTWIN READY $(uname -m) $(uname -r) page ${page:-?}K"
program=$(parameter run)
[ -n "$program" ] && start run "$orders" "$program"
line=$(parameter cmd)
[ -n "$line" ] && obey cmd run "$line"

while :; do
    while read -r id verb rest; do
        [ -n "$id" ] && obey "$id" "$verb" "$rest"
    done
    # The other end hung up; it may come again.
    sleep 1
done
