//! The command line. Its words, exit codes and formats are a contract: scripts depend on them.

mod audit;
mod check;
mod judge;
pub(crate) mod lab;
mod manual;
mod migrate;
mod output_args;
mod receive;
mod replicate;
mod report;

use crate::values::{Size, Time};
pub(crate) use audit::Audit;
pub(crate) use check::Check;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
pub(crate) use judge::JudgeArgs;
pub(crate) use manual::{MAN_ENVIRONMENT, MAN_NOTES};
use memtwin_room::OomScore;
use memtwin_session::HazardPolicy;
pub(crate) use migrate::Migrate;
pub(crate) use output_args::OutputArgs;
pub(crate) use receive::Receive;
pub(crate) use replicate::{Replicate, SourceArg};
pub(crate) use report::Report;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) const EXIT_CODES: &str = "\
Exit codes:
    0  verified
    1  mismatch: pages were lost, or a control was not found
    2  usage
    3  environment: a missing device, permission, tool or room
    4  everything skipped
   10  did not converge
   11  inconclusive: something died, or made no progress
  130  interrupted";

/// Keeps a bit-exact twin of a running guest's memory, fed by the hypervisor's dirty page log
/// alone, and says whether the log told the truth.
#[derive(Debug, Parser)]
#[command(name = "memtwin", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check whether this host's dirty log ever misses a write
    Check(Check),
    /// Keep a twin of a guest's memory
    Replicate(Box<Replicate>),
    /// Check whether the dirty log of a running QEMU tells the truth about its guest
    Audit(Audit),
    /// Receive a twin from another host
    Receive(Receive),
    /// Compare two memory images, page by page
    Verify(Verify),
    /// Move a loaded guest from one host to another, and judge whether it arrived intact
    Migrate(Box<Migrate>),
    /// Show run records as a page, or say what of one is worse than in another
    Report(Report),
    /// Boot guests and experiment on them
    Lab(lab::LabArgs),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page of memtwin, or of one of its commands
    Man {
        /// The command, in the words with which it is given: `lab run check`
        command: Vec<String>,
        /// Write the page of every command into DIR instead
        #[arg(long, value_name = "DIR", conflicts_with = "command")]
        all: Option<PathBuf>,
    },
    /// The child process of the source `process`; not for people
    #[command(hide = true)]
    ProcessWriter,
    /// The process that leaves QEMU as it was found if we are killed; not for people
    #[command(hide = true)]
    Guardian {
        /// How readily the kernel may end it for want of memory, if not as readily as us
        #[arg(long, allow_hyphen_values = true)]
        oom_score_adj: Option<OomScore>,
    },
    /// The digests of a paused guest's memory; not for people
    #[command(hide = true)]
    Digest(crate::digest::DigestArgs),
    /// Carries standard input and output to a unix socket; not for people
    #[command(hide = true)]
    Relay {
        /// The socket
        socket: PathBuf,
    },
}

impl Command {
    /// How the results of a run are given; none of a command that runs nothing.
    pub(crate) fn output_of_run(&self) -> Option<&OutputArgs> {
        match self {
            Self::Check(args) => (!args.dry_run).then_some(&args.output),
            Self::Replicate(args) => Some(&args.output),
            Self::Audit(args) => (!args.dry_run).then_some(&args.output),
            Self::Receive(args) => (!args.new_identity).then_some(&args.output),
            Self::Verify(args) => Some(&args.output),
            Self::Migrate(args) => Some(&args.output),
            Self::Lab(args) => args.output_of_run(),
            Self::Report(_)
            | Self::Completions { .. }
            | Self::Man { .. }
            | Self::ProcessWriter
            | Self::Guardian { .. }
            | Self::Digest(_)
            | Self::Relay { .. } => None,
        }
    }
}

/// What follows a prefix, if something does: a path, which need not be UTF-8.
fn path_after(given: &OsStr, prefix: &str) -> Option<PathBuf> {
    let path = given.as_bytes().strip_prefix(prefix.as_bytes()).filter(|path| !path.is_empty())?;
    Some(PathBuf::from(OsStr::from_bytes(path)))
}

const STRESSORS: &str = "\
How pages get dirty [default: every way in turn]:
  random      random pages, a changing word in each
  sequential  each page in turn
  strided     every N-th page
  atomic      an atomic read-modify-write
  zero        whole pages set to zero (DC ZVA, rep stos)
  straddle    one store across a page boundary
  once        each page exactly once, at a random moment
  walker      the page-table walker's accessed and dirty updates";

pub(crate) fn ring_entries(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(entries) if entries.is_power_of_two() && entries >= 64 => Ok(entries),
        _ => Err("expected a power of two of 64 or more".to_owned()),
    }
}

/// What `--force` says of guests that QEMU is known to harm by migrating them.
fn hazards(force: bool) -> HazardPolicy {
    if force { HazardPolicy::Accept } else { HazardPolicy::Refuse }
}

fn pause(text: &str) -> Result<Time, String> {
    let time: Time = text.parse()?;
    let (least, most) = (Duration::from_millis(1), Duration::from_secs(3600));
    if (least..=most).contains(&time.0) { Ok(time) } else { Err("expected 1ms to 1h".to_owned()) }
}

/// `memtwin verify`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Verify {
    /// The memory image
    pub(crate) a: PathBuf,
    /// Its twin
    pub(crate) b: PathBuf,
    /// The page size in which differences are named [default: this host's]
    #[arg(long, value_name = "SIZE")]
    pub(crate) page_size: Option<Size>,
    /// Compare a twin also if it is unfinished, or may be: as it is, at this moment
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) output: OutputArgs,
}
