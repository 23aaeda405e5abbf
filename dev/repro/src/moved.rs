//! A scenario's guest, moved from one QEMU to another of the same version on this machine, as any
//! migration does. Both stand still afterwards and are compared: what the log lost is missing at the
//! destination. No part of Memtwin but its reading of memory is in it, so it is a second witness of what
//! an audit says.

use crate::facts::monitor;
use crate::flash_file::FlashFile;
use crate::guest::{GuestError, ScenarioGuest};
use crate::run::ReproCaller;
use memtwin_bare::{Accelerator, BareImage, BareMachine, Expected, GuestJob, Report};
use memtwin_qemu::{
    Block, BlockMemory, BlocksError, MemoryError, MigrationStatus, Process, RunState, blocks,
    migration, status,
};
use memtwin_qmp::{Qmp, QmpError};
use memtwin_testbed::{Qemu, StartError};
use serde::de::IgnoredAny;
use serde_json::json;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long QEMU may take for an answer, and for the whole migration.
const ANSWER: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(180);
/// How often it is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long the guest works on between QEMU's first pass and its last.
const AT_WORK: Duration = Duration::from_secs(1);
/// Bytes that are compared at a time.
const CHUNK: u64 = 1 << 20;

/// What is moved.
#[derive(Debug)]
pub struct MoveRun<'r> {
    /// The scenario's machine, perhaps with another QEMU.
    pub machine: BareMachine,
    /// Passed on to both QEMUs.
    pub arguments: &'r [String],
}

/// A RAMBlock at both ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedBlock {
    /// QEMU's name of it.
    pub name: String,
    /// How many pages it has.
    pub pages: u64,
    /// The pages that differ, as byte offsets.
    pub differ: Vec<u64>,
}

/// What was seen.
#[derive(Debug)]
pub struct MoveEvidence {
    /// The blocks that could be read at both ends.
    pub blocks: Vec<MovedBlock>,
    /// Those that could not: QEMU before 8.2 gives no address for memory that the guest does not see.
    pub unread: Vec<String>,
    /// The flash's file, if there is one.
    pub flash: Option<FlashFile>,
    /// What the guest told after QEMU's first pass, and when it stood still.
    pub told: (Report, Report),
}

/// Why a move shows nothing.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// There was no guest.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// There was no destination.
    #[error("the destination: {0}")]
    Start(#[from] StartError),
    /// A QEMU does not answer.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// A QEMU does not say what memory it has.
    #[error(transparent)]
    Blocks(#[from] BlocksError),
    /// Memory can't be read.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A file can't be read or made.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// QEMU did not bring it to an end.
    #[error("the migration did not come to its end: it is {status}: {reason}")]
    Migration {
        /// Where it is.
        status: MigrationStatus,
        /// What QEMU said.
        reason: String,
    },
    /// The caller said so.
    #[error("interrupted")]
    Interrupted,
}

impl MoveEvidence {
    /// In which it is not what the bug explains, or not nothing; empty if it is.
    pub fn unexpected(&self, expected: &Expected) -> Vec<String> {
        let (loss, may_differ): (_, &[&str]) = match expected {
            Expected::Lost(loss) => (Some(loss), &[]),
            Expected::AtMoments { blocks, .. } => (None, blocks),
            Expected::Identical | Expected::Aborts { .. } => (None, &[]),
        };
        let ours = |block: &MovedBlock| loss.is_some_and(|loss| loss.is_of(&block.name));
        let strange = |block: &MovedBlock| {
            let excused = |offset: &&u64| {
                let explained = |loss: &memtwin_bare::Loss| {
                    let within = loss.within.iter().any(|range| range.contains(offset));
                    loss.is_of(&block.name) && within || loss.excuses(&block.name, **offset)
                };
                !loss.is_some_and(explained)
            };
            block.differ.iter().filter(excused).copied().collect::<Vec<u64>>()
        };
        let mut unexpected: Vec<String> = Vec::new();
        for block in self.blocks.iter().filter(|block| !may_differ.contains(&&*block.name)) {
            if let strange @ [first, ..] = &strange(block)[..] {
                let (name, pages) = (&block.name, strange.len());
                unexpected.push(format!("{name}: {pages} pages from {first:#x} on unexplained"));
            }
        }
        let is_older = self.flash.as_ref().is_some_and(|flash| !flash.went_back.is_empty());
        if let Some(loss) = loss
            && !self.blocks.iter().any(|block| ours(block) && !block.differ.is_empty())
            && !is_older
        {
            unexpected.push(format!("no page of {} differs, expected {expected}", loss.block));
        }
        unexpected
    }
}

impl MoveRun<'_> {
    /// Moves it.
    ///
    /// Errors: there is nothing to be seen.
    pub fn run(&self, caller: &mut impl ReproCaller) -> Result<MoveEvidence, MoveError> {
        let mut arguments = self.arguments.to_vec();
        if self.machine.accelerator != Accelerator::Tcg && self.machine.image == BareImage::X86 {
            // A destination's kernel writes the guest's clock (kvmclock), where firmware has asked for
            // one: a page that differs with no fault of the log's.
            arguments.extend(["-global", "qemu64-x86_64-cpu.kvmclock=off"].map(str::to_owned));
        }
        let mut guest = ScenarioGuest::start(self.machine.clone(), &arguments, caller)?;
        guest.wait(caller)?;
        let folder = tempfile::tempdir()
            .map_err(|error| MoveError::File { path: std::env::temp_dir(), error })?;
        let incoming = format!("unix:{}", folder.path().join("incoming").display());
        let files = guest.qemu().dir().to_owned();
        let mut command = self.machine.prepared_command(&Qemu::qmp_in(folder.path()), &files);
        command.args(&arguments).args(["-S", "-incoming", &incoming]);
        caller.announce(&command);
        let destination = Qemu::launch(folder, command)?;
        let mut from = monitor(guest.qemu(), ANSWER)?;
        let mut to = monitor(&destination, ANSWER)?;
        let told = migrate(&mut from, &incoming, &mut guest, caller)?;
        arrived(&mut to)?;
        let (blocks, unread) =
            compared((&mut from, guest.qemu().pid()), (&mut to, destination.pid()))?;
        let flash = match self.machine.job {
            GuestJob::Flash { .. } => {
                let path = BareMachine::flash_in(&files);
                let read = || {
                    let file = |error| MoveError::File { path: path.clone(), error };
                    fs::read(&path).map_err(file)
                };
                let before = read()?;
                let _: IgnoredAny = to.execute("cont", ())?;
                let _: IgnoredAny = to.execute("stop", ())?;
                Some(FlashFile::compare(&before, &read()?))
            }
            _ => None,
        };
        Ok(MoveEvidence { blocks, unread, flash, told })
    }
}

/// Migrates: QEMU's first pass, a second in which the guest works on, the rest. What the guest told
/// after the first pass, and at the end.
fn migrate(
    from: &mut Qmp,
    incoming: &str,
    guest: &mut ScenarioGuest,
    caller: &impl ReproCaller,
) -> Result<(Report, Report), MoveError> {
    // So slow that a busy guest is not handed over by itself.
    let slow = json!({ "max-bandwidth": 1 << 20, "downtime-limit": 1 });
    let fast = json!({ "max-bandwidth": 1_u64 << 34, "downtime-limit": 10_000 });
    let _: IgnoredAny = from.execute("migrate-set-parameters", slow)?;
    let _: IgnoredAny = from.execute("migrate", json!({ "uri": incoming }))?;
    let began = Instant::now();
    let mut first_pass: Option<(Report, Instant)> = None;
    let mut is_fast = false;
    loop {
        let now = migration(from)?;
        let failed = |status| {
            let reason = now.error_desc.clone().unwrap_or_else(|| "no reason".to_owned());
            MoveError::Migration { status, reason }
        };
        match now.status {
            MigrationStatus::Completed => break,
            MigrationStatus::Failed | MigrationStatus::Cancelled => return Err(failed(now.status)),
            _ if began.elapsed() > TIMEOUT => return Err(failed(now.status)),
            _ => {}
        }
        if !caller.go_on() {
            return Err(MoveError::Interrupted);
        }
        let passed = now.ram.is_some_and(|ram| ram.dirty_sync_count >= 2);
        if passed && first_pass.is_none() {
            first_pass = Some((guest.report().map_err(GuestError::from)?, Instant::now()));
        }
        if !is_fast && first_pass.is_some_and(|(_, when)| when.elapsed() > AT_WORK) {
            let _: IgnoredAny = from.execute("migrate-set-parameters", &fast)?;
            is_fast = true;
        }
        thread::sleep(POLL_INTERVAL);
    }
    let last = guest.report().map_err(GuestError::from)?;
    Ok((first_pass.map_or(last, |(report, _)| report), last))
}

/// Waits until the destination has everything. It stands still.
fn arrived(to: &mut Qmp) -> Result<(), MoveError> {
    let began = Instant::now();
    while status(to)?.status == RunState::InMigrate {
        if began.elapsed() > TIMEOUT {
            let reason = "the destination still waits".to_owned();
            return Err(MoveError::Migration { status: MigrationStatus::Active, reason });
        }
        thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}

/// Compares each block at both ends; and the names of those that can't be read.
fn compared(
    from: (&mut Qmp, u32),
    to: (&mut Qmp, u32),
) -> Result<(Vec<MovedBlock>, Vec<String>), MoveError> {
    let (there, arrived) = (memories(from)?, memories(to)?);
    let (mut moved, mut unread) = (Vec::new(), Vec::new());
    for (block, memory) in &there {
        let other = arrived.iter().find(|(other, _)| other.name == block.name);
        match (memory, other) {
            (Some(ours), Some((_, Some(theirs)))) => moved.push(differences(block, ours, theirs)?),
            _ => unread.push(block.name.clone()),
        }
    }
    Ok((moved, unread))
}

/// The blocks that are migrated, each with its memory if QEMU says where that is.
fn memories((qmp, pid): (&mut Qmp, u32)) -> Result<Vec<(Block, Option<BlockMemory>)>, MoveError> {
    let named: Vec<Block> = blocks(qmp)?.into_iter().filter(|block| block.is_named).collect();
    let known: Vec<Block> = named.iter().filter(|block| block.hva.is_some()).cloned().collect();
    let process = Arc::new(Process::of_pid(pid, &known)?);
    let memory = |block: Block| {
        let known = block.hva.is_some().then(|| BlockMemory::new(Arc::clone(&process), &block));
        Ok((block, known.transpose()?))
    };
    named.into_iter().map(memory).collect()
}

fn differences(
    block: &Block,
    ours: &BlockMemory,
    theirs: &BlockMemory,
) -> Result<MovedBlock, MoveError> {
    let page = BareImage::PAGE;
    let mut differ = Vec::new();
    for offset in (0..block.used).step_by(CHUNK as usize) {
        let len = CHUNK.min(block.used - offset) as usize;
        let (mut a, mut b) = (vec![0; len], vec![0; len]);
        ours.read(offset, &mut a)?;
        theirs.read(offset, &mut b)?;
        let pages = (offset..).step_by(page as usize);
        let both = a.chunks(page as usize).zip(b.chunks(page as usize));
        differ.extend(pages.zip(both).filter(|(_, (a, b))| a != b).map(|(at, _)| at));
    }
    Ok(MovedBlock { name: block.name.clone(), pages: block.used.div_ceil(page), differ })
}

#[cfg(test)]
mod tests;
