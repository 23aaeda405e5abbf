//! A replication of a guest that we make, with a window in a file of its own.

use crate::helper::HelperCommand;
use crate::host_facts::own_vmm;
use crate::memory_file::MemoryFile;
use crate::observer::SessionObserver;
use crate::open_twin::TwinTarget;
use crate::replicate_source::{Prepared, Replicated, SourceReplicateConfig};
use crate::sums::sum_lines;
use memtwin_kvm::Mode;
use memtwin_replicate::{CancelToken, Until};
use memtwin_report::record::RegionDigests;
use memtwin_report::{Case, Failure};
use memtwin_stressor::Stressor;
use memtwin_vmm::{Backing, KvmGuest};
use std::path::PathBuf;
use std::time::Duration;

/// A guest of our own.
#[derive(Clone, Debug)]
pub enum ReplicatedGuest {
    /// The embedded guest on /dev/kvm, its log read in this mode.
    Kvm(Mode),
    /// A plain process, started by this command.
    Process(HelperCommand),
}

/// A guest of our own, and where to replicate it.
#[derive(Clone, Debug)]
pub struct ReplicateConfig {
    /// The guest.
    pub guest: ReplicatedGuest,
    /// Where its twin is kept.
    pub twin: TwinTarget,
    /// The file behind its window.
    pub memory: PathBuf,
    /// The window's size in bytes.
    pub size: u64,
    /// How many vCPUs (or threads) write.
    pub vcpus: u16,
    /// How pages get dirty.
    pub stressor: Stressor,
    /// Where their random choices begin; `None`: somewhere new.
    pub seed: Option<u64>,
    /// How many pages a second they write together; `None`: as many as they can.
    pub pace: Option<u64>,
    /// How long they write; `None`: to the end.
    pub guest_time: Option<Duration>,
    /// How long to sleep between rounds.
    pub interval: Duration,
    /// What ends the rounds.
    pub until: Until,
    /// At most this many rounds after pre-copy.
    pub rounds: Option<u32>,
    /// At most so long.
    pub time: Option<Duration>,
    /// A file for each round's dirty bitmap.
    pub dirty_bitmap: Option<PathBuf>,
}

/// Replicates and judges.
///
/// Errors: the guest, its memory file or the twin is not available.
pub fn replicate(
    config: &ReplicateConfig,
    stop: &CancelToken,
    observer: &mut dyn SessionObserver,
) -> Result<Replicated, Failure> {
    // The twin asks for itself when it is opened, if it is memory too.
    let times = u64::from(memtwin_room::is_memory(&config.memory));
    crate::room::for_window(Some(&config.memory), config.size, times)
        .map_err(Failure::environment)?;
    let of_source = config.of_source();
    // Refused before a guest is made: a twin that can't be written, a file that is in use.
    let prepared = Prepared::open(&of_source, stop)?;
    let mut memory =
        MemoryFile::create(&config.memory, config.size).map_err(Failure::environment)?;
    let file = memory.file().map_err(Failure::environment)?;
    let seed = config.seed.unwrap_or_else(crate::seed::fresh);
    let vcpus = usize::from(config.vcpus);
    let (mut replicated, is_judged) = match &config.guest {
        ReplicatedGuest::Kvm(mode) => {
            let guest = KvmGuest::new(memtwin_vmm::Config {
                mode: *mode,
                backing: Backing::Shm,
                file: Some(file),
                bytes: config.size,
                vcpus,
                stressor: config.stressor,
                seed,
                translation: None,
                ring_entries: 4096,
            });
            prepared.replicate(guest.map_err(Failure::environment)?, stop, observer)?
        }
        ReplicatedGuest::Process(writer) => {
            let (bytes, stressor) = (config.size, config.stressor);
            let guest =
                crate::process_guest::make(writer, bytes, vcpus, stressor, seed, Some(file));
            prepared.replicate(guest.map_err(Failure::environment)?, stop, observer)?
        }
    };
    if is_judged {
        memory.keep();
    }
    if matches!(config.guest, ReplicatedGuest::Kvm(_)) {
        replicated.case = replicated.case.with_hypervisor(Some(own_vmm()));
        replicated.trial = replicated.trial.hypervisor(own_vmm());
    }
    Ok(Replicated { sums: config.sums(&replicated.case), ..replicated })
}

impl ReplicateConfig {
    /// What of it has nothing to do with a window.
    fn of_source(&self) -> SourceReplicateConfig {
        SourceReplicateConfig {
            twin: self.twin.clone(),
            pace: self.pace,
            guest_time: self.guest_time,
            interval: self.interval,
            until: self.until,
            rounds: self.rounds,
            time: self.time,
            dirty_bitmap: self.dirty_bitmap.clone(),
        }
    }

    /// Of both sides, as `sum -r` prints it, to be compared by eye: by the names that the user gave them.
    fn sums(&self, case: &Case) -> Vec<String> {
        let both = |digests: &RegionDigests| {
            sum_lines(digests, self.size, &self.memory.display(), &self.twin)
        };
        case.digest().values().flat_map(both).collect()
    }
}
