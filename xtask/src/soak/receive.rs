//! Repeats a replication to `memtwin receive`, and kills the receiver with -9 at random moments of
//! it. What it leaves must never pass for a twin, its next life must go on, and the end must be two
//! equal files.

use super::options::{LIMIT, Soak};
use crate::interrupt::Interrupt;
use crate::run::run;
use crate::workspace::built;
use anyhow::{Context, Result, bail, ensure};
use memtwin_child::Spawn;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The receiver is killed up to this often in a run.
const MOST_DEATHS: u64 = 4;
/// A life lasts at most so long before it is ended.
const LONGEST_LIFE: u64 = 700;

/// Runs it as often as asked. Whether it came out right each time.
pub(super) fn soak(soak: &Soak, interrupt: &Interrupt) -> Result<bool> {
    let memtwin = built("memtwin", interrupt)?;
    let (mut deaths, mut failures) = (0, 0);
    for n in 1..=soak.runs {
        if interrupt.is_set() {
            return Ok(false);
        }
        let began = Instant::now();
        match once(soak, &memtwin, interrupt) {
            Ok(died) => {
                deaths += died;
                eprintln!("run {n:>3}: {died} deaths in {:.1} s", began.elapsed().as_secs_f64());
            }
            Err(error) => {
                eprintln!("run {n:>3}: {error:#}");
                failures += 1;
            }
        }
    }
    println!("{} runs: the receiver was killed {deaths} times, {failures} runs failed", soak.runs);
    Ok(failures == 0)
}

/// A child that does not outlive us.
struct HeldChild(Child);

impl Drop for HeldChild {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One replication.
struct Scene<'s> {
    memtwin: &'s Path,
    twin: PathBuf,
    memory: PathBuf,
    port: u16,
    errors: PathBuf,
}

fn once(soak: &Soak, memtwin: &Path, interrupt: &Interrupt) -> Result<u64> {
    let folder = tempfile::tempdir_in("/dev/shm").context("can't make a temporary folder")?;
    let at = |name: &str| folder.path().join(name);
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let scene =
        Scene { memtwin, twin: at("twin"), memory: at("memory"), port, errors: at("stderr") };
    let limit = soak.limit.map_or(LIMIT, Duration::from_secs);
    let began = Instant::now();
    let mut receiver = scene.receiver()?;
    scene.listens(&mut receiver)?;
    let mut sender = scene.sender(&soak.arguments)?;
    // Whom it reaches at first is to be known at once: only later calls are made again.
    scene.has_begun(&mut sender)?;
    let random = |below: u64| RandomState::new().hash_one(0) % below;
    let mut died = 0;
    for _ in 0..=random(MOST_DEATHS) {
        thread::sleep(Duration::from_millis(random(LONGEST_LIFE)));
        if sender.0.try_wait()?.is_some() {
            break;
        }
        receiver.0.kill()?;
        receiver.0.wait()?;
        died += 1;
        scene.is_no_twin(interrupt)?;
        receiver = scene.receiver()?;
    }
    let sent = scene.end(&mut sender, began, limit).context("the sender")?;
    ensure!(sent.success(), "the sender: {sent}: {}", scene.said());
    let received = scene.end(&mut receiver, began, limit).context("the receiver")?;
    ensure!(received.success(), "the receiver: {received}: {}", scene.said());
    let verified = scene.verify(&scene.memory, interrupt)?;
    ensure!(verified == Some(0), "memory and twin: verify ended with {verified:?}");
    let same = fs::read(&scene.memory)? == fs::read(&scene.twin)?;
    ensure!(same, "memory and twin differ, and verify did not see it");
    Ok(died)
}

impl Scene<'_> {
    fn receiver(&self) -> Result<HeldChild> {
        let mut command = Command::new(self.memtwin);
        command.arg("receive").arg(format!("127.0.0.1:{}", self.port)).arg(&self.twin);
        self.start(&mut command)
    }

    fn sender(&self, more: &[String]) -> Result<HeldChild> {
        let mut command = Command::new(self.memtwin);
        command.args(["replicate", "process"]).arg(format!("tcp://127.0.0.1:{}", self.port));
        command.args(["--size", "16M", "--interval", "5ms", "--guest-seconds", "2s", "--quiet"]);
        command.args(["--until", "clean", "--memory"]).arg(&self.memory).args(more);
        self.start(&mut command)
    }

    fn start(&self, command: &mut Command) -> Result<HeldChild> {
        let errors = File::options().create(true).append(true).open(&self.errors)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        Ok(HeldChild(command.spawn_bound().with_context(|| format!("{command:?}"))?))
    }

    /// What both have said on standard error.
    fn said(&self) -> String {
        fs::read_to_string(&self.errors).unwrap_or_default()
    }

    fn listens(&self, receiver: &mut HeldChild) -> Result<()> {
        let began = Instant::now();
        while !self.said().contains("listening at") {
            if receiver.0.try_wait()?.is_some() || began.elapsed() > Duration::from_secs(30) {
                bail!("the receiver does not listen: {}", self.said());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn has_begun(&self, sender: &mut HeldChild) -> Result<()> {
        let first = self.twin.with_extension("first");
        while !first.exists() && !self.twin.exists() {
            if sender.0.try_wait()?.is_some() {
                bail!("the sender did not begin: {}", self.said());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// What a killed receiver leaves is refused, or is not there.
    fn is_no_twin(&self, interrupt: &Interrupt) -> Result<()> {
        let there = self.twin.exists();
        let verified = self.verify(&self.twin, interrupt)?;
        let expected = if there { 11 } else { 3 };
        ensure!(
            verified == Some(expected),
            "what was left: verify ended with {verified:?}, expected {expected}"
        );
        Ok(())
    }

    fn verify(&self, against: &Path, interrupt: &Interrupt) -> Result<Option<i32>> {
        let mut command = Command::new(self.memtwin);
        command.arg("verify").arg(against).arg(&self.twin);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        match run(&mut command, Duration::from_secs(60), interrupt)? {
            crate::run::ProgramEnd::By(status) => Ok(status.code()),
            other => bail!("verify: {other}"),
        }
    }

    fn end(&self, child: &mut HeldChild, began: Instant, limit: Duration) -> Result<ExitStatus> {
        loop {
            if let Some(status) = child.0.try_wait()? {
                return Ok(status);
            }
            ensure!(
                began.elapsed() < limit,
                "not done after {} s: {}",
                limit.as_secs(),
                self.said()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
}
