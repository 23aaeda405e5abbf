//! Measures Memtwin beside what stands next to it, both in one run and in turns, since the machine
//! is shared and noisy: what counts is the ratio. Nothing here passes or fails.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

mod beside;
mod collect;
mod copy;
mod decoder;
mod judge;
mod memory;
mod migrate;
mod plain;
mod qemu;
mod remote;
mod verify;

use anyhow::{Context, Result};
use beside::Measured;
use clap::Parser;
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Measures Memtwin beside cp, dd, cmp, the bare ioctl, the reference daemon and QEMU's own migration.
#[derive(Debug, Parser)]
struct Args {
    /// Which to run [default: all but judge, and first-pass and link: a twin on another host]
    #[arg(value_parser = ["pre-copy", "delta", "collect", "scale", "verify", "memory", "decoder", "qemu", "judge", "first-pass", "link"])]
    only: Vec<String>,
    /// How often each is measured, in turns [default: 7; link: 1]
    #[arg(long)]
    turns: Option<usize>,
    /// The intervals that `link` tries, in milliseconds
    #[arg(long, value_delimiter = ',', default_values_t = INTERVALS)]
    intervals: Vec<f64>,
    /// Where the files lie: a tmpfs with 9 GiB of room
    #[arg(long, default_value = "/dev/shm")]
    dir: PathBuf,
    /// The memtwin binary, for `verify`
    #[arg(long)]
    memtwin: PathBuf,
    /// Keep the results in a JSON file
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Results {
    version: &'static str,
    results: Vec<Measured>,
    /// Every interval that `link` tried.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    link: Vec<remote::LoadAttempt>,
}

/// From what no pre-copy misses to what no link of 1 Gbit/s could carry as whole pages.
const INTERVALS: [f64; 16] =
    [100.0, 80.0, 75.0, 70.0, 60.0, 50.0, 40.0, 30.0, 20.0, 15.0, 10.0, 5.0, 3.0, 2.0, 1.5, 1.0];

/// What the folders of all benchmarks are called, before the process id of theirs.
const FOLDER: &str = "memtwin-bench-";

/// A folder for gigabytes. Removes those that killed ones have left.
fn folder(parent: &Path) -> Result<TempDir> {
    for entry in fs::read_dir(parent)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(FOLDER).and_then(|rest| rest.split('.').next());
        if let Some(Ok(pid)) = pid.map(str::parse::<u32>)
            && !Path::new(&format!("/proc/{pid}")).exists()
        {
            // Somebody else may be quicker.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let prefix = format!("{FOLDER}{}.", std::process::id());
    Ok(tempfile::Builder::new().prefix(&prefix).tempdir_in(parent)?)
}

fn main() -> Result<()> {
    let args = Args::parse();
    let turns = args.turns.unwrap_or(7);
    let dir = folder(&args.dir).context("a directory for the files")?;
    let wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|only| only == name);
    let mut results = Vec::new();
    let mut done = |measured: Measured| {
        println!("{measured}");
        results.push(measured);
    };
    if wanted("pre-copy") {
        copy::pre_copy(dir.path(), turns)?.into_iter().for_each(&mut done);
    }
    if wanted("delta") {
        done(copy::delta(dir.path(), turns)?);
    }
    if wanted("collect") {
        done(collect::collect(turns)?);
    }
    if wanted("scale") {
        done(copy::scale(turns)?);
    }
    if wanted("verify") {
        done(verify::verify(dir.path(), &args.memtwin, turns)?);
    }
    if wanted("memory") {
        done(memory::memory()?);
    }
    if wanted("decoder") {
        decoder::decoder(turns)?.into_iter().for_each(&mut done);
    }
    if wanted("qemu") {
        qemu::first_pass(dir.path(), &args.memtwin, turns)?.into_iter().for_each(&mut done);
        done(qemu::comparison(dir.path(), turns)?);
        done(qemu::pause(&args.memtwin, turns)?);
        done(qemu::felt(&args.memtwin, turns)?);
    }
    let asked = |name: &str| args.only.iter().any(|only| only == name);
    if asked("first-pass") {
        remote::first_passes(dir.path(), &args.memtwin, turns)?.into_iter().for_each(&mut done);
    }
    if asked("judge") {
        judge::judge(dir.path(), &args.memtwin, turns)?.into_iter().for_each(&mut done);
    }
    let mut attempts = Vec::new();
    if asked("link") {
        let plan = remote::LinkPlan {
            dir: dir.path(),
            memtwin: &args.memtwin,
            turns: args.turns.unwrap_or(1),
            intervals: &args.intervals,
        };
        let (measured, all) = remote::link(&plan)?;
        measured.into_iter().for_each(&mut done);
        attempts = all;
    }
    if let Some(path) = args.json {
        let results = Results { version: env!("CARGO_PKG_VERSION"), results, link: attempts };
        fs::write(&path, serde_json::to_vec_pretty(&results)?).context("the JSON file")?;
    }
    Ok(())
}
