//! A twin on another host: how fast the first pass is over a loopback, and how fast a guest may
//! write into a window when the link has 1 Gbit/s.

mod converge;
mod guest;
mod lab;
mod link;
mod load;
mod precopy;
mod receiver;

pub(crate) use link::LinkPlan;
pub(crate) use load::LoadAttempt;

use crate::beside::{Aim, Measured};
use crate::plain::PlainMemory;
use anyhow::{Context, Result, bail};
use memtwin_mapping::{Mapping, host_page_size};
use memtwin_remote::{
    Identity, RemoteTarget as TapTarget, RemoteTwin, Security, SenderConfig, TlsClient,
};
use memtwin_replicate::{CancelToken, Replication};
use receiver::ReceiverProcess;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// How much the first pass carries.
const LEN: usize = 2 << 30;

/// The first pass, in every way.
pub(crate) fn first_passes(dir: &Path, memtwin: &Path, turns: usize) -> Result<Vec<Measured>> {
    let mut results = Vec::new();
    for (what, tls, delta) in [
        ("plain text", false, true),
        ("plain text, no copy for deltas", false, false),
        ("TLS 1.3", true, true),
        ("TLS 1.3, no copy for deltas", true, false),
    ] {
        results.push(first_pass(dir, memtwin, turns, what, tls, delta)?);
    }
    Ok(results)
}

/// A guest that writes, over a shaped link. Needs root, /dev/kvm and QEMU.
pub(crate) fn link(plan: &LinkPlan<'_>) -> Result<(Vec<Measured>, Vec<LoadAttempt>)> {
    link::measure(plan, &on_signals()?)
}

/// A stop that the first signal sets: everything that was started is ended on the way out.
fn on_signals() -> Result<CancelToken> {
    let stop = CancelToken::default();
    let waker = stop.clone();
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    thread::spawn(move || signals.forever().for_each(|_| waker.set()));
    Ok(stop)
}

/// A whole guest over the loopback to a receiver of its own process, beside a bare socket.
fn first_pass(
    dir: &Path,
    memtwin: &Path,
    turns: usize,
    what: &str,
    tls: bool,
    delta: bool,
) -> Result<Measured> {
    let key = dir.join("identity");
    let line = if tls {
        let _ = std::fs::remove_file(&key);
        let mut make = Command::new(memtwin);
        make.args(["receive", "--quiet", "--new-identity", "--identity"]).arg(&key);
        Some(String::from_utf8(make.output()?.stdout)?)
    } else {
        None
    };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..turns {
        let mut source = PlainMemory::new(Mapping::anonymous(LEN, host_page_size())?)?;
        let keys = if tls { vec!["--identity", key.to_str().context("a path")?] } else { vec![] };
        let mut receiver =
            ReceiverProcess::start(&Command::new(memtwin), "127.0.0.1:0", dir, &keys)?;
        let security = match &line {
            Some(line) => Security::Tls(TlsClient::pinned(&Identity::parse(line.trim())?)?),
            None => Security::Plain,
        };
        let config = SenderConfig { delta, ..config(receiver.address, security) };
        let stop = CancelToken::default();
        let mut twin = RemoteTwin::connect(config, stop.clone())?;
        let began = Instant::now();
        let mut replication = Replication::start(&mut source, &mut twin, ())?;
        let made = began.elapsed();
        replication.round(&stop)?;
        drop(replication.pause_and_settle(&stop)?);
        let all = began.elapsed();
        eprintln!(
            "  {what}: {:.2} GB/s, {:.2} with making room",
            gigabytes(all - made),
            gigabytes(all)
        );
        ours.push(all - made);
        drop(replication);
        twin.finish(memtwin_wire::TwinVerdict::Inconclusive, "a measurement", &[])?.err();
        receiver.end()?;
        drop(source);
        theirs.push(bare(dir)?);
    }
    let what = format!("first pass of 2 GiB to a receiver on the loopback, {what}");
    let aim = Aim::Cost(2.0);
    Ok(Measured::of(what, &ours, "a bare socket, from memory into a file", &theirs, aim))
}

fn gigabytes(time: Duration) -> f64 {
    LEN as f64 / 1e9 / time.as_secs_f64()
}

/// How to send there.
fn config(address: SocketAddr, security: Security) -> SenderConfig {
    let target = TapTarget::Tcp { host: address.ip().to_string(), port: address.port() };
    SenderConfig::new(target, security)
}

/// The same bytes by write(2) into a socket, and by read(2) and pwrite(2) into a file.
fn bare(dir: &Path) -> Result<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let file = File::options().write(true).create(true).truncate(true).open(dir.join("bare"))?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, LEN as u64)?;
    let memory = Mapping::anonymous(LEN, host_page_size())?;
    memtwin_stressor::fill(&memory, LEN, host_page_size(), 1);
    let began = Instant::now();
    let receiver = thread::spawn(move || -> Result<()> {
        let mut socket = listener.accept()?.0;
        let (mut buffer, mut at) = (vec![0; 256 << 10], 0);
        loop {
            let read = socket.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            file.write_all_at(&buffer[..read], at)?;
            at += read as u64;
        }
    });
    let mut socket = TcpStream::connect(address)?;
    let mut buffer = vec![0; 256 << 10];
    for at in (0..LEN).step_by(buffer.len()) {
        memory.read(at, &mut buffer);
        socket.write_all(&buffer)?;
    }
    drop(socket);
    let Ok(done) = receiver.join() else { bail!("the receiving thread panicked") };
    done?;
    Ok(began.elapsed())
}
