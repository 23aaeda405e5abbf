#!/bin/sh
# load MODULE…: inserts kernel modules with what they depend on.
for module in "$@"; do
    [ -e "/run/modules/$module.order" ] || { echo "load: no module $module here" >&2; exit 1; }
    while read -r name; do
        [ -d "/sys/module/$name" ] || busybox insmod "/run/modules/$name.ko" || exit 1
    done <"/run/modules/$module.order"
done
