//! `cargo xtask test`: everything that CI checks, in the order in which it fails soonest.

use crate::guest::GuestBuild;
use crate::interrupt::Interrupt;
use crate::packages::Rights;
use crate::steps::Steps;
use crate::structure::packages_by_architecture;
use crate::workspace::cargo;
use crate::{cross, needs};
use anyhow::{Context, bail};
use std::process::Command;
use std::thread;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// The shim is no library that Rust code could use, so it has no examples to test.
const DOC_TESTS: [&str; 5] = ["test", "--doc", "--workspace", "--exclude", "memtwin-shim"];

/// Installs what is missing and takes every step. Whether all passed.
///
/// Errors: something is missing that can't be installed from here.
pub(crate) fn test(interrupt: &Interrupt) -> anyhow::Result<bool> {
    let mut steps = Steps::new(interrupt);
    let ready = steps.work("set-up", || needs::meet(interrupt))?;

    steps.command("format", 2 * MINUTE, &mut cargo(&["fmt", "--all", "--check"]))?;
    let structure = std::env::current_exe().context("our own program")?;
    steps.command("structure", 5 * MINUTE, Command::new(structure).arg("structure"))?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    steps.command("clippy", 15 * MINUTE, &mut cargo(&clippy))?;
    let other = cross::other();
    // All that is for both is built for a board below.
    let packages = packages_by_architecture()?;
    steps.command(other.triple, 15 * MINUTE, &mut other.check(ready.cross, &packages))?;
    let mut doc = cargo(&["doc", "--no-deps", "--workspace"]);
    steps.command("documentation", 10 * MINUTE, doc.env("RUSTDOCFLAGS", "-Dwarnings"))?;
    steps.command("doc tests", 10 * MINUTE, &mut cargo(&DOC_TESTS))?;
    // Each test that needs them would build them, in its own time.
    steps.work("programs of boards", || match GuestBuild::of_the_tests().run(interrupt)? {
        true => Ok(()),
        false => bail!("the programs of boards were not built"),
    })?;
    if Rights::ours() == Rights::Root {
        let package = ["xtask", "dist", "--only", "deb", "--profile", "dev", "--try"];
        steps.command("package", 15 * MINUTE, &mut cargo(&package))?;
    } else if std::env::var("CI").is_ok_and(|ci| ci == "true") {
        bail!("CI must run as root: it installs the Debian package in a fresh Debian");
    } else {
        eprintln!("package: not tried, as that enters a fresh Debian: run this as root");
    }
    // Last, so that the runner's closing lines stand at the end, above the summary.
    let mut tests = if ready.nextest {
        let mut tests = cargo(&["nextest", "run", "--workspace", "--no-fail-fast"]);
        tests.args(["--test-threads", &(cpus()? + 1).to_string()]);
        tests
    } else {
        cargo(&["test", "--workspace", "--all-targets", "--no-fail-fast"])
    };
    steps.command("tests", 60 * MINUTE, &mut tests)?;
    Ok(steps.summary())
}

/// How many CPUs there are. One test more than that runs at a time, as most of them wait for most of their time;
/// those that keep CPUs busy are a group of their own (.config/nextest.toml).
fn cpus() -> anyhow::Result<usize> {
    Ok(thread::available_parallelism().context("the number of CPUs")?.get())
}
