//! The command line of Memtwin: a file per command, and this.

#![forbid(unsafe_code)]

mod audit;
mod check;
mod cli;
mod digest;
mod generate;
mod helpers;
mod interrupt;
mod invocation;
mod lab;
mod migrate;
mod output;
mod pieces;
mod receive;
mod relay;
mod remote_args;
mod replicate;
mod report;
mod service;
mod sizes;
mod stderr_progress;
mod values;
mod verify;

use clap::error::ErrorKind;
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use cli::{Cli, Command};
use invocation::Invocation;
use memtwin_report::ExitCode;
use memtwin_report::{Failure, metrics};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::time::SystemTime;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

fn main() -> std::process::ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let started = Invocation::new(&words);
    let (cli, started) = match parse(&words) {
        Ok((cli, command, matches)) => (cli, started.parsed(&command, &matches)),
        Err(error) if error.kind() == ErrorKind::InvalidUtf8 => {
            let Failure { code, message } = not_text(&words);
            output::say(&format!("memtwin: {message}"));
            return code.into();
        }
        Err(error) => error.exit(),
    };
    let began = SystemTime::now();
    let to = cli.command.output_of_run().cloned();
    match log_events().and_then(|()| run(cli.command, started)) {
        Ok(code) => code.into(),
        Err(Failure { code, message }) => {
            if let Some(target) = to.and_then(|to| output::metrics_target(&to, code)) {
                // Why it can't be written was said, or is what is said now.
                let _ = metrics::save_failure(&target, began);
            }
            for line in format!("memtwin: {message}").lines() {
                output::say(line);
            }
            code.into()
        }
    }
}

/// The command line, with all its options and the values that were found.
fn parse(words: &[OsString]) -> Result<(Cli, clap::Command, ArgMatches), clap::Error> {
    let mut command = Cli::command();
    let matches = command.try_get_matches_from_mut(words)?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    Ok((cli, command, matches))
}

/// An argument is not UTF-8, where it is not a path.
fn not_text(words: &[OsString]) -> Failure {
    let bad = words.iter().skip(1).find(|word| word.to_str().is_none());
    let bad = bad.map(|word| word.as_bytes().escape_ascii().to_string()).unwrap_or_default();
    Failure::usage(format!(
        "the argument '{bad}' is not UTF-8: expected text, as it is not a file's path"
    ))
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

fn run(command: Command, line: Invocation) -> Result<ExitCode, Failure> {
    let stop = || interrupt::on_signals().map_err(Failure::environment);
    if matches!(command, Command::Check(_) | Command::Replicate(_) | Command::Audit(_)) {
        helpers::go_first();
    }
    match command {
        Command::Check(args) => check::run(args, line, &stop()?),
        Command::Replicate(args) => replicate::run(*args, line, &stop()?),
        Command::Audit(args) => audit::run(args, line, &stop()?),
        Command::Receive(args) => receive::run(&args, &line, &stop()?),
        Command::Verify(args) => verify::run(args, &line),
        Command::Migrate(args) => migrate::run(&args, &line, &stop()?),
        Command::Report(args) => report::run(&args),
        Command::Digest(args) => digest::run(&args),
        Command::Lab(args) => lab::run(args, &line, &stop()?),
        Command::Completions { shell } => {
            generate::completions(shell);
            Ok(ExitCode::Verified)
        }
        Command::Man { command, all } => {
            generate::man(&command, all.as_deref()).map(|()| ExitCode::Verified)
        }
        Command::ProcessWriter => helpers::writer(),
        Command::Guardian { oom_score_adj } => helpers::guardian(oom_score_adj),
        Command::Relay { socket } => relay::run(&socket),
    }
}
