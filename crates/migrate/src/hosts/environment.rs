//! What an experiment takes place on: two hosts, the files and sockets on them, how they reach each other.

use super::setup::HostSetup;
use crate::faults::Breakable;
use crate::guest::GuestSpec;
use memtwin_lab::Progress;
use memtwin_lab::host::Host;
use memtwin_report::Failure;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How the folders of experiments begin among the system's temporary files.
pub(crate) const FOLDERS: &str = "memtwin-migrate-";

/// Why its network is not judged where a guest has none.
pub(crate) const NO_NETWORK: &str =
    "the guest has a network on emulated boards, and on three machines alone";

/// A host with room for a QEMU.
#[derive(Debug)]
pub(crate) struct MigrationHost {
    pub(crate) host: Arc<dyn Host>,
    /// Memtwin's command there.
    pub(crate) memtwin: String,
    /// A folder for sockets there.
    pub(crate) folder: String,
    /// The guest as it is called there.
    pub(crate) guest: GuestSpec,
    /// Where a QEMU listens there for a guest, and where another connects to for that.
    pub(crate) listen: String,
    pub(crate) connect: String,
}

/// Everything that is there before a guest is.
#[derive(Debug)]
pub(crate) struct Environment {
    pub(crate) source: MigrationHost,
    pub(crate) destination: MigrationHost,
    /// The folder here for logs and copies.
    pub(crate) folder: PathBuf,
    /// Where the disk is: on which host, and its path there.
    pub(crate) disk: (Arc<dyn Host>, String),
    /// What the cases call their source.
    pub(crate) name: String,
    /// The network, where there is one.
    pub(crate) network: Option<Box<dyn GuestNetwork>>,
    /// What can be broken on purpose, where something can.
    pub(crate) breakable: Option<Arc<dyn Breakable>>,
    /// What is set up on machines that are somebody's, and undone, in this order, when all is over.
    pub(crate) held: Vec<HostSetup>,
    /// What is removed, and switched off, when all is over.
    pub(crate) _held: Vec<Box<dyn std::any::Any>>,
}

impl Environment {
    /// Why what is found on it is worth nothing, if that is so: what it stands on was pulled away.
    pub(crate) fn lost(&mut self) -> Option<String> {
        self.held.iter_mut().find_map(HostSetup::lost)
    }
}

/// What an experiment does with the guest's network.
pub(crate) trait GuestNetwork: std::fmt::Debug {
    /// Orders that the guest is given once it is up.
    fn orders(&self) -> Vec<String>;
    /// Begins to ping it and to send it a stream.
    fn begin(&mut self, progress: &mut dyn Progress) -> Result<(), Failure>;
    /// The guest runs at the destination (of the first hop, or back at the source), and the route still
    /// leads elsewhere: who reaches whom, asked of the guest by `ask`, which has no answer when the guest
    /// gives none; then the route is switched. How long the switch had to wait for the answers.
    fn switch(
        &mut self,
        back: bool,
        ask: &mut dyn FnMut(&str) -> Option<Vec<String>>,
        progress: &mut dyn Progress,
    ) -> Result<(Vec<String>, Duration), Failure>;
    /// Ends both, and tells what came of them.
    fn end(&mut self, progress: &mut dyn Progress) -> Result<NetworkResult, Failure>;
}

/// What came of ping and stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct NetworkResult {
    /// What is wrong, if anything is.
    pub(crate) wrong: Option<String>,
    /// What could not be found out, if anything.
    pub(crate) unknown: Option<String>,
    /// The longest time without an echo of a ping.
    pub(crate) ping_gap: Option<Duration>,
    /// The longest silence of the stream.
    pub(crate) silence: Option<Duration>,
    /// Lines for a person.
    pub(crate) lines: Vec<String>,
}
