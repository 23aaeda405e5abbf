//! What is special about an experiment on another machine.

use super::boards::BoardKernel;
use crate::values::Time;
use clap::Args;
use memtwin_experiments::RemoteArgs;
use std::path::PathBuf;

/// What is special about a run on another machine.
#[derive(Args, Clone, Debug)]
pub(crate) struct RemoteOptions {
    /// The emulated board's kernel
    #[arg(long, value_enum, default_value = "4k", value_name = "4k|16k")]
    board_kernel: BoardKernel,
    /// The emulated board's CPU, by QEMU's name
    #[arg(long, default_value = "max", value_name = "CPU")]
    board_cpu: String,
    /// A directory with the programs for the other machine and its guests, built before (`cargo xtask
    /// guest --memtwin`) [default: they are built from the source tree]
    #[arg(long, value_name = "DIR")]
    board_programs: Option<PathBuf>,
    /// Where `emulated:NAME` is up, if it was started with --state
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// How long a run may take there
    #[arg(long, default_value = "10m", value_name = "TIME")]
    board_timeout: Time,
}

impl RemoteOptions {
    /// What is asked for.
    pub(super) fn into_config(self) -> RemoteArgs {
        RemoteArgs {
            board_kernel: self.board_kernel.flavour(),
            board_cpu: self.board_cpu,
            board_programs: self.board_programs,
            state: self.state,
            timeout: self.board_timeout.0,
        }
    }
}
