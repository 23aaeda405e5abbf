//! What is changed in the root file system after the packages are unpacked.

use crate::CacheError;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// What nobody reads on a board.
const DROPPED: [&str; 13] = [
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/share/bash-completion",
    "usr/share/zoneinfo",
    "usr/share/perl5",
    "usr/share/qemu/firmware",
    "usr/include",
    "usr/lib/systemd",
    "usr/lib/udev",
    // Guests have 64 bits.
    "usr/bin/qemu-system-arm",
];

/// Files of ours: path, mode, content.
const FILES: [(&str, u32, &str); 12] = [
    ("etc/inittab", 0o644, INITTAB),
    ("etc/passwd", 0o644, PASSWD),
    ("etc/group", 0o644, "root:x:0:\ntty:x:5:\nkvm:x:106:\nnogroup:x:65534:\n"),
    ("etc/shadow", 0o600, "root:*:19000:0:99999:7:::\n"),
    ("etc/shells", 0o644, "/bin/sh\n"),
    ("etc/nsswitch.conf", 0o644, "passwd: files\ngroup: files\nhosts: files\n"),
    ("etc/exports", 0o644, ""),
    ("etc/fstab", 0o644, ""),
    ("etc/os-release", 0o644, "ID=memtwin-board\nPRETTY_NAME=\"Memtwin's board\"\n"),
    ("usr/lib/memtwin/up", 0o755, include_str!("up.sh")),
    ("usr/lib/memtwin/orders", 0o755, include_str!("orders.sh")),
    ("usr/sbin/load", 0o755, include_str!("load.sh")),
];

/// The dash makes the console a terminal that signals by its keys.
const INITTAB: &str = "::sysinit:/usr/lib/memtwin/up\n\
                       ::respawn:-/usr/lib/memtwin/orders\n";

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
                      statd:x:101:65534::/var/lib/nfs:/usr/sbin/nologin\n\
                      _rpc:x:102:65534::/run/rpcbind:/usr/sbin/nologin\n\
                      nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";

/// Where merged folders lead.
const MERGED: [&str; 3] = ["bin", "lib", "sbin"];

/// Applets of busybox that are programs of their own where no package has them. Scripts find what
/// they expect; a package's own program is never replaced.
const APPLETS: &str = "awk basename cat chgrp chmod chown clear cmp cp cut date dd devmem df dirname \
    dmesg du echo env expr false find flock free getopt grep gunzip gzip halt head hexdump hostname id \
    ifconfig init insmod kill killall less ln ls lsmod md5sum mkdir mkfifo mknod mktemp modprobe more \
    mountpoint mv nc netstat nohup nproc od pgrep pidof pkill poweroff printf ps pwd readlink realpath \
    reboot renice rm rmdir rmmod route sed seq setsid sha256sum sleep sort split stat strings stty sum \
    sync sysctl tail tar taskset tee telnet test time timeout top touch tr traceroute true truncate \
    tty umount uname uniq unlink uptime usleep vi watch wc wget which whoami xargs xxd yes zcat";

/// Adds all this to a digest.
pub(super) fn add_to(hasher: &mut blake3::Hasher) {
    for (path, mode, content) in FILES {
        hasher.update(path.as_bytes()).update(&mode.to_le_bytes()).update(content.as_bytes());
    }
    for text in DROPPED.iter().chain(&[APPLETS]) {
        hasher.update(text.as_bytes());
    }
}

/// Makes a root file system of unpacked packages.
pub(super) fn arrange(root: &Path) -> Result<(), CacheError> {
    for path in DROPPED {
        let path = root.join(path);
        let removed =
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(CacheError::at(&path)(error));
            }
            _ => {}
        }
    }
    for name in MERGED {
        merge(root, name)?;
    }
    for folder in ["dev", "proc", "sys", "run", "tmp", "root", "mnt", "srv", "lab", "var/tmp"] {
        let path = root.join(folder);
        fs::create_dir_all(&path).map_err(CacheError::at(&path))?;
    }
    link("/run", &root.join("var/run"))?;
    for (path, mode, content) in FILES {
        let path = root.join(path);
        let folder = path.parent().unwrap_or(root);
        fs::create_dir_all(folder).map_err(CacheError::at(folder))?;
        fs::write(&path, content).map_err(CacheError::at(&path))?;
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(&path, mode).map_err(CacheError::at(&path))?;
    }
    link("dash", &root.join("usr/bin/sh"))?;
    for applet in APPLETS.split_whitespace() {
        let there = |folder: &str| root.join(folder).join(applet).symlink_metadata().is_ok();
        if !there("usr/bin") && !there("usr/sbin") {
            link("busybox", &root.join("usr/bin").join(applet))?;
        }
    }
    link("../bin/busybox", &root.join("usr/sbin/init"))
}

/// Moves what packages have put in a folder of old below /usr, and lets it lead there.
fn merge(root: &Path, name: &str) -> Result<(), CacheError> {
    let (old, new) = (root.join(name), root.join("usr").join(name));
    if old.symlink_metadata().is_ok_and(|old| old.is_dir()) {
        adopt(&old, &new)?;
    }
    link(&format!("usr/{name}"), &old)
}

/// Moves a folder's files into another.
fn adopt(old: &Path, new: &Path) -> Result<(), CacheError> {
    fs::create_dir_all(new).map_err(CacheError::at(new))?;
    for path in crate::kernel::children(old) {
        let Some(name) = path.file_name() else { continue };
        let to = new.join(name);
        if path.symlink_metadata().is_ok_and(|path| path.is_dir()) && to.is_dir() {
            adopt(&path, &to)?;
        } else {
            fs::rename(&path, &to).map_err(CacheError::at(&path))?;
        }
    }
    fs::remove_dir(old).map_err(CacheError::at(old))
}

/// A link, in the place of one that may be there.
fn link(to: &str, path: &Path) -> Result<(), CacheError> {
    if path.symlink_metadata().is_ok_and(|there| there.is_symlink()) {
        fs::remove_file(path).map_err(CacheError::at(path))?;
    }
    symlink(to, path).map_err(CacheError::at(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_arranged() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        let write = |path: &str| {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), path).unwrap();
        };
        ["usr/share/doc/x/y", "usr/bin/sleep", "usr/lib/a/b", "lib/a/c", "sbin/d", "usr/sbin/e"]
            .into_iter()
            .for_each(write);
        fs::create_dir_all(root.join("var")).unwrap();
        arrange(root).unwrap();
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
        assert!(!root.join("usr/share/doc").exists());
        assert_eq!(read("lib/a/b"), "usr/lib/a/b");
        assert_eq!(read("usr/lib/a/c"), "lib/a/c");
        assert_eq!(read("usr/sbin/d"), "sbin/d");
        assert_eq!(read("bin/sleep"), "usr/bin/sleep", "a package's own program stays");
        let target = |path: &str| fs::read_link(root.join(path)).unwrap();
        assert_eq!(target("usr/bin/cat"), Path::new("busybox"));
        assert_eq!(target("sbin"), Path::new("usr/sbin"));
    }
}
