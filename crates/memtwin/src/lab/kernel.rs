//! `memtwin lab build`: what boards boot, made before it is needed.

use super::check::Kernel;
use super::talk::Talk;
use clap::Args;
use memtwin_lab::image::{ImageSpec, SUITE};
use memtwin_lab::kernel::own;
use memtwin_lab::remote_runner::check_image;
use memtwin_lab::root::{self, BoardImage};
use memtwin_lab::{Arch, Cache, Flavour, Progress};
use memtwin_replicate::Stop;
use memtwin_report::ExitCode;
use memtwin_report::Failure;
use std::io::Write;

/// `memtwin lab build`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Build {
    /// The page sizes of the kernels: 4k and 16k are Debian's; 64k is built from Debian's source,
    /// which takes some minutes
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "4k",
        value_name = "4k|16k|64k,…"
    )]
    kernel: Vec<Kernel>,
    /// How many compilers work at a time [default: one for each CPU]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Say what would be fetched and built
    #[arg(long)]
    dry_run: bool,
    /// No progress on stderr
    #[arg(long, short)]
    quiet: bool,
}

/// Builds it.
pub(super) fn run(args: &Build, stop: &Stop) -> Result<ExitCode, Failure> {
    let mut talk = Talk::new(args.quiet, stop);
    let mut out = std::io::stdout().lock();
    let mut say = |line: String| writeln!(out, "{line}").map_err(Failure::environment);
    for kernel in crate::values::distinct(&args.kernel) {
        let flavour = kernel.flavour();
        if args.dry_run {
            plan(flavour, &mut talk)?.into_iter().try_for_each(&mut say)?;
            continue;
        }
        if flavour == Flavour::Pages64K {
            let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            let jobs = args.jobs.unwrap_or(cpus).max(1);
            own::build(flavour, SUITE, jobs, &mut talk).map_err(Failure::environment)?;
        }
        let image = check_image(flavour, &mut talk).map_err(Failure::environment)?;
        say(format!("{kernel} {} {}", image.kernel.display(), image.initrd.display()))?;
        // Boards with a disk and networks need Debian's modules.
        if flavour != Flavour::Pages64K {
            let place = Cache::place().map_err(Failure::environment)?;
            let cache = Cache::open(&place, &mut talk).map_err(Failure::environment)?;
            let image = root::build(&cache, flavour, &mut talk).map_err(Failure::environment)?;
            let BoardImage { boot, root } = image;
            let [kernel_file, initrd, root] = [boot.kernel, boot.initrd, root];
            let files = [kernel_file.display(), initrd.display(), root.display()];
            say(format!("{kernel} {} {} {}", files[0], files[1], files[2]))?;
        }
    }
    talk.say("built");
    Ok(ExitCode::Verified)
}

fn plan(flavour: Flavour, talk: &mut Talk) -> Result<Vec<String>, Failure> {
    let place = Cache::place().map_err(Failure::environment)?;
    let cache = Cache::open(&place, talk).map_err(Failure::environment)?;
    let (arch, modules, programs, files) = (Arch::Aarch64, &[][..], &[][..], &[][..]);
    let spec = ImageSpec { arch, suite: SUITE, kernel: flavour, modules, programs, files };
    let plan = spec.plan(&cache, talk).map_err(Failure::environment)?;
    let mut lines: Vec<String> = plan.lines().collect();
    if flavour != Flavour::Pages64K {
        let plan = root::plan(&cache, flavour, talk).map_err(Failure::environment)?;
        lines.extend(plan.lines());
    }
    Ok(lines)
}
