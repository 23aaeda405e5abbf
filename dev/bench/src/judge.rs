//! What an audit costs the guest and the host, by how it is judged: `memtwin audit --judge paused` and `running`
//! on a guest that writes flat out.

use crate::beside::{Aim, Measured};
use crate::qemu::WritingGuest;
use anyhow::{Context, Result, ensure};
use memtwin_child::Spawn;
use memtwin_report::RunRecord;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Guests of these sizes, in MiB, all of whose memory exists; the last one's is mostly untouched.
const SIZES: [u32; 4] = [256, 1024, 4096, 12288];
const UNTOUCHED: u32 = 12288;
/// How long an audit follows its guest.
const SECONDS: u64 = 4;
/// How long one may take.
const LIMIT: Duration = Duration::from_secs(300);
/// In the upper half of the smallest guest, where it does not write.
const SUSPECT: u64 = 200 << 20;

/// What an audit came to.
struct Cost {
    /// How long the guest stood still, in seconds.
    pause: f64,
    /// Pages that the guest wrote in a second, from the audit's first round on.
    pages: f64,
    /// The most memory that it took, in bytes.
    memory: f64,
}

/// Whether a page is written behind the log's back meanwhile.
#[derive(Clone, Copy, PartialEq)]
enum Lie {
    None,
    OnePage,
}

pub(crate) fn judge(dir: &Path, memtwin: &Path, turns: usize) -> Result<Vec<Measured>> {
    let mut measured = Vec::new();
    let mut confirmed: Vec<(u32, Vec<f64>)> = Vec::new();
    for size in SIZES {
        let (mut paused, mut running) = (Vec::new(), Vec::new());
        let (mut felt, mut plain) = (Vec::new(), Vec::new());
        let (mut memory, mut share) = (Vec::new(), Vec::new());
        let mut with_suspect = Vec::new();
        for _ in 0..turns.min(3) {
            let mut guest = WritingGuest::start_filled(size, size != UNTOUCHED)?;
            let audit = |guest: &mut WritingGuest, how: &str, lie| {
                audited(guest, dir, memtwin, how, lie)
                    .with_context(|| format!("an audit of {size} MiB, {how}"))
            };
            paused.push(audit(&mut guest, "paused", Lie::None)?.pause);
            let seen = audit(&mut guest, "running", Lie::None)?;
            running.push(seen.pause);
            felt.push(1e6 / seen.pages);
            memory.push(seen.memory);
            share.push(0.005 * f64::from(size) * 1048576.0 + 64.0 * 1048576.0);
            with_suspect.push(audit(&mut guest, "running", Lie::OnePage)?.pause);
            plain.push(1e6 / guest.under_plain_pre_copy(Duration::from_secs(SECONDS))?);
        }
        let of = |what: &str| format!("{what}, a guest of {size} MiB");
        let beside = "judged at a stop";
        measured.push(Measured::of_numbers(
            of("pause without a suspect, judged while it runs"),
            running,
            beside,
            paused.clone(),
            Aim::Reported,
            "s",
        ));
        measured.push(Measured::of_numbers(
            of("pause to confirm a page, judged while it runs"),
            with_suspect.clone(),
            beside,
            paused,
            Aim::Reported,
            "s",
        ));
        measured.push(Measured::of_numbers(
            of("a million pages written while it is judged running"),
            felt,
            "in a plain pre-copy (128 MiB/s, never let to its end)",
            plain,
            Aim::Faster(0.95),
            "s",
        ));
        measured.push(Measured::of_numbers(
            of("memory of an audit that judges while it runs"),
            memory,
            "half a percent of the guest's and 64 MiB",
            share,
            Aim::Cost(1.0),
            "bytes",
        ));
        confirmed.push((size, with_suspect));
    }
    if let [(least, of_least), .., (most, of_most)] = &confirmed[..] {
        measured.push(Measured::of_numbers(
            format!("pause to confirm a page, a guest of {most} MiB"),
            of_most.clone(),
            format!("of {least} MiB"),
            of_least.clone(),
            Aim::Cost(1.2),
            "s",
        ));
    }
    Ok(measured)
}

/// Audits it with the real program. Its own verdict has to be the right one.
fn audited(
    guest: &mut WritingGuest,
    dir: &Path,
    memtwin: &Path,
    how: &str,
    lie: Lie,
) -> Result<Cost> {
    let record: PathBuf = dir.join("audit.json");
    let mut command = Command::new(memtwin);
    command.arg("audit").arg(guest.qemu.qmp()).args(["--judge", how, "--quiet", "--json"]);
    command.arg(&record).args(["--max-pause", "1m", "--seconds", &SECONDS.to_string()]);
    command.stdout(Stdio::null());
    let mut child = command.spawn_bound()?;
    let (began, mut most) = (Instant::now(), 0.0);
    let mut from: Option<(u64, Instant)> = None;
    let mut lie = lie;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        ensure!(began.elapsed() < LIMIT, "it takes more than {} s", LIMIT.as_secs());
        most = f64::max(most, peak(child.id()).unwrap_or(0.0));
        let now = guest.report()?.ticks;
        if guest.is_followed()? && from.is_none() {
            from = Some((now, Instant::now()));
            if lie == Lie::OnePage {
                poke(guest)?;
                lie = Lie::None;
            }
        }
        thread::sleep(Duration::from_millis(5));
    };
    let (ticks, since) = from.context("it never came to its first round")?;
    let pages = (guest.report()?.ticks - ticks) as f64 / since.elapsed().as_secs_f64();
    let read: RunRecord = serde_json::from_slice(&fs::read(&record)?)?;
    let ram = read.cases.iter().find(|case| case.name() == "audit/pc.ram").context("no pc.ram")?;
    let expected = i32::from(ram.lost().len() == 1);
    ensure!(status.code() == Some(expected), "{status}: {:?}", ram.reason());
    Ok(Cost { pause: ram.guest_pause().unwrap_or_default().as_secs_f64(), pages, memory: most })
}

/// The most memory that this process has taken so far, in bytes.
fn peak(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024.0)
}

/// Writes behind the log's back.
fn poke(guest: &WritingGuest) -> Result<()> {
    let memory = File::options().write(true).open(format!("/proc/{}/mem", guest.qemu.pid()))?;
    let stamp = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
    memory.write_all_at(&stamp.to_le_bytes(), guest.hva()? + SUSPECT)?;
    Ok(())
}
