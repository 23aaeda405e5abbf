//! Streams from the QEMU that is installed, recorded here: what the twin ends up with is what the
//! guest has, and a stream that breaks off at any byte of its first MiB says so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test may end at what it did not expect"
)]

mod common;

use common::watch;
use memtwin_child::Spawn;
use memtwin_stream::{BlockEntry, Decoder, SectionKind, StreamFault, StreamLimits, StreamVisitor};
use std::convert::Infallible;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// No recording takes longer; a QEMU that does is killed, and the test fails.
const LIMIT: Duration = Duration::from_secs(120);
const PAGE: usize = 4096;

/// A QEMU that does not outlive the test.
struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether the test must be skipped, as a program is missing; in CI none is.
fn is_missing(qemu: &str) -> bool {
    let there = Command::new(qemu).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !there {
        eprintln!("skipped: no {qemu}");
        assert!(std::env::var_os("CI").is_none(), "{qemu} is missing in CI");
    }
    !there
}

/// Memory of random pages and zero pages, as a file.
fn memory(place: &Path, bytes: usize) -> PathBuf {
    let mut random = fastrand::Rng::with_seed(9);
    let mut memory = vec![0; bytes];
    for page in memory.chunks_mut(PAGE).skip(300).step_by(3) {
        random.fill(page);
    }
    let path = place.join("memory");
    fs::write(&path, memory).unwrap();
    path
}

/// Starts a machine on that memory, migrates it into a file, and returns the stream. The machine
/// is stopped at the end of it, so the memory is as it was sent.
fn record(qemu: &str, machine: &[&str], place: &Path, memory: &Path, before: &str) -> Vec<u8> {
    let stream = place.join("stream");
    let bytes = fs::metadata(memory).unwrap().len();
    let backend =
        format!("memory-backend-file,id=twin,share=on,size={bytes},mem-path={}", memory.display());
    let mut qemu = Command::new(qemu);
    qemu.args(["-display", "none", "-nodefaults", "-accel", "tcg", "-monitor", "stdio"]);
    qemu.args(["-object", &backend, "-m", &format!("{}M", bytes >> 20)]).args(machine);
    qemu.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut qemu = Held(qemu.spawn_bound().unwrap());
    let mut orders = qemu.0.stdin.take().unwrap();
    writeln!(orders, "{before}\nmigrate \"exec:cat > {}\"\nquit", stream.display()).unwrap();
    let begin = Instant::now();
    while qemu.0.try_wait().unwrap().is_none() {
        assert!(begin.elapsed() < LIMIT, "QEMU is not done");
        std::thread::sleep(Duration::from_millis(20));
    }
    fs::read(stream).unwrap()
}

/// The memory that a stream leaves behind.
#[derive(Default)]
struct Twin {
    entries: Vec<BlockEntry>,
    blocks: Vec<Vec<u8>>,
    /// For each page how often it was sent.
    sent: Vec<Vec<u32>>,
    sections: Vec<(SectionKind, u64)>,
}

impl Twin {
    fn sent(&mut self, block: usize, offset: u64) -> usize {
        self.sent[block][offset as usize / PAGE] += 1;
        offset as usize
    }

    fn block(&self, name: &str) -> &[u8] {
        let block = self.entries.iter().position(|entry| entry.name == name.as_bytes());
        &self.blocks[block.expect("it is listed")]
    }
}

impl StreamVisitor for Twin {
    type Error = Infallible;

    fn blocks(&mut self, blocks: &[BlockEntry]) -> Result<(), Infallible> {
        self.entries = blocks.to_vec();
        self.blocks = blocks.iter().map(|block| vec![0xee; block.used_bytes as usize]).collect();
        self.sent = blocks.iter().map(|block| vec![0; block.used_bytes as usize / PAGE]).collect();
        Ok(())
    }

    fn page(&mut self, block: usize, offset: u64, bytes: &[u8]) -> Result<(), Infallible> {
        let at = self.sent(block, offset);
        self.blocks[block][at..at + PAGE].copy_from_slice(bytes);
        Ok(())
    }

    fn fill(&mut self, block: usize, offset: u64, byte: u8) -> Result<(), Infallible> {
        let at = self.sent(block, offset);
        self.blocks[block][at..at + PAGE].fill(byte);
        Ok(())
    }

    fn section(&mut self, kind: SectionKind, pages: u64) -> Result<(), Infallible> {
        self.sections.push((kind, pages));
        Ok(())
    }
}

fn replicate(stream: &[u8], piece: usize) -> Twin {
    let mut twin = Twin::default();
    let mut decoder = Decoder::new(StreamLimits::default(), PAGE as u32);
    for piece in stream.chunks(piece) {
        decoder.feed(piece, &mut twin).unwrap();
    }
    decoder.finish().unwrap();
    assert_eq!(decoder.offset(), stream.len() as u64);
    twin
}

/// Requires that the twin is what the machine's memory is now, and that each page was sent.
fn check(stream: &[u8], memory: &Path) {
    let memory = fs::read(memory).unwrap();
    for piece in [stream.len(), 65_536, 4095] {
        let mut twin = replicate(stream, piece);
        let differ = |twin: &Twin| {
            let pages = memory.chunks(PAGE).zip(twin.block("twin").chunks(PAGE));
            pages.filter(|(there, here)| there != here).count()
        };
        assert_eq!(differ(&twin), 0);
        let missing = twin.sent.iter().flatten().filter(|sent| **sent == 0).count();
        assert_eq!(missing, 0);
        // The check can fail.
        let block = twin.entries.iter().position(|entry| entry.name == b"twin").unwrap();
        twin.blocks[block][5 * PAGE] ^= 1;
        assert_eq!(differ(&twin), 1);
        assert_eq!(twin.sections.first(), Some(&(SectionKind::Start, 0)));
        assert_eq!(twin.sections.last().map(|section| section.0), Some(SectionKind::End));
        let pages: u64 = twin.sections.iter().map(|section| section.1).sum();
        assert_eq!(pages, twin.sent.iter().flatten().map(|sent| u64::from(*sent)).sum());
    }
}

/// Requires that a stream that breaks off in its first MiB is not complete, at any byte.
fn check_truncated(stream: &[u8]) {
    let mut twin = Twin::default();
    let mut decoder = Decoder::new(StreamLimits::default(), PAGE as u32);
    for end in 0..stream.len().min(1 << 20) {
        let error = decoder.finish().unwrap_err();
        assert_eq!(error.offset, end as u64);
        assert!(matches!(error.fault, StreamFault::Truncated { .. }), "{error}");
        decoder.feed(&stream[end..=end], &mut twin).unwrap();
    }
    for end in (0..stream.len().min(1 << 20)).step_by(65_521) {
        let error = watch(PAGE as u32, [&stream[..end]]).end.unwrap_err();
        assert_eq!(error.offset, end as u64);
    }
}

/// Requires that no flipped bit makes the decoder panic or depend on cuts.
fn check_flipped(stream: &[u8]) {
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..60 {
        let mut flipped = stream[..stream.len().min(1 << 20)].to_vec();
        let place = random.usize(..flipped.len());
        flipped[place] ^= 1 << random.u8(..8);
        let told = watch(PAGE as u32, [&flipped[..]]);
        assert_eq!(told, watch(PAGE as u32, flipped.chunks(5000)));
    }
}

#[test]
fn a_pc_that_runs_its_firmware_meanwhile() {
    let qemu = "qemu-system-x86_64";
    if is_missing(qemu) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let memory = memory(place.path(), 32 << 20);
    // Slow, so that it takes many bursts in which the firmware writes.
    let machine = ["-M", "pc,memory-backend=twin"];
    let slow = "migrate_set_parameter max-bandwidth 20M";
    let stream = record(qemu, &machine, place.path(), &memory, slow);
    check(&stream, &memory);
    let parts = replicate(&stream, 1 << 20).sections.len();
    assert!(parts > 3, "{parts} sections");
    check_truncated(&stream);
    check_flipped(&stream);
}

#[test]
fn an_arm_board_that_stands_still() {
    let qemu = "qemu-system-aarch64";
    if is_missing(qemu) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let memory = memory(place.path(), 16 << 20);
    let machine = ["-S", "-M", "virt,memory-backend=twin", "-cpu", "cortex-a72"];
    let stream = record(qemu, &machine, place.path(), &memory, "");
    check(&stream, &memory);
    check_truncated(&stream);
}

#[test]
fn a_source_that_sends_dirty_bitmaps_too() {
    let qemu = "qemu-system-x86_64";
    if is_missing(qemu) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let memory = memory(place.path(), 16 << 20);
    let machine = ["-M", "pc,memory-backend=twin"];
    let bitmaps = "migrate_set_capability dirty-bitmaps on";
    let stream = record(qemu, &machine, place.path(), &memory, bitmaps);
    // The control: their section is there.
    assert!(stream.windows(12).any(|window| window == b"dirty-bitmap"));
    check(&stream, &memory);
}
