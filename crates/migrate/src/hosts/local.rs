//! Two QEMUs on this machine: the quick look. There is no network between, and the disk is a file that
//! both open.

use super::environment::{Environment, FOLDERS, MigrationHost};
use crate::config::MigrationConfig;
use crate::guest::{DISK_MODULES, GuestSpec};
use memtwin_lab::Progress;
use memtwin_lab::disk::DiskSpec;
use memtwin_lab::host::Local;
use memtwin_lab::image::{Image, ImageSpec, SUITE};
use memtwin_lab::provision::{guest_programs, need_qemu, open_cache};
use memtwin_lab::{Arch, Flavour, RunFolder};
use memtwin_report::Failure;
use std::path::Path;
use std::sync::Arc;

/// The size of the disk that is made.
const DISK: u64 = 64 << 20;

/// The guest's kernel and initramfs, with these modules besides those for its disk; and that, made at that path.
pub(crate) fn files(
    config: &MigrationConfig,
    fstype: &str,
    bytes: u64,
    disk: &Path,
    modules: &[&str],
    progress: &mut dyn Progress,
) -> Result<Image, Failure> {
    let (folder, source) = (config.programs.as_deref(), config.source.as_deref());
    let programs = guest_programs(config.arch, folder, source, progress);
    let programs = programs.map_err(Failure::environment)?;
    let cache = open_cache(progress).map_err(Failure::environment)?;
    let modules: Vec<&str> = DISK_MODULES.iter().chain(modules).copied().collect();
    let spec = ImageSpec {
        arch: config.arch,
        suite: SUITE,
        kernel: Flavour::Standard,
        modules: &modules,
        programs: &[],
        files: &[],
    };
    let image = spec.build(&cache, progress).map_err(Failure::environment)?;
    match &config.disk {
        Some(given) => {
            std::fs::copy(given, disk)
                .map_err(|error| Failure::environment(format!("{}: {error}", given.display())))?;
        }
        None => {
            let programs = &programs[..];
            let spec = DiskSpec {
                arch: config.arch,
                suite: SUITE,
                fstype,
                bytes,
                programs,
                contents: None,
            };
            spec.build(&cache, disk, progress).map_err(Failure::environment)?;
        }
    }
    Ok(image)
}

/// Puts everything in its place.
pub(super) fn set_up(
    config: &MigrationConfig,
    progress: &mut dyn Progress,
) -> Result<Environment, Failure> {
    need_qemu(config.arch).map_err(Failure::environment)?;
    if config.arch != Arch::Aarch64 {
        return Err(Failure::usage("--hosts local runs aarch64 guests"));
    }
    let mut folder = RunFolder::temporary(FOLDERS).map_err(Failure::environment)?;
    folder.keep(config.keep);
    let place = folder.path().to_owned();
    let disk = place.join("migr.root");
    let image = files(config, "ext3", DISK, &disk, &[], progress)?;

    let text = |path: &Path| path.to_string_lossy().into_owned();
    // One block of RAM, and a CPU without FEAT_HAFDBS: under TCG QEMU's log is sound for those alone
    // (docs/findings.md).
    let guest = GuestSpec {
        qemu: "qemu-system-aarch64".to_owned(),
        accel: "tcg".to_owned(),
        machine: "virt,gic-version=3".to_owned(),
        cpu: "cortex-a72".to_owned(),
        cpus: config.cpus.unwrap_or(1),
        memory: config.memory.map_or(256, |bytes| bytes >> 20),
        console: "ttyAMA0".to_owned(),
        kernel: text(&image.kernel),
        initrd: text(&image.initrd),
        disk: text(&disk),
        fstype: "ext3".to_owned(),
        network: None,
    };
    let there = config.there(&guest);
    let uri = format!("unix:{}", text(&place.join("migration")));
    let platform = |guest| MigrationHost {
        host: Arc::new(Local),
        memtwin: text(&config.memtwin),
        folder: text(&place),
        guest,
        listen: uri.clone(),
        connect: uri.clone(),
    };
    Ok(Environment {
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
