//! What a board boots: a kernel of Debian's, and an initramfs that finds the root file system and
//! brings the modules that boards may need.

use super::{FORMAT, RootError};
use crate::apt::Apt;
use crate::archive::Archive;
use crate::image::Image;
use crate::kernel::Kernel;
use crate::{Arch, Cache, CacheError, Flavour, Progress, modules};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufWriter;

/// The first program.
const FIRST: &str = include_str!("first.sh");

/// Loaded before the root file system is there.
const BASE: [&str; 5] = ["virtio_blk", "crc32c_generic", "ext4", "virtio_net", "virtio-rng"];

/// Loaded when they are asked for, by `load NAME`.
const MORE: [&str; 10] =
    ["nfsd", "nfs", "nfsv3", "nfsv4", "auth_rpcgss", "loop", "tun", "veth", "sch_tbf", "sch_netem"];

/// Makes it, or takes it from the cache.
pub(super) fn build(
    cache: &Cache,
    apt: &Apt<'_>,
    flavour: Flavour,
    progress: &mut dyn Progress,
) -> Result<Image, RootError> {
    let package = flavour.package(Arch::Aarch64, apt, progress)?;
    let busybox = apt.resolve(&["busybox-static"], progress)?.remove(0);
    let mut hasher = blake3::Hasher::new();
    hasher.update(&FORMAT.to_le_bytes());
    let lists = [BASE.join(" "), MORE.join(" ")];
    for part in [FIRST, &package.digest, &busybox.digest, &lists[0], &lists[1]] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    let key = hasher.finalize().to_hex()[..16].to_owned();
    let folder = cache.entry("boots", &key, progress, |folder, progress| {
        let kernel = Kernel::find(&apt.unpacked(&package, progress)?)?;
        let busybox = apt.unpacked(&busybox, progress)?.join("usr/bin/busybox");
        progress.say(&format!("initramfs {key} of boards"));
        let busybox = fs::read(&busybox).map_err(CacheError::at(&busybox))?;
        let archive = archive(&kernel, busybox)?;
        let initrd = folder.join("initrd");
        let output = File::create(&initrd).map_err(CacheError::at(&initrd))?;
        archive.write(BufWriter::new(output)).map_err(CacheError::at(&initrd))?;
        let image = folder.join("kernel");
        fs::copy(&kernel.image, &image).map_err(CacheError::at(&kernel.image))?;
        Ok::<(), RootError>(())
    })?;
    Ok(Image { kernel: folder.join("kernel"), initrd: folder.join("initrd") })
}

fn archive(kernel: &Kernel, busybox: Vec<u8>) -> Result<Archive, RootError> {
    let mut archive = Archive::default();
    for (name, major, minor) in [("console", 5, 1), ("null", 1, 3)] {
        archive.device(&format!("dev/{name}"), major, minor);
    }
    archive.file("init", 0o755, FIRST.as_bytes().to_vec());
    archive.file("bin/busybox", 0o755, busybox);
    let mut all = BTreeMap::new();
    let mut add = |list: &str, names: &[&str]| -> Result<String, RootError> {
        let modules = modules::ordered(&kernel.modules, names)?;
        let order: String = modules.iter().map(|module| format!("{}\n", module.name)).collect();
        all.extend(modules.into_iter().map(|module| (module.name, module.bytes)));
        Ok(format!("modules/{list}.order\0{order}"))
    };
    let mut lists = vec![add("base", &BASE)?];
    for name in MORE {
        lists.push(add(name, &[name])?);
    }
    for list in lists {
        let (path, order) = list.split_once('\0').unwrap_or_default();
        archive.file(path, 0o644, order.as_bytes().to_vec());
    }
    for (name, bytes) in all {
        archive.file(&format!("modules/{name}.ko"), 0o644, bytes);
    }
    Ok(archive)
}
