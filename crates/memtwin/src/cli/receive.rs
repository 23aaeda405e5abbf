//! The words of `memtwin receive`.

use super::OutputArgs;
use crate::remote_args::Keys;
use crate::values::Time;
use clap::Args;
use std::path::PathBuf;

/// `memtwin receive`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Receive {
    /// Where to listen: `HOST:PORT`; `systemd` is the socket that systemd hands over; `-` is standard input
    /// and output, for ssh
    #[arg(required_unless_present = "new_identity", value_name = "LISTEN")]
    pub(crate) listen: Option<String>,
    /// The twin's file, or a block device for a twin of one region
    #[arg(required_unless_present = "new_identity", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Make a pair of keys: keep this side's half, print the line to paste on the sender
    #[arg(long, conflicts_with_all = ["listen", "file"])]
    pub(crate) new_identity: bool,
    /// Serve one session after the other
    #[arg(long)]
    pub(crate) forever: bool,
    /// Write to a block device whatever it holds
    #[arg(long)]
    pub(crate) force_device: bool,
    /// Wait so long for a sender whose connection broke
    #[arg(long, default_value = "60s", value_name = "TIME")]
    pub(crate) wait: Time,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) keys: Keys,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) output: OutputArgs,
}
