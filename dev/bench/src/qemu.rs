//! A tap beside QEMU itself: the first pass into a twin, the comparison, the guest's pause, and what
//! the guest feels of it all.

use crate::beside::{Aim, Measured};
use crate::migrate::{destination, drain, unlimited};
use anyhow::{Context, Result, ensure};
use memtwin_bare::{Report, Scenario};
use memtwin_mapping::{Mapping, host_page_size};
use memtwin_pages::Image;
use memtwin_qemu::{Block, BlockMemory, HazardPolicy, Process, blocks, migration};
use memtwin_qmp::Qmp;
use memtwin_replicate::{CancelToken, NoWork, Replication, RoundPlan, Until};
use memtwin_tap::{MigrationTap, StreamPath, TapTarget};
use memtwin_testbed::Qemu;
use memtwin_twin::{MemoryTwin, SparseMemory};
use memtwin_verdict::{Discards, capture};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The guest's memory.
const MIB: u64 = 512;
/// QEMU answers in milliseconds.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How much is read at once.
const PIECE: usize = 256 << 10;

/// The command of a guardian.
pub(crate) fn guardian(memtwin: &Path) -> Command {
    let mut command = Command::new(memtwin);
    command.arg("guardian");
    command
}

/// What a tap has to know of it. The guest may stand still for as long as it takes: that is measured.
pub(crate) fn target(qemu: &Qemu) -> Result<TapTarget> {
    let notes = memtwin_safe_path::runtime_dir()?;
    Ok(TapTarget {
        monitor: qemu.qmp().into(),
        stream: StreamPath::Descriptor,
        pid: qemu.pid(),
        max_pause: Duration::from_secs(60),
        notes,
        hazards: HazardPolicy::Refuse,
    })
}

/// A QEMU that stands still, with random bytes for its memory.
struct IdleQemu {
    qemu: Qemu,
    qmp: Qmp,
    blocks: Vec<Block>,
}

impl IdleQemu {
    fn start(dir: &Path) -> Result<Self> {
        let path = dir.join("ram");
        let file =
            File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
        file.set_len(MIB << 20)?;
        let len = (MIB << 20) as usize;
        let mapping = Mapping::shared(file.as_fd(), len, host_page_size())?;
        memtwin_stressor::fill(&mapping, len, host_page_size(), 5);
        let backing = format!(
            "memory-backend-file,id=ram,size={MIB}M,share=on,prealloc=on,mem-path={}",
            path.display()
        );
        let memory = format!("{MIB}M");
        let arguments = ["-M", "pc,memory-backend=ram", "-m", &memory, "-object", &backing, "-S"];
        let qemu = Qemu::start("qemu-system-x86_64", &arguments)?;
        let mut qmp = Qmp::connect(&qemu.qmp(), TIMEOUT)?;
        let blocks = blocks(&mut qmp)?;
        Ok(Self { qemu, qmp, blocks })
    }
}

/// The first pass of a paused guest with random memory: into a twin, to another QEMU, to nobody.
pub(crate) fn first_pass(dir: &Path, memtwin: &Path, turns: usize) -> Result<Vec<Measured>> {
    let stop = CancelToken::default();
    let (mut ours, mut sink, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..turns {
        let mut still = IdleQemu::start(dir)?;
        let began = Instant::now();
        let tap = MigrationTap::open(
            &mut still.qmp,
            &target(&still.qemu)?,
            &still.blocks,
            || guardian(memtwin),
            &stop,
        )?;
        let opened = began.elapsed();
        let mut replication = Replication::start(tap, MemoryTwin::new(), ())?;
        let round = replication.round(&stop)?;
        ours.push(opened + round.total);
        replication.finish()?;

        unlimited(&mut still.qmp)?;
        sink.push(drain(&mut still.qmp)?);
        // One that was migrated away for good can't be migrated again.
        drop(still.qemu);
        let mut still = IdleQemu::start(dir)?;
        unlimited(&mut still.qmp)?;
        // The block of its memory has the name that it has at the source.
        let (memory, backing) =
            (format!("{MIB}M"), format!("memory-backend-ram,id=ram,size={MIB}M"));
        let there = ["-M", "pc,memory-backend=ram", "-m", &memory, "-object", &backing];
        theirs.push(destination(&mut still.qmp, &there)?.total);
        drop(still.qemu);
    }
    let what = format!("first pass of {MIB} MiB of random memory into a twin");
    Ok(vec![
        Measured::of(what.clone(), &ours, "QEMU to QEMU, unix socket", &theirs, Aim::Faster(1.2)),
        Measured::of(what, &ours, "QEMU to a sink that only reads", &sink, Aim::Faster(0.9)),
    ])
}

/// The comparison of a guest's memory and its twin, beside process_vm_readv and memcmp in a row.
pub(crate) fn comparison(dir: &Path, turns: usize) -> Result<Measured> {
    let mut still = IdleQemu::start(dir)?;
    let process = Arc::new(Process::find(&mut still.qmp, &still.blocks)?);
    let block = still.blocks.iter().find(|block| block.used == MIB << 20).context("its RAM")?;
    let memory = BlockMemory::new(process, block)?;
    let mut twin = vec![0; (MIB << 20) as usize];
    memory.read(0, &mut twin)?;
    let size = memtwin_pages::PageSize::new(4096)?;
    let twin = InPlace(twin);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..turns {
        let began = Instant::now();
        ensure!(
            capture(&memory, &twin, size, &Discards::none())?.memory.pages().len() == 0,
            "it differs"
        );
        ours.push(began.elapsed());
        let began = Instant::now();
        let mut piece = vec![0; PIECE];
        for (at, bytes) in (0..).step_by(PIECE).zip(twin.0.chunks(PIECE)) {
            memory.read(at, &mut piece)?;
            ensure!(piece == bytes, "it differs");
        }
        theirs.push(began.elapsed());
    }
    let what = format!("comparing {MIB} MiB of a guest's memory with its twin");
    Ok(Measured::of(what, &ours, "process_vm_readv and memcmp", &theirs, Aim::Faster(1.0)))
}

/// A twin that is compared where it lies.
struct InPlace(Vec<u8>);

impl Image for InPlace {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, into)
    }
    fn is_at(&self, offset: u64, bytes: &[u8], _: &mut Vec<u8>) -> io::Result<bool> {
        let from = offset as usize;
        Ok(self.0.get(from..from + bytes.len()) == Some(bytes))
    }
}

/// A bare-metal guest under KVM that writes flat out, once it does.
pub(crate) struct WritingGuest {
    pub(crate) qemu: Qemu,
    /// What its QEMU was started with, and a destination of it is started with as well.
    arguments: Vec<OsString>,
    qmp: Qmp,
    blocks: Vec<Block>,
    ram: BlockMemory,
    report: u64,
}

impl WritingGuest {
    fn start(memory: u32) -> Result<Self> {
        Self::start_with(memory, &[])
    }

    /// One whose memory all exists, or not, with its first monitor left to others.
    pub(crate) fn start_filled(memory: u32, is_filled: bool) -> Result<Self> {
        let second = ["-qmp", "unix:second,server=on,wait=off"];
        let filled: &[&str] = if is_filled { &["-mem-prealloc"] } else { &[] };
        Self::start_with(memory, &[&second, filled].concat())
    }

    fn start_with(memory: u32, more: &[&str]) -> Result<Self> {
        let mut machine = Scenario::WriterKvm.machine();
        machine.memory = memory;
        let dir = tempfile::tempdir()?;
        let command = machine.command(&dir.path().join("unused"), dir.path())?;
        // Without its QMP socket: the testbed adds one.
        let mut arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        if let Some(at) = arguments.iter().position(|argument| argument == "-qmp") {
            arguments.drain(at..at + 2);
        }
        arguments.extend(more.iter().map(OsString::from));
        let qemu = Qemu::start_in(dir, &command.get_program().to_string_lossy(), &arguments)?;
        let second = qemu.dir().join("second");
        let monitor = if second.exists() { second } else { qemu.qmp() };
        let mut qmp = Qmp::connect(&monitor, TIMEOUT)?;
        let blocks = blocks(&mut qmp)?;
        let process = Arc::new(Process::find(&mut qmp, &blocks)?);
        let block = blocks.iter().find(|block| block.name == "pc.ram").context("no pc.ram")?;
        let ram = BlockMemory::new(process, block)?;
        let report = machine.image.report();
        let this = Self { qemu, arguments, qmp, blocks, ram, report };
        let since = Instant::now();
        while this.report()?.passes < 2 {
            ensure!(since.elapsed() < Duration::from_secs(120), "the guest does not write");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(this)
    }

    pub(crate) fn report(&self) -> Result<Report> {
        let mut bytes = [0; Report::LEN];
        self.ram.read(self.report, &mut bytes)?;
        Ok(Report::from_bytes(&bytes))
    }

    /// Whether somebody follows its log, beyond the first pass.
    pub(crate) fn is_followed(&mut self) -> Result<bool> {
        let now = migration(&mut self.qmp)?;
        let is_past = now.ram.is_some_and(|ram| ram.dirty_sync_count > 3);
        Ok(now.status.is_under_way() && is_past)
    }

    /// Where its memory begins in its QEMU.
    pub(crate) fn hva(&self) -> Result<u64> {
        let block = self.blocks.iter().find(|block| block.name == "pc.ram");
        block.and_then(|block| block.hva).context("pc.ram has no address")
    }

    /// How many pages it writes in a second while QEMU migrates it by itself.
    pub(crate) fn under_plain_pre_copy(&mut self, time: Duration) -> Result<f64> {
        let plain = crate::migrate::PlainMigration::begin(&mut self.qmp)?;
        let (before, began) = (self.report()?.ticks, Instant::now());
        std::thread::sleep(time);
        let pages = (self.report()?.ticks - before) as f64 / began.elapsed().as_secs_f64();
        plain.end(&mut self.qmp)?;
        Ok(pages)
    }
}

/// How long the guest of a 1 GiB audit stands still, beside QEMU's own downtime.
pub(crate) fn pause(memtwin: &Path, turns: usize) -> Result<Measured> {
    let stop = CancelToken::default();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..turns.min(3) {
        let mut writer = WritingGuest::start(1024)?;
        let to = target(&writer.qemu)?;
        let WritingGuest { qmp, blocks, arguments, .. } = &mut writer;
        let process = Arc::new(Process::find(qmp, blocks)?);
        let tap = MigrationTap::open(qmp, &to, blocks, || guardian(memtwin), &stop)?;
        let layout = tap.regions().clone();
        let mut twin = MemoryTwin::new();
        let mut replication = Replication::start(tap, &mut twin, ())?;
        replication.run(&plan(Duration::from_secs(2)), &stop, NoWork)?;
        let still = replication.pause_and_settle(&stop)?;
        let twin = still.sink().memory().context("a twin that is open")?;
        for (id, region) in layout.iter() {
            let block = blocks.iter().find(|block| block.name == region.name());
            let memory = BlockMemory::new(Arc::clone(&process), block.context("a block")?)?;
            let part =
                TwinPart(Arc::clone(twin), memtwin_twin::offset_of(&layout, id), region.bytes());
            capture(&memory, &part, region.page_size(), &Discards::none())?;
        }
        still.release()?;
        let stood = replication.source().paused().and_then(|paused| paused.time());
        ours.push(stood.context("it never stood still")?);
        replication.finish()?;
        unlimited(qmp)?;
        theirs.push(destination(qmp, arguments)?.downtime);
    }
    let what = "the guest's pause in an audit of 1 GiB, its whole memory read";
    Ok(Measured::of(what, &ours, "QEMU's own downtime, nothing read", &theirs, Aim::Reported))
}

/// A region of a twin.
struct TwinPart(Arc<SparseMemory>, u64, u64);

impl Image for TwinPart {
    fn len(&self) -> io::Result<u64> {
        Ok(self.2)
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read((self.1 + offset) as usize, into);
        Ok(())
    }
    fn is_at(&self, offset: u64, bytes: &[u8], _: &mut Vec<u8>) -> io::Result<bool> {
        Ok(self.0.equals((self.1 + offset) as usize, bytes))
    }
}

fn plan(time: Duration) -> RoundPlan {
    RoundPlan {
        // As `memtwin audit` without options.
        interval: Duration::from_millis(500),
        until: Until::Told,
        rounds: None,
        time: Some(time),
        still_every: None,
    }
}

/// What a guest that writes flat out still writes while it is audited, beside a plain pre-copy.
pub(crate) fn felt(memtwin: &Path, turns: usize) -> Result<Measured> {
    const OVER: Duration = Duration::from_secs(3);
    let stop = CancelToken::default();
    let mut writer = WritingGuest::start(64)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // Seconds for a million pages.
    let cost = |pages: u64, time: Duration| time.as_secs_f64() * 1e6 / pages.max(1) as f64;
    for _ in 0..turns {
        let to = target(&writer.qemu)?;
        let WritingGuest { qmp, blocks, ram, report, .. } = &mut writer;
        let ticks = || -> Result<u64> {
            let mut bytes = [0; Report::LEN];
            ram.read(*report, &mut bytes)?;
            Ok(Report::from_bytes(&bytes).ticks)
        };
        let tap = MigrationTap::open(qmp, &to, blocks, || guardian(memtwin), &stop)?;
        let mut replication = Replication::start(tap, MemoryTwin::new(), ())?;
        replication.round(&stop)?;
        let (before, began) = (ticks()?, Instant::now());
        replication.run(&plan(OVER), &stop, NoWork)?;
        ours.push(cost(ticks()? - before, began.elapsed()));
        replication.finish()?;

        let plain = crate::migrate::PlainMigration::begin(qmp)?;
        let (before, began) = (ticks()?, Instant::now());
        std::thread::sleep(OVER);
        theirs.push(cost(ticks()? - before, began.elapsed()));
        plain.end(qmp)?;
    }
    let what = "a million pages written by a guest that is audited";
    let beside = "in a plain pre-copy (128 MiB/s, never let to its end)";
    Ok(Measured::of_numbers(what, ours, beside, theirs, Aim::Faster(0.9), "s"))
}
