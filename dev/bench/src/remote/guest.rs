//! A guest in a stock QEMU that dirties one word in each of 2,048 pages per interval, and another
//! QEMU for it to migrate to, each on its side of the link.

use super::lab::{BenchLink, LinkSide};
use super::load::{BATCH, Interval, WINDOW};
use anyhow::{Context, Result, ensure};
use memtwin_bare::{Accelerator, BareImage, BareMachine, GuestJob, JobState, Report};
use memtwin_mapping::{Mapping, host_page_size};
use memtwin_qmp::Qmp;
use memtwin_replicate::CancelToken;
use memtwin_testbed::Qemu;
use serde_json::{Value, json};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// QEMU answers in milliseconds, unless it is in its last pass.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How long its firmware may take.
const BOOTING: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Main RAM, and where in it the window begins: the firmware leaves its tables at the end of RAM.
const RAM_MIB: u32 = 400;
const BASE: u32 = 128 << 20;
/// The port of migrations, in a namespace where nobody else listens.
const PORT: u16 = 4871;

/// The machine, without its memory.
fn machine() -> BareMachine {
    let pages = u64::from(WINDOW) / BareImage::PAGE;
    let job = GuestJob::Batches {
        base: BASE,
        pages: pages as u32,
        batch: BATCH,
        interval: Duration::from_millis(50),
    };
    BareMachine {
        accelerator: Accelerator::Kvm,
        machine: "pc,memory-backend=ram".into(),
        memory: RAM_MIB,
        ..BareMachine::new(BareImage::X86, job)
    }
}

/// Starts such a machine on one side, with more arguments.
fn start(link: &BenchLink, side: LinkSide, dir: &Path, more: &[&str]) -> Result<Qemu> {
    let dir = tempfile::tempdir_in(dir)?;
    let machine = machine().command(&Qemu::qmp_in(dir.path()), dir.path())?;
    let mut command = link.command(side, machine.get_program().as_ref());
    command.args(machine.get_args()).args(more);
    Ok(Qemu::launch(dir, command)?)
}

/// The guest, where it is at home.
pub(super) struct BenchGuest {
    pub(super) qmp: Qmp,
    pub(super) counter: Counter,
    pub(super) qemu: Qemu,
}

/// Its memory, in which it counts its batches and finds its pace.
pub(super) struct Counter(Mapping);

impl BenchGuest {
    /// Starts it, with the bytes in its window that the process source has in its own, and waits
    /// until it writes.
    pub(super) fn start(link: &BenchLink, dir: &Path, stop: &CancelToken) -> Result<Self> {
        let len = (RAM_MIB as usize) << 20;
        let path = dir.join("ram");
        let file =
            File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
        file.set_len(len as u64)?;
        let memory = Mapping::shared(file.as_fd(), len, host_page_size())?;
        let window = Mapping::anonymous(WINDOW as usize, host_page_size())?;
        memtwin_stressor::fill(&window, WINDOW as usize, host_page_size(), 1);
        let mut piece = vec![0; 1 << 20];
        for at in (0..WINDOW as usize).step_by(piece.len()) {
            window.read(at, &mut piece);
            memory.write(BASE as usize + at, &piece);
        }
        let backend = "memory-backend-file,id=ram,share=on,size";
        let backend = format!("{backend}={RAM_MIB}M,mem-path={}", path.display());
        let qemu = start(link, LinkSide::Here, dir, &["-object", &backend])?;
        let qmp = Qmp::connect(&qemu.qmp(), TIMEOUT)?;
        let this = Self { qmp, counter: Counter(memory), qemu };
        let began = Instant::now();
        while this.counter.report().ticks == 0 {
            let report = this.counter.report();
            ensure!(!matches!(report.state, JobState::Failed(_)), "the guest: {report:?}");
            ensure!(began.elapsed() < BOOTING, "the guest does not write: {report:?}");
            ensure!(!stop.wait(POLL_INTERVAL), "interrupted");
        }
        Ok(this)
    }

    /// Lets it run on at home after it has gone elsewhere, where nobody runs it.
    pub(super) fn come_back(&mut self) -> Result<()> {
        let _: Value = self.qmp.execute("cont", ())?;
        let began = Instant::now();
        let before = self.counter.batches();
        while self.counter.batches() == before {
            ensure!(began.elapsed() < TIMEOUT, "the guest does not run on");
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }
}

impl Counter {
    fn report(&self) -> Report {
        let mut bytes = [0; Report::LEN];
        self.0.read(BareImage::X86.report() as usize, &mut bytes);
        Report::from_bytes(&bytes)
    }

    /// How many batches it has written.
    pub(super) fn batches(&self) -> u64 {
        self.report().ticks
    }

    /// Another interval, from the next batch on.
    pub(super) fn pace(&self, interval: Interval) -> Result<()> {
        let (at, word) = BareImage::X86.pace(interval.time()).context("no such interval")?;
        self.0.write(at as usize, &word.to_le_bytes());
        Ok(())
    }
}

/// A QEMU that waits for the guest, and never runs it.
pub(super) struct Destination {
    pub(super) qmp: Qmp,
    _qemu: Qemu,
}

impl Destination {
    pub(super) fn start(link: &BenchLink, dir: &Path) -> Result<Self> {
        let backend = format!("memory-backend-ram,id=ram,size={RAM_MIB}M");
        let more = ["-object", &backend, "-S", "-incoming", "defer"];
        let qemu = start(link, LinkSide::There, dir, &more)?;
        Ok(Self { qmp: Qmp::connect(&qemu.qmp(), TIMEOUT)?, _qemu: qemu })
    }

    /// Listens, with the settings that it has now; where.
    pub(super) fn listen(&mut self) -> Result<String> {
        let uri = format!("tcp:{}:{PORT}", LinkSide::There.address());
        let _: Value = self.qmp.execute("migrate-incoming", json!({ "uri": uri }))?;
        Ok(uri)
    }
}
