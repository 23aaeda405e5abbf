//! The embedded guest as a source: made, started, paced, and seen through its dirty log.

use crate::backing::BackingMemory;
use crate::log::{WINDOW_REGION, WindowLog};
use crate::machine::{KvmMachine, Memslots, slot_memory};
use crate::vcpu::Vcpus;
use crate::{Config, GuestStartError, WINDOW_GPA, WINDOW_NAME, arch, machine};
use memtwin_kvm::{LogError, LogStorage, Ring, Rings};
use memtwin_mapping::{Mapping, host_page_size};
use memtwin_pages::{Layout, PageSize, Region, RegionId, Run};
use memtwin_replicate::{Collector, GuestState, Source, SourceError};
use memtwin_stressor::{Controls, Stressor, WriterWindow};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// A guest without an operating system, and its dirty log.
#[derive(Debug)]
pub struct KvmGuest {
    // In the order in which they must go: threads, then the machine, then its memory.
    vcpus: Vcpus,
    log: Arc<WindowLog>,
    machine: Arc<KvmMachine>,
    controls: Controls,
    window: BackingMemory,
    layout: Layout,
    started: bool,
    paused: bool,
}

impl KvmGuest {
    /// Makes the guest. Its vCPUs do not run yet, and nothing is logged.
    ///
    /// Errors: no KVM, or (see [`GuestStartError::is_skip`]) something that this host can't do.
    pub fn new(config: Config) -> Result<Self, GuestStartError> {
        let page_size = PageSize::new(host_page_size() as u64)
            .map_err(|error| GuestStartError::NoKvm { reason: error.to_string() })?;
        let region = Region::new(WINDOW_NAME, WINDOW_GPA, config.bytes, page_size)?;
        let refuse = |reason: &str| GuestStartError::NoStressor {
            stressor: config.stressor,
            reason: reason.to_owned(),
        };
        if config.stressor == Stressor::Straddle && region.pages() < 2 {
            return Err(refuse("a window of one page has no boundary between pages"));
        }

        let mut program = arch::GuestProgram::new(config.stressor, config.translation)?;
        let ring_entries = config.ring_entries.max(Ring::least_entries());
        let mut machine = KvmMachine::new(config.mode, ring_entries)?;
        if config.vcpus > machine.most_vcpus() {
            let most = machine.most_vcpus();
            return Err(GuestStartError::TooManyVcpus { asked: config.vcpus, most });
        }
        let memory = BackingMemory::new(config.backing, config.bytes, config.file)?;
        let slots = Memslots {
            system: slot_memory(program.system_bytes(config.bytes))?,
            control: slot_memory(Controls::bytes(config.vcpus))?,
            window: Arc::clone(memory.mapping()),
            window_gpa: WINDOW_GPA,
        };
        let len = memory.mapping().len();
        memtwin_stressor::fill(memory.mapping(), len, page_size.as_usize(), config.seed);
        let window =
            WriterWindow { base: WINDOW_GPA.0, pages: region.pages(), shift: page_size.shift() };
        let controls = Controls::new(
            Arc::clone(&slots.control),
            config.vcpus,
            config.stressor,
            window,
            config.seed,
        );
        machine.plug(&slots)?;
        let mut vcpus = Vec::new();
        for index in 0..config.vcpus {
            let vcpu = machine
                .vm()
                .create_vcpu(index as u64)
                .map_err(GuestStartError::kvm("KVM_CREATE_VCPU"))?;
            program.init(&machine, &vcpu)?;
            vcpus.push(vcpu);
        }
        program.load(&slots, &controls, &vcpus)?;
        let mut rings = Vec::new();
        for (index, vcpu) in vcpus.iter().enumerate() {
            program.set_up(vcpu, index)?;
            match config.mode.storage() {
                LogStorage::Bitmap => {}
                LogStorage::Rings => {
                    rings.push(Ring::of(machine::borrow(vcpu), ring_entries)?);
                }
            }
        }
        let log = Arc::new(WindowLog::new(config.mode, region.pages(), Rings::new(rings)));
        let machine = Arc::new(machine);
        let vcpus = Vcpus::start(vcpus, Arc::clone(&machine), Arc::clone(&log))?;
        Ok(Self {
            vcpus,
            log,
            machine,
            controls,
            window: memory,
            layout: Layout::new(vec![region]),
            started: false,
            paused: false,
        })
    }

    /// Lets the stressors write.
    pub fn start(&mut self) {
        self.controls.start();
        self.started = true;
        if !self.paused {
            self.vcpus.run();
        }
    }

    /// Tells the stressors to write no more; the guest counts as stopped when all have heard.
    pub fn stop(&mut self) {
        self.controls.stop();
    }

    /// Lets all stressors together write this many pages a second; `None` lifts the limit.
    pub fn pace(&mut self, pages_per_second: Option<u64>) {
        self.controls.pace(pages_per_second);
    }

    /// How many pages the stressors have written, by their own count.
    pub fn written(&self) -> u64 {
        self.controls.written()
    }

    /// The window's memory, for a judge to read while the guest stands still.
    pub fn window(&self) -> &Arc<Mapping> {
        self.window.mapping()
    }

    /// The number of the window's memslot.
    pub const WINDOW_SLOT: u32 = machine::WINDOW;

    /// The machine's descriptor, to measure or trace requests beside ours.
    pub fn machine(&self) -> BorrowedFd<'_> {
        self.machine.fd()
    }

    /// What went wrong, with what the log knows of it.
    fn guest_error(&self, reason: String) -> SourceError {
        if self.log.overflowed() && !reason.contains("overflow") {
            SourceError::Guest(format!("{reason}; a dirty ring overflowed, entries are lost"))
        } else {
            SourceError::Guest(reason)
        }
    }
}

impl Source for KvmGuest {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn start_logging(&mut self) -> Result<(), SourceError> {
        self.log.start(&self.machine).map_err(log_error)
    }

    fn collect(&mut self, into: &mut dyn Collector) -> Result<(), SourceError> {
        self.log.collect(&self.machine, into).map_err(log_error)?;
        if self.log.overflowed() {
            return Err(SourceError::Log(
                "a dirty ring overflowed: it was found filled to its last entry, so the kernel may \
                 have written over entries that were never read"
                    .into(),
            ));
        }
        Ok(())
    }

    fn read(&mut self, region: RegionId, offset: u64, into: &mut [u8]) -> Result<(), SourceError> {
        assert_eq!(region, WINDOW_REGION, "the guest has one region");
        self.window.mapping().read(offset as usize, into);
        Ok(())
    }

    fn prefetch(&self, region: RegionId, pages: Run) {
        let size = self.layout.region(region).page_size();
        let (offset, len) = (size.offset_of(pages.first), size.offset_of(pages.count));
        self.window.mapping().prefetch(offset as usize, len as usize);
    }

    fn pause(&mut self) -> Result<(), SourceError> {
        self.vcpus.park();
        self.paused = true;
        Ok(())
    }

    /// Nobody else can let it run: its vCPUs enter the guest only from threads of ours, which stay
    /// parked until [`Source::resume`]; whatever a signal does to the process, it ends in no KVM_RUN.
    fn confirm_paused(&mut self) -> Result<(), SourceError> {
        if self.paused && self.vcpus.are_parked() {
            return Ok(());
        }
        Err(self.guest_error("a vCPU ran while it was compared".to_owned()))
    }

    fn resume(&mut self) -> Result<(), SourceError> {
        if std::mem::take(&mut self.paused) && self.started {
            self.controls.reset_watchdog();
            self.vcpus.run();
        }
        Ok(())
    }

    fn stop_logging(&mut self) -> Result<(), SourceError> {
        self.machine.log_window(false).map_err(log_error)
    }

    fn guest(&mut self) -> Result<GuestState, SourceError> {
        if let Some(reason) = self.vcpus.dead() {
            return Err(self.guest_error(reason));
        }
        if self.controls.unable() {
            let reason = "a vCPU found that its CPU can't do what the stressor needs";
            return Err(self.guest_error(reason.to_owned()));
        }
        if self.controls.over() {
            return Ok(GuestState::Stopped);
        }
        if self.started && !self.paused {
            self.controls
                .check_progress()
                .map_err(|stalled| self.guest_error(stalled.to_string()))?;
        }
        Ok(GuestState::Running)
    }
}

fn log_error(error: LogError) -> SourceError {
    SourceError::Log(Box::new(error))
}
