//! Two QEMUs on this machine: the quick look. There is no network between, and the disk is a file that
//! both open.

use super::Migrate;
use super::stage::{FOLDERS, Platform, Stage};
use crate::lab::image::{cache, programs};
use crate::lab::replicate::need_qemu;
use crate::lab::talk::Talk;
use memtwin_lab::disk::DiskSpec;
use memtwin_lab::host::Local;
use memtwin_lab::image::{Image, ImageSpec, SUITE};
use memtwin_lab::{Arch, Flavour, RunFolder};
use memtwin_migrate::{DISK_MODULES, GuestSpec};
use memtwin_report::Failure;
use std::path::Path;
use std::sync::Arc;

/// The size of the disk that is made.
const DISK: u64 = 64 << 20;

/// The guest's kernel and initramfs, with these modules besides those for its disk; and that, made at that path.
pub(super) fn files(
    args: &Migrate,
    fstype: &str,
    bytes: u64,
    disk: &Path,
    modules: &[&str],
    talk: &mut Talk,
) -> Result<Image, Failure> {
    let programs = programs(args.arch, args.programs.as_deref(), args.source.as_deref(), talk)?;
    let cache = cache(talk)?;
    let modules: Vec<&str> = DISK_MODULES.iter().chain(modules).copied().collect();
    let spec = ImageSpec {
        arch: args.arch,
        suite: SUITE,
        kernel: Flavour::Standard,
        modules: &modules,
        programs: &[],
        files: &[],
    };
    let image = spec.build(&cache, talk).map_err(Failure::environment)?;
    match &args.disk {
        Some(given) => {
            std::fs::copy(given, disk)
                .map_err(|error| Failure::environment(format!("{}: {error}", given.display())))?;
        }
        None => {
            let programs = &programs[..];
            let spec =
                DiskSpec { arch: args.arch, suite: SUITE, fstype, bytes, programs, contents: None };
            spec.build(&cache, disk, talk).map_err(Failure::environment)?;
        }
    }
    Ok(image)
}

/// Puts everything in its place.
pub(super) fn stage(args: &Migrate, talk: &mut Talk) -> Result<Stage, Failure> {
    need_qemu(args.arch)?;
    if args.arch != Arch::Aarch64 {
        return Err(Failure::usage("--hosts local runs aarch64 guests"));
    }
    let mut folder = RunFolder::temporary(FOLDERS).map_err(Failure::environment)?;
    folder.keep(args.keep);
    let place = folder.path().to_owned();
    let disk = place.join("migr.root");
    let image = files(args, "ext3", DISK, &disk, &[], talk)?;

    let text = |path: &Path| path.to_string_lossy().into_owned();
    // One block of RAM, and a CPU without FEAT_HAFDBS: under TCG QEMU's log is sound for those alone
    // (docs/findings.md).
    let guest = GuestSpec {
        qemu: "qemu-system-aarch64".to_owned(),
        accel: "tcg".to_owned(),
        machine: "virt,gic-version=3".to_owned(),
        cpu: "cortex-a72".to_owned(),
        cpus: args.cpus.unwrap_or(1),
        memory: args.memory.map_or(256, |memory| memory.0 >> 20),
        console: "ttyAMA0".to_owned(),
        kernel: text(&image.kernel),
        initrd: text(&image.initrd),
        disk: text(&disk),
        fstype: "ext3".to_owned(),
        network: None,
    };
    let there = args.there(&guest);
    let memtwin = std::env::current_exe().map_err(Failure::environment)?;
    let uri = format!("unix:{}", text(&place.join("migration")));
    let platform = |guest| Platform {
        host: Arc::new(Local),
        memtwin: text(&memtwin),
        folder: text(&place),
        guest,
        listen: uri.clone(),
        connect: uri.clone(),
    };
    Ok(Stage {
        source: platform(guest),
        destination: platform(there),
        disk: (Arc::new(Local), text(&disk)),
        folder: place,
        name: "qemu:local".to_owned(),
        network: None,
        breakable: None,
        held: Vec::new(),
        _held: vec![Box::new(folder)],
    })
}
