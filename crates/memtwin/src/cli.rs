//! The command line. Its words, exit codes and formats are a contract: scripts depend on them.

mod check;

use crate::values::{Size, Time};
pub(crate) use check::{Check, CheckSource};
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use memtwin_kvm::Mode;
use memtwin_remote::{RemoteTarget as Target, TargetError};
use memtwin_report::json::JsonTarget;
use memtwin_room::OomScore;
use memtwin_stressor::Stressor;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

const EXIT_CODES: &str = "\
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
    Receive(crate::receive::Receive),
    /// Compare two memory images, page by page
    Verify(Verify),
    /// Move a loaded guest from one host to another, and judge whether it arrived intact
    Migrate(Box<crate::migrate::Migrate>),
    /// Boot guests and experiment on them
    Lab(crate::lab::Lab),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page of memtwin, or of one of its commands
    Man {
        /// The command
        command: Option<String>,
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
    Digest(crate::digest::Digest),
    /// Carries standard input and output to a unix socket; not for people
    #[command(hide = true)]
    Relay {
        /// The socket
        socket: PathBuf,
    },
}

/// How results are given.
#[derive(Args, Clone, Debug)]
pub(crate) struct Output {
    /// Write the run record to FILE; `-` writes it to stdout in place of the table
    #[arg(long, value_name = "FILE", value_parser = OsStringValueParser::new().try_map(json_target))]
    pub(crate) json: Option<JsonTarget>,
    /// How the results look on stdout
    #[arg(long, default_value = "human", value_parser = ["human", "ktap", "junit"])]
    pub(crate) format: String,
    /// No progress on stderr
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

fn json_target(given: OsString) -> Result<JsonTarget, &'static str> {
    if given.is_empty() { Err("expected a path or -") } else { Ok(JsonTarget::from(&*given)) }
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

/// A source to replicate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The embedded guest.
    Kvm,
    /// A plain process.
    Process,
    /// A running QEMU, by the socket of its QMP monitor.
    Qemu(PathBuf),
}

fn source(given: OsString) -> Result<Source, &'static str> {
    match given.to_str() {
        Some("kvm") => Ok(Source::Kvm),
        Some("process") => Ok(Source::Process),
        _ => path_after(&given, "qemu:")
            .map(Source::Qemu)
            .ok_or("expected kvm, process or qemu:QMP-SOCKET"),
    }
}

/// Where a twin goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Twin {
    /// A regular file.
    File(PathBuf),
    /// Another host, which keeps it.
    Remote(Target),
    /// Nowhere: to measure.
    Discard,
}

fn twin(given: OsString) -> Result<Twin, String> {
    if let Some(path) = path_after(&given, "file:") {
        return Ok(Twin::File(path));
    }
    match given.to_str() {
        Some("discard") => Ok(Twin::Discard),
        Some(text) if text.starts_with("tcp:") || text.starts_with("ssh:") => {
            text.parse().map(Twin::Remote).map_err(|error: TargetError| error.to_string())
        }
        _ => {
            Err("expected file:PATH, tcp://HOST:PORT, ssh://[USER@]HOST/PATH or discard".to_owned())
        }
    }
}

/// What ends a replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Until {
    /// A clean log after at least one that was not
    Clean,
}

/// `memtwin replicate`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Replicate {
    /// The guest: `kvm` (embedded), `process`, or `qemu:QMP-SOCKET`, a QEMU that runs already
    #[arg(value_parser = OsStringValueParser::new().try_map(source))]
    pub(crate) source: Source,
    /// The twin: `file:PATH` (a file or a block device; of a QEMU: a directory with an image for each
    /// RAMBlock),
    /// `tcp://HOST:PORT` (a `memtwin receive` there), `ssh://[USER@]HOST/PATH` or `discard`
    #[arg(value_parser = OsStringValueParser::new().try_map(twin))]
    pub(crate) twin: Twin,
    /// How long to sleep between rounds
    #[arg(long, default_value = "100ms", value_name = "TIME")]
    pub(crate) interval: Time,
    /// Stop at a clean log, pause the guest and judge
    #[arg(long, value_enum)]
    pub(crate) until: Option<Until>,
    /// Replicate so long at most, then pause the guest and judge
    #[arg(long, value_name = "TIME")]
    pub(crate) seconds: Option<Time>,
    /// Run so many rounds at most after pre-copy, then pause the guest and judge
    #[arg(long, value_name = "N")]
    pub(crate) rounds: Option<u32>,
    /// Let the guest's stressors write for so long [default: to the end]
    #[arg(long, value_name = "TIME")]
    pub(crate) guest_seconds: Option<Time>,
    /// Write each round's dirty bitmap to FILE (docs/dirty-bitmap.md)
    #[arg(long, value_name = "FILE")]
    pub(crate) dirty_bitmap: Option<PathBuf>,
    /// The file behind the guest's window
    #[arg(long, default_value = crate::memory_file::DEFAULT, value_name = "FILE")]
    pub(crate) memory: PathBuf,
    /// The window's size
    #[arg(long, default_value = "1M", value_name = "SIZE")]
    pub(crate) size: Size,
    /// How KVM's dirty log is asked
    #[arg(long, default_value = "get", value_name = "get|clear|ring")]
    pub(crate) mode: Mode,
    /// How many vCPUs (or threads) write
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) vcpus: u16,
    /// How pages get dirty
    #[arg(long, default_value = "random", value_name = "NAME", long_help = STRESSORS)]
    pub(crate) stressor: Stressor,
    /// How many pages a second the stressors write together [default: as many as they can]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) pace: Option<u64>,
    /// Of a QEMU: this RAMBlock alone; the twin is then a file
    #[arg(long, value_name = "NAME", help_heading = "QEMU")]
    pub(crate) block: Option<String>,
    /// QEMU's process id [default: found by its socket]
    #[arg(long, value_name = "PID", help_heading = "QEMU")]
    pub(crate) pid: Option<u32>,
    /// How long the guest may stand still for us at most
    #[arg(long, default_value = "250ms", value_name = "TIME", value_parser = pause, overrides_with = "max_pause", help_heading = "QEMU")]
    pub(crate) max_pause: Time,
    /// Write the twin to a block device whatever it holds
    #[arg(long)]
    pub(crate) force_device: bool,
    /// With --until clean: give up after so long (exit code 10)
    #[arg(long, value_name = "TIME", requires = "until")]
    pub(crate) timeout: Option<Time>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) remote: crate::remote_args::Sender,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) output: Output,
}

/// `memtwin audit`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Audit {
    /// The socket of QEMU's QMP monitor (`-qmp unix:PATH,server=on,wait=off`)
    pub(crate) socket: PathBuf,
    /// How long to audit before the guest is paused and judged [default: 5s]
    #[arg(long, value_name = "TIME")]
    pub(crate) seconds: Option<Time>,
    /// Run so many rounds at most after pre-copy
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: Option<u32>,
    /// Pause the guest and judge after every N rounds too
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pause_every: Option<u32>,
    /// How often in a second the log's pages are fetched; between, the guest is let alone
    #[arg(long, default_value_t = 2.0, value_name = "N", value_parser = rate)]
    pub(crate) rounds_per_second: f64,
    /// QEMU's process id [default: found by its socket]
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Option<u32>,
    /// How long the guest may stand still for us at most; what could not be compared by then is
    /// inconclusive
    #[arg(long, default_value = "250ms", value_name = "TIME", value_parser = pause, overrides_with = "max_pause")]
    pub(crate) max_pause: Time,
    /// Where the control's random choices begin
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Say what would be audited and changed, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) output: Output,
}

fn pause(text: &str) -> Result<Time, String> {
    let time: Time = text.parse()?;
    let (least, most) = (Duration::from_millis(1), Duration::from_secs(3600));
    if (least..=most).contains(&time.0) { Ok(time) } else { Err("expected 1ms to 1h".to_owned()) }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=1000.0).contains(&rate) => Ok(rate),
        _ => Err("expected a number from 0.001 to 1000".to_owned()),
    }
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
    pub(crate) output: Output,
}
