//! Machines that ssh reaches, and what every one of them is given: Memtwin, a folder for it and for sockets.

use super::environment::{FOLDERS, MigrationHost};
use crate::config::MigrationConfig;
use crate::guest::GuestSpec;
use crate::plan::{MigrationPlan, ip};
use memtwin_lab::host::{self, Host, Ssh, quoted};
use memtwin_lab::image::Image;
use memtwin_lab::provision::board_programs;
use memtwin_lab::{Arch, Progress, RunFolder, running_lab};
use memtwin_report::Failure;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a line may take there.
pub(crate) const LINE: Duration = Duration::from_secs(120);
/// Where each machine's own files are, sockets among them, which a network's file system may not have.
const OWN: &str = "/tmp";

/// A machine, and what it has.
#[derive(Clone, Debug)]
pub(crate) struct SshMachine {
    pub(crate) host: Ssh,
    pub(crate) arch: Arch,
    kvm: bool,
}

impl SshMachine {
    /// The machine of a name.
    ///
    /// Errors: it is no name, or no such board is up.
    pub(crate) fn host(config: &MigrationConfig, name: &str) -> Result<Ssh, Failure> {
        match name.strip_prefix("emulated:") {
            Some(board) => running_board(board, config.lab_state.as_deref()),
            None => Ssh::parse(name).map_err(Failure::usage),
        }
    }

    /// One that can run a guest.
    ///
    /// Errors: it can't.
    fn named(
        config: &MigrationConfig,
        name: &str,
        progress: &mut dyn Progress,
    ) -> Result<Self, Failure> {
        let host = Self::host(config, name)?;
        let line = "uname -m; test -w /dev/kvm && echo kvm || echo tcg; qemu-system-aarch64 --version | head -n 1";
        let said = host::run(&host, line, LINE, progress).map_err(Failure::environment)?;
        let Some((arch, kvm, qemu)) = read(&said) else {
            let got = said.trim().replace('\n', ", ");
            return Err(Failure::environment(format!(
                "{name}: expected aarch64 or x86-64 with qemu-system-aarch64 (package qemu-system-arm), got: \
                 {got}"
            )));
        };
        progress.say(&format!("{name}: {arch}, {qemu}"));
        Ok(Self { host, arch, kvm })
    }
}

/// The two between which a guest moves; whether it has KVM on both.
///
/// Errors: one can't run a guest, or they are of two kinds.
pub(crate) fn both(
    config: &MigrationConfig,
    names: [&String; 2],
    progress: &mut dyn Progress,
) -> Result<([SshMachine; 2], bool), Failure> {
    if config.arch != Arch::Aarch64 {
        return Err(Failure::usage("--hosts ssh:// runs aarch64 guests"));
    }
    let (a, b) = (
        SshMachine::named(config, names[0], progress)?,
        SshMachine::named(config, names[1], progress)?,
    );
    if a.arch != b.arch {
        let why = format!("{} is {}, {} is {}", names[0], a.arch, names[1], b.arch);
        return Err(Failure::environment(format!("{why}: a guest needs machines of one kind")));
    }
    let kvm = a.kvm && b.kvm && a.arch == Arch::Aarch64;
    Ok(([a, b], kvm))
}

/// A board of the lab that is up.
///
/// Errors: no such board is.
fn running_board(name: &str, lab: Option<&Path>) -> Result<Ssh, Failure> {
    let board = running_lab::board(name, lab).map_err(|error| match error.is_usage() {
        true => Failure::usage(error),
        false => Failure::environment(error),
    })?;
    Ok(board.ssh().clone())
}

fn read(said: &str) -> Option<(Arch, bool, String)> {
    let mut lines = said.lines();
    let arch = lines.next()?.parse().ok()?;
    let kvm = lines.next()? == "kvm";
    let qemu = lines.next().filter(|line| !line.is_empty())?.to_owned();
    Some((arch, kvm, qemu))
}

/// The run's folder here, and what its folders on machines are called.
pub(crate) fn folders(config: &MigrationConfig) -> Result<(RunFolder, String), Failure> {
    let mut folder = RunFolder::temporary(FOLDERS).map_err(Failure::environment)?;
    folder.keep(config.keep);
    let name = folder.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = name.replacen(FOLDERS, "memtwin-", 1);
    Ok((folder, name))
}

/// A folder of this name for a machine's own files.
pub(crate) fn own(name: &str, role: &str) -> String {
    format!("{OWN}/{name}-{role}")
}

/// Memtwin for those machines: this one, or built for them.
pub(crate) fn memtwin(
    config: &MigrationConfig,
    arch: Arch,
    progress: &mut dyn Progress,
) -> Result<PathBuf, Failure> {
    if arch == Arch::host() {
        return Ok(config.memtwin.clone());
    }
    let built = board_programs(config.programs.as_deref(), progress);
    let built = built.map_err(Failure::environment)?;
    let memtwin = built.into_iter().find(|file| file.path == "bin/memtwin");
    memtwin.map(|file| file.from).ok_or_else(|| Failure::environment("no memtwin was built"))
}

/// Puts a guest's files into a folder there.
pub(crate) fn put_guest(
    host: &Ssh,
    folder: &str,
    image: &Image,
    disk: (&Path, &str),
    progress: &mut dyn Progress,
) -> Result<(), Failure> {
    progress.say(&format!("{}: files to {folder}", host.name()));
    for (from, name) in [(&*image.kernel, "kernel"), (&*image.initrd, "initrd"), disk] {
        host.put(from, &format!("{folder}/{name}"), 0o644).map_err(Failure::environment)?;
    }
    Ok(())
}

/// Source and destination of a move, each with its machine and a folder that is there; their QEMUs listen where
/// the plan says.
pub(crate) fn both_hosts(
    config: &MigrationConfig,
    plan: &MigrationPlan,
    [(a, own_a), (b, own_b)]: [(&Ssh, &str); 2],
    guest: GuestSpec,
    memtwin: &Path,
    progress: &mut dyn Progress,
) -> Result<[MigrationHost; 2], Failure> {
    let expected = config.there(&guest);
    let at = |address| (ip(address), plan.boards.migration_port);
    Ok([
        with_room(a, own_a, guest, memtwin, at(&plan.a.address), progress)?,
        with_room(b, own_b, expected, memtwin, at(&plan.b.address), progress)?,
    ])
}

/// A machine with room for a QEMU.
fn with_room(
    host: &Ssh,
    own: &str,
    guest: GuestSpec,
    memtwin: &Path,
    (address, port): (&str, u16),
    progress: &mut dyn Progress,
) -> Result<MigrationHost, Failure> {
    let command = format!("{own}/memtwin");
    host.put(memtwin, &command, 0o755).map_err(Failure::environment)?;
    // Its libraries may not be there.
    let runs = host::run(host, &format!("{} --version", quoted(&command)), LINE, progress);
    runs.map_err(Failure::environment)?;
    let uri = format!("tcp:{address}:{port}");
    Ok(MigrationHost {
        host: Arc::new(host.clone().with_memtwin(&command)),
        memtwin: command,
        folder: own.to_owned(),
        guest,
        listen: uri.clone(),
        connect: uri,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_says_is_read() {
        let qemu = "QEMU emulator version 10.0.2";
        let board = read(&format!("aarch64\nkvm\n{qemu}\n"));
        assert_eq!(board, Some((Arch::Aarch64, true, qemu.to_owned())));
        assert_eq!(read("aarch64\nkvm\n"), None, "no QEMU");
        assert_eq!(read("riscv64\ntcg\nQEMU\n"), None);
    }
}
