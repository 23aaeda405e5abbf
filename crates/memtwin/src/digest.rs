//! `memtwin digest QMP-SOCKET`: run by a migration on the host where a QEMU is, to digest the memory of
//! its guest, which stands still.

use clap::Args;
use memtwin_migrate::digest::{DigestError, Paused};
use memtwin_report::ExitCode;
use memtwin_report::Failure;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

/// `memtwin digest`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DigestArgs {
    /// The socket of QEMU's monitor
    socket: PathBuf,
    /// Write the bytes of this page (BLOCK:NUMBER) instead
    #[arg(long)]
    page: Vec<String>,
    /// Flip a word of this page (BLOCK:NUMBER) instead: the control of a migration
    #[arg(long, conflicts_with = "page")]
    flip: Option<String>,
}

/// Does it.
pub(crate) fn run(args: &DigestArgs) -> Result<ExitCode, Failure> {
    let done = || -> Result<(), DigestError> {
        let paused = Paused::attach(&args.socket)?;
        if let Some(page) = &args.flip {
            return paused.flip(page);
        }
        let mut output = BufWriter::with_capacity(1 << 16, io::stdout().lock());
        if args.page.is_empty() {
            paused.digest(&mut output)?;
        } else {
            paused.pages(&args.page, &mut output)?;
        }
        Ok(output.flush()?)
    };
    done().map(|()| ExitCode::Verified).map_err(Failure::environment)
}
