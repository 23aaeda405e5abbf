//! Two QEMUs, and what a test does with them.

use memtwin_lab::Silent;
use memtwin_lab::host::{Host, Local, quoted};
use memtwin_migrate::{
    MigrationEvent, MigrationOutcome, MigrationSettings, STALL_TIMEOUT, Side, SideError, SideSpec,
    migrate,
};
use memtwin_replicate::CancelToken;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const X86: &str = "qemu-system-x86_64";
pub(crate) const ARM: &str = "qemu-system-aarch64";
pub(crate) const PC: &str = "-M pc -m 64";

/// The two sides of a test, in a folder of their own.
pub(crate) struct Pair {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) source: Side,
}

impl Pair {
    pub(crate) fn new(line: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        File::create(folder.path().join("disk")).unwrap().set_len(1 << 20).unwrap();
        let source = start(folder.path(), "source", line).unwrap();
        Self { folder, source }
    }

    pub(crate) fn destination(&self, line: &str) -> Result<Side, SideError> {
        start(self.folder.path(), "destination", &format!("{line} -incoming defer -S"))
    }

    pub(crate) fn settings(&self) -> MigrationSettings {
        let uri = format!("unix:{}", self.folder.path().join("migration").display());
        MigrationSettings {
            listen: uri.clone(),
            connect: uri,
            capabilities: Default::default(),
            parameters: Default::default(),
            timeout: Duration::from_secs(300),
            stall: STALL_TIMEOUT,
            verify_ram: true,
            control: false,
            postcopy: false,
        }
    }

    /// So slow that there is time for something to happen.
    pub(crate) fn slow(&self) -> MigrationSettings {
        let parameters = [("max-bandwidth", 100_000u64), ("downtime-limit", 1)];
        let parameters = parameters.map(|(name, value)| (name.to_owned(), value.into()));
        MigrationSettings { parameters: parameters.into_iter().collect(), ..self.settings() }
    }

    pub(crate) fn runs_at_the_source(&mut self) -> bool {
        self.source.state().unwrap().running
    }
}

pub(crate) fn start(folder: &Path, name: &str, line: &str) -> Result<Side, SideError> {
    start_on(Arc::new(Local), folder, name, line)
}

pub(crate) fn start_on(
    host: Arc<dyn Host>,
    folder: &Path,
    name: &str,
    line: &str,
) -> Result<Side, SideError> {
    let path = |what: &str| folder.join(format!("{name}.{what}")).display().to_string();
    let (qmp, qmp_digest, qmp_urgent) = (path("qmp"), path("digest"), path("urgent"));
    let console = path("console");
    let disk = folder.join("disk");
    let line = format!(
        "{line} -nodefaults -display none -drive if=virtio,format=raw,cache=none,file={disk} \
         -chardev socket,id=c,path={console},server=on,wait=off -serial chardev:c \
         -qmp unix:{qmp},server=on,wait=off -qmp unix:{qmp_digest},server=on,wait=off \
         -qmp unix:{qmp_urgent},server=on,wait=off",
        disk = quoted(&disk.display().to_string()),
    );
    let memtwin = env!("CARGO_BIN_EXE_memtwin").to_owned();
    let logs = folder.to_owned();
    let name = name.to_owned();
    let spec = SideSpec { name, memtwin, line, qmp, qmp_digest, qmp_urgent, console, logs };
    Side::start(host, spec, &mut Silent)
}

pub(crate) fn pc(more: &str) -> String {
    format!("{X86} {PC} -accel tcg {more}")
}

pub(crate) fn run(
    pair: &mut Pair,
    destination: &mut Side,
    settings: &MigrationSettings,
    hear: &mut dyn FnMut(MigrationEvent<'_>, &mut Side, &mut Side),
) -> MigrationOutcome {
    let moved =
        migrate(&mut pair.source, destination, settings, &CancelToken::default(), hear).unwrap();
    assert_eq!(moved.doubled, 0);
    moved
}

/// SIGKILL for the QEMU of a side, as from outside.
pub(crate) fn kill(side: &Side) {
    assert!(signal("-9", pid_of(side)));
}

/// A process that stands still until this is dropped.
pub(crate) struct Stopped(u32);

impl Stopped {
    pub(crate) fn new(pid: u32) -> Self {
        assert!(signal("-STOP", pid));
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal("-CONT", self.0);
    }
}

pub(crate) fn signal(signal: &str, pid: u32) -> bool {
    Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success()
}

pub(crate) fn pid_of(side: &Side) -> u32 {
    side.qmp.peer_pid().unwrap().unwrap()
}

/// Once something was sent, and once only.
pub(crate) fn amid(event: &MigrationEvent<'_>, done: &mut bool) -> bool {
    let sent = matches!(event, MigrationEvent::Look(told) if told.ram.is_some_and(|ram| ram.transferred > 0));
    sent && !std::mem::replace(done, true)
}
