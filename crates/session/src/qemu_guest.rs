//! A running QEMU, attached to: its monitor, its blocks, its guest's real memory.

use memtwin_pages::{Layout, RegionId};
use memtwin_qemu::{
    Block, BlockMemory, HazardPolicy, MemoryError, Process, QemuVersion, blocks, find_block, kvm,
    out_of_sight, target, version,
};
use memtwin_qmp::{LibvirtDomain, MonitorAddress, Qmp, QmpError};
use memtwin_replicate::{Provenance, SourceOrigin};
use memtwin_report::Failure;
use memtwin_report::record::HypervisorFacts;
use memtwin_safe_path::SafePathError;
use memtwin_tap::{MigrationTap, StreamPath, TapTarget};
use std::sync::Arc;
use std::time::Duration;

/// How long QEMU may take to greet us: somebody else may have its monitor.
const GREETING: Duration = Duration::from_secs(5);
/// How long it may take for an answer. Usually a millisecond, but seconds on a machine with too much to do.
const ANSWER: Duration = Duration::from_secs(20);

/// A QEMU that is attached to.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) qmp: Qmp,
    version: QemuVersion,
    arch: String,
    kvm: bool,
    pub(crate) blocks: Vec<Block>,
    monitor: MonitorAddress,
    stream: StreamPath,
    process: Arc<Process>,
}

impl Attached {
    /// Connects, and finds the guest's memory. Changes nothing.
    ///
    /// Errors: no QMP there, or the memory can't be read.
    pub(crate) fn new(monitor: &MonitorAddress, pid: Option<u32>) -> Result<Self, Failure> {
        let (mut qmp, stream) = connected(monitor).map_err(Failure::environment)?;
        let about = |qmp: &mut Qmp| Ok((version(qmp)?, target(qmp)?, kvm(qmp)?.enabled));
        let about: Result<_, QmpError> = about(&mut qmp);
        let (version, arch, kvm) = about.map_err(Failure::environment)?;
        let blocks = blocks(&mut qmp).map_err(Failure::environment)?;
        if !blocks.iter().any(|block| block.is_named && block.used > 0) {
            let why = "this QEMU's machine has no memory that it would migrate, so there is nothing to \
                       compare; see info ramblock on its monitor";
            return Err(Failure::environment(why));
        }
        let process = match pid {
            Some(pid) => Process::behind(&mut qmp, pid, &blocks),
            None => Process::find(&mut qmp, &blocks),
        };
        let process = Arc::new(process.map_err(Failure::environment)?);
        if qmp.peer_pid().ok().flatten() != Some(process.pid()) {
            qmp.distrust_events();
        }
        let monitor = monitor.clone();
        let this = Self { qmp, version, arch, kvm, blocks, monitor, stream, process };
        this.try_memory().map_err(Failure::environment)?;
        Ok(this)
    }

    /// What a tap has to know of it, the guest's pause bounded so.
    ///
    /// Errors: there is no private directory for a note.
    pub(crate) fn target(&self, max_pause: Duration) -> Result<TapTarget, SafePathError> {
        // We may be asked to go elsewhere; the monitor stays where it is.
        let monitor = self.qmp.way_back(&self.monitor);
        let notes = memtwin_safe_path::runtime_dir()?;
        let (pid, stream, hazards) = (self.process.pid(), self.stream, HazardPolicy::default());
        Ok(TapTarget { monitor, stream, pid, max_pause, notes, hazards })
    }

    /// What the record says of it, as far as it is known before it is tapped.
    pub(crate) fn hypervisor(&self) -> HypervisorFacts {
        HypervisorFacts {
            name: "QEMU".to_owned(),
            version: Some(self.version.to_string()),
            machine: None,
            accelerator: Some(self.accelerator().to_owned()),
            hold: None,
        }
    }

    fn accelerator(&self) -> &'static str {
        if self.kvm { "KVM" } else { "not KVM" }
    }

    /// What is to be said of the way to its monitor, for the record.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let MonitorAddress::Libvirt(_) = self.monitor {
            notes.push(LibvirtDomain::TAINT.to_owned());
        }
        if self.stream == StreamPath::Socket {
            notes.push(
                "no descriptor passes to this monitor, so QEMU connects to a socket of Memtwin's for its migration"
                    .to_owned(),
            );
        }
        notes
    }

    /// Asks for the blocks again: memory may have been plugged or unplugged.
    ///
    /// Errors: QEMU can't be asked, or a block can't be read.
    pub(crate) fn look_again(&mut self) -> Result<(), String> {
        self.blocks = blocks(&mut self.qmp).map_err(|error| error.to_string())?;
        self.process = Arc::new(self.process.again().map_err(|error| error.to_string())?);
        self.try_memory().map_err(|error| error.to_string())
    }

    /// Errors if a block can't be read: found out before anything is begun.
    fn try_memory(&self) -> Result<(), MemoryError> {
        for block in self.blocks.iter().filter(|block| block.is_named && block.used > 0) {
            if self.can_be_read(&block.name) {
                BlockMemory::new(Arc::clone(&self.process), block)?;
            }
        }
        Ok(())
    }

    /// Whether QEMU says where this block lies.
    fn can_be_read(&self, name: &str) -> bool {
        can_be_read(&self.blocks, name)
    }

    /// The real memory of each region, in the order of the layout.
    ///
    /// Errors: a region that is no block of this QEMU, or one that can't be read.
    pub(crate) fn memories(
        blocks: &[Block],
        process: &Arc<Process>,
        layout: &Layout,
    ) -> Result<Vec<BlockMemory>, String> {
        let memory = |(_, region): (RegionId, &memtwin_pages::Region)| {
            let block = find_block(blocks, region.name())
                .filter(|block| block.used == region.bytes())
                .ok_or_else(|| {
                    let (name, bytes) = (region.name(), region.bytes());
                    format!("RAMBlock {name} of {bytes} bytes was not there before: memory was plugged, unplugged or resized; try again")
                })?;
            BlockMemory::new(Arc::clone(process), block).map_err(|error| error.to_string())
        };
        layout.iter().map(memory).collect()
    }

    /// Whether QEMU has not ended.
    pub(crate) fn lives(&self) -> bool {
        self.process.alive().is_ok()
    }

    /// The process.
    pub(crate) fn process(&self) -> Arc<Process> {
        Arc::clone(&self.process)
    }
}

/// Whether QEMU says where this one of its blocks lies.
pub(crate) fn can_be_read(blocks: &[Block], name: &str) -> bool {
    let is_hidden = |found: &Block| out_of_sight(blocks).any(|block| std::ptr::eq(block, found));
    !find_block(blocks, name).is_some_and(is_hidden)
}

/// The same with what its tap knows: the machine type, and what holds it in pre-copy.
pub(crate) fn tapped(hypervisor: &HypervisorFacts, tap: &MigrationTap<'_>) -> HypervisorFacts {
    let machine = Some(tap.machine()).filter(|machine| !machine.is_empty()).map(str::to_owned);
    let hold = Some(tap.hold().name().to_owned());
    HypervisorFacts { machine, hold, ..hypervisor.clone() }
}

/// Connects, and finds out whether descriptors pass.
fn connected(monitor: &MonitorAddress) -> Result<(Qmp, StreamPath), QmpError> {
    let connect = || {
        Qmp::connect_to(monitor, GREETING).map(|mut qmp| {
            qmp.set_patience(ANSWER);
            qmp
        })
    };
    let mut qmp = connect()?;
    match qmp.try_descriptors() {
        Ok(()) => Ok((qmp, StreamPath::Descriptor)),
        Err(QmpError::NoDescriptors { .. }) => Ok((qmp.without_descriptors(), StreamPath::Socket)),
        // A program in between may not survive one; a QEMU that has ended is not there again either.
        Err(error) if error.is_disconnected() => match connect() {
            Ok(qmp) => Ok((qmp.without_descriptors(), StreamPath::Socket)),
            Err(_) => Err(error),
        },
        Err(error) => Err(error),
    }
}

impl Provenance for Attached {
    fn provenance(&self) -> SourceOrigin {
        SourceOrigin {
            source: self.monitor.source(),
            hypervisor: Some(format!("QEMU {}", self.version)),
            process: Some(self.process.pid()),
            arch: Some(self.arch.clone()),
            accelerator: Some(self.accelerator().to_owned()),
        }
    }
}
