//! Measures Memtwin beside what stands next to it, both in one run and in turns, since the machine
//! is shared and noisy: what counts is the ratio. Nothing here passes or fails.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

mod beside;
mod collect;
mod copy;
mod decoder;
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
use std::path::PathBuf;

/// Measures Memtwin beside cp, dd, cmp, the bare ioctl, the daemon of 2014 and QEMU's own migration.
#[derive(Debug, Parser)]
struct Args {
    /// Which to run [default: all but first-pass and link: a twin on another host]
    #[arg(value_parser = ["pre-copy", "delta", "collect", "scale", "verify", "memory", "decoder", "qemu", "first-pass", "link"])]
    only: Vec<String>,
    /// How often each is measured, in turns
    #[arg(long, default_value_t = 7)]
    turns: usize,
    /// Where the files lie: a tmpfs with 9 GiB of room
    #[arg(long, default_value = "/dev/shm")]
    dir: PathBuf,
    /// The memtwin binary, for `verify`
    #[arg(long)]
    memtwin: PathBuf,
    /// Run as the sender of `link`, in a network namespace; not for people
    #[arg(long, hide = true)]
    remote_sender: Option<std::net::SocketAddr>,
    /// Keep the results in a JSON file
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Results {
    version: &'static str,
    results: Vec<Measured>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(receiver) = args.remote_sender {
        return remote::sender(&args.memtwin, receiver);
    }
    let dir = tempfile::tempdir_in(&args.dir).context("a directory for the files")?;
    let wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|only| only == name);
    let mut results = Vec::new();
    let mut done = |measured: Measured| {
        println!("{measured}");
        results.push(measured);
    };
    if wanted("pre-copy") {
        copy::pre_copy(dir.path(), args.turns)?.into_iter().for_each(&mut done);
    }
    if wanted("delta") {
        done(copy::delta(dir.path(), args.turns)?);
    }
    if wanted("collect") {
        done(collect::collect(args.turns)?);
    }
    if wanted("scale") {
        done(copy::scale(args.turns)?);
    }
    if wanted("verify") {
        done(verify::verify(dir.path(), &args.memtwin, args.turns)?);
    }
    if wanted("memory") {
        done(memory::memory()?);
    }
    if wanted("decoder") {
        decoder::decoder(args.turns)?.into_iter().for_each(&mut done);
    }
    if wanted("qemu") {
        qemu::first_pass(dir.path(), &args.memtwin, args.turns)?.into_iter().for_each(&mut done);
        done(qemu::comparison(dir.path(), args.turns)?);
        done(qemu::pause(&args.memtwin, args.turns)?);
        done(qemu::felt(&args.memtwin, args.turns)?);
    }
    let asked = |name: &str| args.only.iter().any(|only| only == name);
    if asked("first-pass") {
        remote::first_passes(dir.path(), &args.memtwin, args.turns)?.into_iter().for_each(done);
    }
    if asked("link") {
        remote::link(dir.path(), &args.memtwin)?;
    }
    if let Some(path) = args.json {
        let results = Results { version: env!("CARGO_PKG_VERSION"), results };
        fs::write(&path, serde_json::to_vec_pretty(&results)?).context("the JSON file")?;
    }
    Ok(())
}
