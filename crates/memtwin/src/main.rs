//! The command line of Memtwin: a file per command, and this.

#![forbid(unsafe_code)]

mod audit;
mod bitmap_file;
mod check;
mod cli;
mod convergence;
mod course;
mod digest;
mod discards;
mod failure;
mod generate;
mod guest;
mod image;
mod interrupt;
mod judge;
mod lab;
mod memory_file;
mod migrate;
mod output;
mod process_guest;
mod qemu_guest;
mod receive;
mod relay;
mod remote_args;
mod remote_twin;
mod replicate;
mod replicate_qemu;
mod seed;
mod sizes;
mod standing;
mod values;
mod verify;

use clap::Parser;
use cli::{Cli, Command};
use failure::Failure;
use memtwin_report::ExitCode;
use std::io::Write;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

fn main() -> std::process::ExitCode {
    // As typed, for the record.
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    let cli = Cli::parse();
    match log_events().and_then(|()| run(cli.command, command)) {
        Ok(code) => code.into(),
        Err(Failure { code, message }) => {
            // Where standard error is gone, the exit code still tells.
            let _ = writeln!(std::io::stderr(), "memtwin: {message}");
            code.into()
        }
    }
}

/// Logs events to standard error: errors, or what MEMTWIN_LOG names (`debug`, `memtwin_tap=trace,info`).
fn log_events() -> Result<(), Failure> {
    let named = std::env::var("MEMTWIN_LOG").unwrap_or_default();
    let unknown = |error| {
        let expected = "a level, or TARGET=LEVEL,...";
        Failure::usage(format!("MEMTWIN_LOG={named}: expected {expected}: {error}"))
    };
    let targets = match named.as_str() {
        "" => Targets::new().with_default(LevelFilter::ERROR),
        named => named.parse().map_err(unknown)?,
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(lines).with(targets).init();
    Ok(())
}

fn run(command: Command, line: String) -> Result<ExitCode, Failure> {
    let stop = || interrupt::on_signals().map_err(Failure::environment);
    match command {
        Command::Check(args) => check::run(&args, line, &stop()?),
        Command::Replicate(args) => replicate::run(&args, line, &stop()?),
        Command::Audit(args) => audit::run(&args, line, &stop()?),
        Command::Receive(args) => receive::run(&args, line, &stop()?),
        Command::Verify(args) => verify::run(&args, line),
        Command::Migrate(args) => migrate::run(&args, line, &stop()?),
        Command::Digest(args) => digest::run(&args),
        Command::Lab(args) => lab::run(&args, line, &stop()?),
        Command::Completions { shell } => {
            generate::completions(shell);
            Ok(ExitCode::Verified)
        }
        Command::Man { command } => generate::man(command.as_deref()).map(|()| ExitCode::Verified),
        Command::ProcessWriter => process_guest::writer(),
        Command::Guardian => qemu_guest::guardian(),
        Command::Relay { socket } => relay::run(&socket),
    }
}
