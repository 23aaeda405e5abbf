//! What a developer of Memtwin runs: `cargo xtask test`, `cargo xtask soak`,
//! `cargo xtask bench`, `cargo xtask fuzz`, `cargo xtask repro`, `cargo xtask targets`, `cargo xtask guest`.

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it talks to a developer at a terminal"
)]

mod bench;
mod cross;
mod dist;
mod fuzz;
mod guest;
mod hugetlb;
mod interrupt;
mod needs;
mod packages;
mod peer;
mod programs;
mod promtool;
mod record_schema;
mod releases;
mod repro;
mod run;
mod shown;
mod soak;
mod steps;
mod structure;
mod targets;
mod test;
mod workspace;

use clap::{Parser, Subcommand};
use interrupt::Interrupt;
use std::process::ExitCode;

const EXIT_CODES: &str = "\
Exit codes:
    0  everything passed
    1  something failed
    2  usage
    3  environment: something is missing that can't be installed from here
  130  interrupted";

/// What a developer of Memtwin runs.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", after_help = EXIT_CODES, arg_required_else_help = true)]
struct XtaskCli {
    #[command(subcommand)]
    command: XtaskCommand,
}

#[derive(Subcommand)]
enum XtaskCommand {
    /// Install what the tests need, then run every check that CI runs
    Test,
    /// Check the crates and their files against the map in ARCHITECTURE.md
    Structure,
    /// Build the programs that run in guests, static, into target/guest
    Guest(guest::GuestBuild),
    /// Repeat something and require the same outcome each time
    Soak(soak::Soak),
    /// Measure Memtwin beside cp, dd, cmp, the bare ioctl and the reference daemon
    Bench(bench::BenchArgs),
    /// Build what is installed: static programs, a Debian package, source, SBOM, sums (docs/install.md)
    Dist(dist::Dist),
    /// Run a fuzz target for a while, with AddressSanitizer
    Fuzz(fuzz::Fuzz),
    /// Run the kernel's own dirty_log_test and ours on the same emulated board (docs/compare.md)
    Peer(peer::Compare),
    /// Reproduce a dirty-log bug of QEMU, or show a layout to be sound
    Repro(repro::Repro),
    /// Write docs/record.schema.json from the types of the run record
    RecordSchema,
    /// Audit a board of every target that QEMU emulates, and print the table of them (docs/qemu-targets.md)
    Targets(targets::Targets),
}

fn main() -> ExitCode {
    let command = XtaskCli::parse().command;
    let interrupt = Interrupt::default();
    let passed = interrupt.listen().and_then(|()| match command {
        XtaskCommand::Test => test::test(&interrupt),
        XtaskCommand::Structure => structure::check(),
        XtaskCommand::Guest(guest) => guest.run(&interrupt),
        XtaskCommand::Soak(soak) => soak.run(&interrupt),
        XtaskCommand::Bench(bench) => bench.run(&interrupt),
        XtaskCommand::Dist(dist) => dist.run(&interrupt),
        XtaskCommand::Fuzz(fuzz) => fuzz.run(&interrupt),
        XtaskCommand::Peer(compare) => compare.run(&interrupt),
        XtaskCommand::Repro(repro) => repro.run(&interrupt),
        XtaskCommand::RecordSchema => record_schema::write(&interrupt),
        XtaskCommand::Targets(targets) => targets.run(&interrupt),
    });
    if let Err(error) = &passed {
        eprintln!("xtask: {error:#}");
    }
    // Whatever came of it: someone who interrupts is told so, and that nothing is proved.
    if interrupt.is_set() {
        eprintln!("xtask: interrupted");
        return ExitCode::from(130);
    }
    match passed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(_) => ExitCode::from(3),
    }
}
