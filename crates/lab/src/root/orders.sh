#!/bin/sh
# Orders over a board's console, where ssh is no help: "ID run LINE" and "ID poweroff", as a guest
# takes them (docs/guest.md).
export PATH=/usr/sbin:/usr/bin:/usr/lib/busybox HOME=/root
stty -echo
page=$(sed -n 's/^KernelPageSize: *\([0-9]*\) kB/\1/p' /proc/self/smaps | head -n1)
echo "MEMTWIN READY $(uname -m) $(uname -r) page ${page}K"
while read -r id verb rest; do
    [ -n "$id" ] || continue
    echo "MEMTWIN BEGIN $id"
    case $verb in
        run) sh -c "$rest" </dev/null 2>&1; rc=$? ;;
        poweroff) rc=0 ;;
        *) echo "no order '$verb'"; rc=127 ;;
    esac
    printf '\nMEMTWIN DONE %s rc=%s\n' "$id" "$rc"
    [ "$verb" = poweroff ] && poweroff -f
done
