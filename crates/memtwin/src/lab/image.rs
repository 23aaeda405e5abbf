//! `memtwin lab image`: the guest's disk, made without root and without a mount.

use super::talk::Talk;
use crate::values::Size;
use clap::Args;
use memtwin_lab::disk::DiskSpec;
use memtwin_lab::image::SUITE;
use memtwin_lab::{Arch, Cache, Progress, provision};
use memtwin_replicate::Stop;
use memtwin_report::ExitCode;
use memtwin_report::Failure;
use std::io::Write;
use std::path::{Path, PathBuf};

/// `memtwin lab image`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Image {
    /// The image; what stands there is replaced
    pub(crate) file: PathBuf,
    /// The guest's architecture
    #[arg(long, default_value = "aarch64", value_name = "aarch64|x86_64")]
    pub(crate) arch: Arch,
    /// The file system
    #[arg(long, default_value = "ext3", value_name = "ext2|ext3|ext4")]
    pub(crate) fstype: String,
    /// The image's size
    #[arg(long, default_value = "64M", value_name = "SIZE")]
    pub(crate) size: Size,
    /// A folder whose contents go into the root, on top of what is there
    #[arg(long, value_name = "DIR")]
    pub(crate) contents: Option<PathBuf>,
    /// A directory with the guest's programs, built before (`cargo xtask guest`) [default: they are
    /// built from the source tree]
    #[arg(long, value_name = "DIR", conflicts_with = "source")]
    pub(crate) programs: Option<PathBuf>,
    /// Memtwin's source tree, which has the guest's programs [default: the one this was built from]
    #[arg(long, value_name = "DIR")]
    pub(crate) source: Option<PathBuf>,
    /// No progress on stderr
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// Makes it.
pub(super) fn run(args: &Image, stop: &Stop) -> Result<ExitCode, Failure> {
    let mut talk = Talk::new(args.quiet, stop);
    let programs =
        programs(args.arch, args.programs.as_deref(), args.source.as_deref(), &mut talk)?;
    let cache = cache(&mut talk)?;
    let spec = DiskSpec {
        arch: args.arch,
        suite: SUITE,
        fstype: &args.fstype,
        bytes: args.size.0,
        programs: &programs,
        contents: args.contents.as_deref(),
    };
    spec.build(&cache, &args.file, &mut talk).map_err(Failure::environment)?;
    let line = format!(
        "{}: {}, {} MiB, e2fsck clean",
        args.file.display(),
        args.fstype,
        args.size.0 >> 20
    );
    // Whoever closes the pipe has seen enough.
    let _ = writeln!(std::io::stdout(), "{line}");
    Ok(ExitCode::Verified)
}

/// The programs that run in guests: those of a folder, or built.
pub(crate) fn programs(
    arch: Arch,
    folder: Option<&Path>,
    source: Option<&Path>,
    progress: &mut dyn Progress,
) -> Result<Vec<PathBuf>, Failure> {
    provision::guest_programs(arch, folder, source, progress).map_err(Failure::environment)
}

/// The cache. Nobody makes anything in it but us until it is dropped.
pub(crate) fn cache(progress: &mut dyn Progress) -> Result<Cache, Failure> {
    provision::open_cache(progress).map_err(Failure::environment)
}
