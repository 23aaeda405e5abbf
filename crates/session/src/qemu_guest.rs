//! A running QEMU, attached to: its monitor, its blocks, its guest's real memory.

use crate::provenance::{Provenance, SourceOrigin};
use memtwin_pages::{Layout, RegionId};
use memtwin_qemu::{
    Block, BlockMemory, MemoryError, Process, QemuVersion, blocks, kvm, out_of_sight, target,
    version,
};
use memtwin_qmp::Qmp;
use memtwin_report::Failure;
use memtwin_safe_path::SafePathError;
use memtwin_tap::TapTarget;
use std::path::{Path, PathBuf};
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
    socket: PathBuf,
    process: Arc<Process>,
}

impl Attached {
    /// Connects, and finds the guest's memory. Changes nothing.
    ///
    /// Errors: no QMP there, or the memory can't be read.
    pub(crate) fn new(socket: &Path, pid: Option<u32>) -> Result<Self, Failure> {
        let mut qmp = Qmp::connect(socket, GREETING).map_err(Failure::environment)?;
        qmp.set_patience(ANSWER);
        let about = |qmp: &mut Qmp| Ok((version(qmp)?, target(qmp)?, kvm(qmp)?.enabled));
        let about: Result<_, memtwin_qmp::QmpError> = about(&mut qmp);
        let (version, arch, kvm) = about.map_err(Failure::environment)?;
        let blocks = blocks(&mut qmp).map_err(Failure::environment)?;
        let process = match pid {
            Some(pid) => Process::behind(&mut qmp, pid, &blocks),
            None => Process::find(&mut qmp, &blocks),
        };
        let process = Arc::new(process.map_err(Failure::environment)?);
        let this = Self { qmp, version, arch, kvm, blocks, socket: socket.to_owned(), process };
        this.try_memory().map_err(Failure::environment)?;
        Ok(this)
    }

    /// What a tap has to know of it, the guest's pause bounded so.
    ///
    /// Errors: there is no private directory for a note.
    pub(crate) fn target(&self, max_pause: Duration) -> Result<TapTarget, SafePathError> {
        // We may be asked to go elsewhere; the socket stays where it is.
        let monitor = std::path::absolute(&self.socket).unwrap_or_else(|_| self.socket.clone());
        let notes = memtwin_safe_path::runtime_dir()?;
        Ok(TapTarget { monitor, pid: self.process.pid(), max_pause, notes })
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
            let block = blocks
                .iter()
                .find(|block| block.name == region.name())
                .ok_or_else(|| format!("RAMBlock {} was not there before", region.name()))?;
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
    !out_of_sight(blocks).any(|block| block.name == name)
}

impl Provenance for Attached {
    fn provenance(&self) -> SourceOrigin {
        SourceOrigin {
            source: format!("qemu:{}", self.socket.display()),
            hypervisor: Some(format!("QEMU {}", self.version)),
            process: Some(self.process.pid()),
            arch: Some(self.arch.clone()),
            accelerator: Some(if self.kvm { "KVM" } else { "not KVM" }.to_owned()),
        }
    }
}
