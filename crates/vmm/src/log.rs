//! The window's dirty log, asked in the guest's mode.

use crate::machine::{KvmMachine, WINDOW};
use memtwin_kvm::{LogError, Mode, Rings, SlotLog};
use memtwin_pages::{PageSet, RegionId};
use memtwin_replicate::Collector;
use std::sync::{Mutex, PoisonError};

/// The window is the guest's only region.
pub(crate) const WINDOW_REGION: RegionId = RegionId(0);

/// The window's dirty log. Shared with the vCPUs' threads: one that is sent out because its ring
/// is full harvests by itself.
#[derive(Debug)]
pub(crate) struct WindowLog {
    mode: Mode,
    asked: Mutex<LogRequest>,
}

#[derive(Debug)]
struct LogRequest {
    slot: SlotLog,
    rings: Rings,
    /// Harvested by a vCPU's thread, for the next collection.
    harvested: PageSet,
}

impl WindowLog {
    /// The log of a window of `pages` pages; `rings` is empty but for [`Mode::Ring`].
    pub(crate) fn new(mode: Mode, pages: u64, rings: Rings) -> Self {
        let slot = SlotLog::new(WINDOW, pages);
        Self { mode, asked: Mutex::new(LogRequest { slot, rings, harvested: PageSet::new(pages) }) }
    }

    /// Switches it on: when this returns, every later write is logged.
    pub(crate) fn start(&self, machine: &KvmMachine) -> Result<(), LogError> {
        machine.log_window(true)?;
        match self.mode {
            // The kernel has protected every page with the switch.
            Mode::Get | Mode::Ring => Ok(()),
            // Every page counts as dirty and none is protected until it is cleared.
            Mode::Clear => self.lock().slot.clear_all(machine.fd()),
        }
    }

    /// Collects: everything up to the point where a new write would be logged again.
    pub(crate) fn collect(
        &self,
        machine: &KvmMachine,
        into: &mut dyn Collector,
    ) -> Result<(), LogError> {
        let mut asked = self.lock();
        match self.mode {
            Mode::Get => into.pages(WINDOW_REGION, asked.slot.get(machine.fd())?),
            Mode::Clear => {
                into.pages(WINDOW_REGION, asked.slot.get(machine.fd())?);
                asked.slot.clear(machine.fd())?;
            }
            Mode::Ring => {
                let harvest = asked.harvest(machine);
                // What was harvested is no longer in the kernel: it goes on, whatever failed.
                into.pages(WINDOW_REGION, asked.harvested.words());
                asked.harvested.clear();
                harvest?;
                if machine.offered().ring_bitmap() {
                    into.pages(WINDOW_REGION, asked.slot.get(machine.fd())?);
                }
            }
        }
        Ok(())
    }

    /// A vCPU's ring is full: makes room. Returns how many entries all rings had.
    pub(crate) fn make_room(&self, machine: &KvmMachine) -> Result<u32, LogError> {
        self.lock().harvest(machine)
    }

    /// Whether a ring has lost entries.
    pub(crate) fn overflowed(&self) -> bool {
        self.lock().rings.overflowed()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LogRequest> {
        // A thread that panicked left the sets whole: each change is one call.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogRequest {
    fn harvest(&mut self, machine: &KvmMachine) -> Result<u32, LogError> {
        let Self { rings, harvested, .. } = self;
        rings.collect(machine.fd(), |slot, page| {
            // Only the window is logged; a page past its end could only be a torn entry.
            if slot == WINDOW && page < harvested.capacity() {
                harvested.insert(page);
            }
        })
    }
}
