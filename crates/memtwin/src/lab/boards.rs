//! `memtwin lab up|ssh|console|down`: boards with networks, for a person.

use super::replicate::need_qemu;
use super::talk::Talk;
use clap::{Args, ValueEnum};
use memtwin_lab::board::BoardSpec;
use memtwin_lab::boards::{Lab, LabError, LabFile, LabFolder, LabSpec, Nic, Node};
use memtwin_lab::root::BoardImage;
use memtwin_lab::running_lab::{self, EndRequests};
use memtwin_lab::{Arch, Flavour, Progress, provision};
use memtwin_replicate::Stop;
use memtwin_report::ExitCode;
use memtwin_report::Failure;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often it is seen whether the lab is to end.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The kernel of boards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kernel {
    /// Pages of 4 KiB
    #[default]
    #[value(name = "4k")]
    Pages4K,
    /// Pages of 16 KiB
    #[value(name = "16k")]
    Pages16K,
}

impl Kernel {
    fn flavour(self) -> Flavour {
        match self {
            Self::Pages4K => Flavour::Standard,
            Self::Pages16K => Flavour::Pages16K,
        }
    }
}

/// What boards are made of.
#[derive(Args, Clone, Debug)]
pub(crate) struct BoardArgs {
    /// The boards' kernel
    #[arg(long, value_enum, default_value = "4k", value_name = "4k|16k")]
    pub(crate) kernel: Kernel,
    /// The boards' CPU, by QEMU's name: max, neoverse-n1, cortex-a76, …
    #[arg(long, default_value = "max", value_name = "CPU")]
    pub(crate) cpu: String,
    /// How many CPUs each board has
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=8))]
    pub(crate) cpus: u16,
    /// Each board's memory in MiB
    #[arg(long, default_value_t = 1024, value_name = "MIB", value_parser = clap::value_parser!(u32).range(256..))]
    pub(crate) memory: u32,
}

impl BoardArgs {
    /// A board's CPU and memory.
    pub(crate) fn spec(&self) -> BoardSpec {
        let Self { cpus, memory, .. } = *self;
        BoardSpec { cpu: self.cpu.clone(), cpus, memory, append: String::new() }
    }
}

/// `memtwin lab up`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Up {
    /// How many boards: a, b, c, …, at 192.168.10.100 and up on the network that they share
    #[arg(default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    pub(crate) boards: u8,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) board: BoardArgs,
    /// Go on in the background until `memtwin lab down`
    #[arg(long)]
    pub(crate) detach: bool,
    /// A directory with the boards' programs, built before (`cargo xtask guest --memtwin`) [default:
    /// they are built from the source tree]
    #[arg(long, value_name = "DIR")]
    pub(crate) programs: Option<PathBuf>,
    /// Where its sockets, keys and consoles are [default: in $XDG_RUNTIME_DIR, or the system's place
    /// for temporary files]
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// No progress on stderr
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// What boards boot of, and what runs on them: the one comes from the network while the other is built.
pub(crate) fn image_and_programs(
    kernel: Kernel,
    given: Option<&Path>,
    talk: &Talk,
) -> Result<(BoardImage, Vec<LabFile>), Failure> {
    let mut talk = talk.clone();
    provision::board_image_and_programs(kernel.flavour(), given, &mut talk)
        .map_err(Failure::environment)
}

/// Memtwin and the guests' programs, built for boards; or as they lie in a folder.
pub(crate) fn programs(given: Option<&Path>, talk: &mut Talk) -> Result<Vec<LabFile>, Failure> {
    provision::board_programs(given, talk).map_err(Failure::environment)
}

/// Lines on standard output; a reader that has seen enough is no failure.
pub(super) fn shown(lines: impl IntoIterator<Item = String>) -> Result<ExitCode, Failure> {
    let mut out = std::io::stdout().lock();
    match lines.into_iter().try_for_each(|line| writeln!(out, "{line}")) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::environment(error))
        }
        _ => Ok(ExitCode::Verified),
    }
}

/// Boots boards and holds them until they are not wanted any more.
pub(super) fn up(args: &Up, stop: &Stop) -> Result<ExitCode, Failure> {
    need_qemu(Arch::Aarch64)?;
    let folder = super::state::folder(args.state.as_deref())?;
    if args.detach {
        return super::state::detached(&folder);
    }
    let mut talk = Talk::new(args.quiet, stop);
    let (image, files) = image_and_programs(args.board.kernel, args.programs.as_deref(), &talk)?;
    let nodes = (0..args.boards).map(|index| Node {
        name: char::from(b'a' + index).to_string(),
        spec: args.board.spec(),
        nics: vec![Nic {
            address: Some(format!("192.168.10.{}/24", 100 + index)),
            mtu: Some(9000),
        }],
        disks: Vec::new(),
        load: Vec::new(),
    });
    let spec = LabSpec { nodes: nodes.collect(), files };
    let own = LabFolder::at(&folder).map_err(Failure::environment)?;
    let mut lab = Lab::boot(&spec, &image, own, &mut talk).map_err(no_lab)?;
    lab.open_keyboards().map_err(no_lab)?;
    let requests = EndRequests::publish(&lab).map_err(super::state::not_found)?;
    for board in &lab.boards {
        talk.say(&format!("memtwin lab ssh {}", board.host.label()));
    }
    talk.say("up until `memtwin lab down`, or Ctrl-C here");
    // Nobody can end it any more, or use it, once its folder is gone.
    while !stop.wait(POLL_INTERVAL) && !requests.is_asked() && running_lab::is_published(&folder) {
        lab.boards.iter_mut().for_each(|board| board.machine.forget());
    }
    drop(lab);
    Ok(ExitCode::Verified)
}

/// A lab that does not come up.
pub(crate) fn no_lab(error: LabError) -> Failure {
    Failure::environment(error)
}
