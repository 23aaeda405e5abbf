#!/bin/sh
# Orders over a board's console, where ssh is no help: "ID run LINE" and "ID poweroff", as a guest
# takes them (docs/guest.md). A person may type them (`memtwin lab console`): what is typed is shown,
# and Ctrl-C ends a line that runs.
export PATH=/usr/sbin:/usr/bin:/usr/lib/busybox HOME=/root
trap : INT QUIT
page=$(sed -n 's/^KernelPageSize: *\([0-9]*\) kB/\1/p' /proc/self/smaps | head -n1)
echo "MEMTWIN READY $(uname -m) $(uname -r) page ${page}K"
while :; do
    while read -r id verb rest; do
        [ -n "$id" ] || continue
        echo "MEMTWIN BEGIN $id"
        case $verb in
            run) sh -c "$rest" </dev/null 2>&1; rc=$? ;;
            poweroff) rc=0 ;;
            *) echo "unknown order '$verb': ID run LINE, or ID poweroff"; rc=127 ;;
        esac
        printf '\nMEMTWIN DONE %s rc=%s\n' "$id" "$rc"
        [ "$verb" = poweroff ] && poweroff -f
    done
    # A Ctrl-C or Ctrl-D when nothing runs.
    sleep 1
done
