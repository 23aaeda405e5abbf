//! Two machines that ssh reaches, real boards among them, with a folder that both have mounted. What is
//! needed is put there, and removed at the end. The guest has no network: taps, routes and an NFS server's
//! exports are somebody's there, and were tried on emulated boards alone.

use super::Migrate;
use super::local::files;
use super::stage::{Platform, Stage};
use crate::failure::Failure;
use crate::lab::boards;
use crate::lab::talk::Talk;
use memtwin_lab::host::{self, Host, Ssh, quoted};
use memtwin_lab::{Arch, Progress, Silent};
use memtwin_migrate::GuestSpec;
use memtwin_migrate::plan::{Plan, ip};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a line may take there.
const LINE: Duration = Duration::from_secs(120);
/// Where each machine's own files are, sockets among them, which a network's file system may not have.
const OWN: &str = "/tmp";

/// What a machine has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct About {
    arch: Arch,
    kvm: bool,
    qemu: String,
}

/// A folder of ours there, removed with all that is in it when this is dropped.
#[derive(Debug)]
struct Folder {
    host: Ssh,
    path: String,
}

impl Folder {
    /// Makes one in a folder there.
    fn within(host: &Ssh, parent: &str, talk: &mut Talk) -> Result<Self, Failure> {
        let line = format!("mktemp -d {}/memtwin-XXXXXX", quoted(parent.trim_end_matches('/')));
        let path = host::run(host, &line, LINE, talk).map_err(Failure::environment)?;
        Ok(Self { host: host.clone(), path: path.trim_end().to_owned() })
    }

    fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Whatever mktemp has said: nothing but a folder of ours is removed.
        if self.path.rsplit('/').next().is_some_and(|name| name.starts_with("memtwin-")) {
            let line = format!("rm -rf {}", quoted(&self.path));
            let _ = host::run(&self.host, &line, LINE, &mut Silent);
        }
    }
}

/// Puts everything in its place.
pub(super) fn stage(
    args: &Migrate,
    plan: &Plan,
    names: &[String; 2],
    talk: &mut Talk,
) -> Result<Stage, Failure> {
    if args.arch != Arch::Aarch64 {
        return Err(Failure::usage("--hosts ssh:// runs aarch64 guests"));
    }
    let parsed = |name: &String| Ssh::parse(name).map_err(Failure::usage);
    let (a, b) = (parsed(&names[0])?, parsed(&names[1])?);
    let (of_a, of_b) = (about(&a, talk)?, about(&b, talk)?);
    if of_a.arch != of_b.arch {
        let why = format!("{} is {}, {} is {}", a.name(), of_a.arch, b.name(), of_b.arch);
        return Err(Failure::environment(format!("{why}: a guest needs machines of one kind")));
    }
    for (host, about) in [(&a, &of_a), (&b, &of_b)] {
        talk.say(&format!("{}: {}, {}", host.name(), about.arch, about.qemu));
    }
    let folder = tempfile::Builder::new().prefix("memtwin-migrate-").tempdir();
    let mut folder = folder.map_err(Failure::environment)?;
    folder.disable_cleanup(args.keep);

    let shared = Folder::within(&a, &plan.boards.mount, talk)?;
    if host::run(&b, &format!("test -d {}", quoted(&shared.path)), LINE, talk).is_err() {
        return Err(Failure::environment(format!(
            "{}: no {} there, which {} has just made: mount the same export at {} on both, or name another \
             folder in the plan (boards.mount)",
            b.name(),
            shared.path,
            a.name(),
            plan.boards.mount
        )));
    }
    let disk = folder.path().join("disk");
    let image = files(args, &plan.guest.fstype, plan.guest.disk << 20, &disk, talk)?;
    talk.say(&format!("{}: files to {}", a.name(), shared.path));
    for (from, name) in [(&image.kernel, "kernel"), (&image.initrd, "initrd"), (&disk, "disk")] {
        a.put(from, &shared.file(name), 0o644).map_err(Failure::environment)?;
    }
    let kvm = of_a.kvm && of_b.kvm && of_a.arch == Arch::Aarch64;
    // Under TCG the log is sound for a CPU without FEAT_HAFDBS (docs/findings.md).
    let (accel, cpu) = if kvm { ("kvm", "host") } else { ("tcg", "cortex-a72") };
    let guest = GuestSpec {
        qemu: "qemu-system-aarch64".to_owned(),
        accel: accel.to_owned(),
        machine: "virt,gic-version=3".to_owned(),
        cpu: cpu.to_owned(),
        cpus: plan.guest.cpus,
        memory: plan.guest.memory,
        console: "ttyAMA0".to_owned(),
        kernel: shared.file("kernel"),
        initrd: shared.file("initrd"),
        disk: shared.file("disk"),
        fstype: plan.guest.fstype.clone(),
        network: None,
    };
    let there = GuestSpec {
        cpu: args.destination_cpu.clone().unwrap_or_else(|| guest.cpu.clone()),
        machine: args.destination_machine.clone().unwrap_or_else(|| guest.machine.clone()),
        ..guest.clone()
    };
    let memtwin = memtwin(args, of_a.arch, talk)?;
    let port = plan.boards.migration_port;
    let (source, own_a) = platform(&a, guest, &memtwin, ip(&plan.a.address), port, talk)?;
    let (destination, own_b) = platform(&b, there, &memtwin, ip(&plan.b.address), port, talk)?;
    Ok(Stage {
        source,
        destination,
        disk: (Arc::new(a), shared.file("disk")),
        folder: folder.path().to_owned(),
        name: format!("plan:{}", plan.name),
        network: None,
        breakable: None,
        _held: vec![Box::new(own_a), Box::new(own_b), Box::new(shared), Box::new(folder)],
    })
}

/// Asks a machine what it has.
fn about(host: &Ssh, talk: &mut Talk) -> Result<About, Failure> {
    let line = "uname -m; test -w /dev/kvm && echo kvm || echo tcg; qemu-system-aarch64 --version | head -n 1";
    let said = host::run(host, line, LINE, talk).map_err(Failure::environment)?;
    read(&said).ok_or_else(|| {
        let name = host.name();
        let got = said.trim().replace('\n', ", ");
        Failure::environment(format!(
            "{name}: expected aarch64 or x86-64 with qemu-system-aarch64 (package qemu-system-arm), got: {got}"
        ))
    })
}

fn read(said: &str) -> Option<About> {
    let mut lines = said.lines();
    let arch = lines.next()?.parse().ok()?;
    let kvm = lines.next()? == "kvm";
    let qemu = lines.next().filter(|line| !line.is_empty())?.to_owned();
    Some(About { arch, kvm, qemu })
}

/// Memtwin for those machines: this one, or built for them.
fn memtwin(args: &Migrate, arch: Arch, talk: &mut Talk) -> Result<PathBuf, Failure> {
    if arch == Arch::host() {
        return std::env::current_exe().map_err(Failure::environment);
    }
    let built = boards::programs(args.programs.as_deref(), talk)?;
    let memtwin = built.into_iter().find(|file| file.path == "bin/memtwin");
    memtwin.map(|file| file.from).ok_or_else(|| Failure::environment("no memtwin was built"))
}

fn platform(
    host: &Ssh,
    guest: GuestSpec,
    memtwin: &Path,
    address: &str,
    port: u16,
    talk: &mut Talk,
) -> Result<(Platform, Folder), Failure> {
    let own = Folder::within(host, OWN, talk)?;
    let command = own.file("memtwin");
    host.put(memtwin, &command, 0o755).map_err(Failure::environment)?;
    // Its libraries may not be there.
    let runs = host::run(host, &format!("{} --version", quoted(&command)), LINE, talk);
    runs.map_err(Failure::environment)?;
    let uri = format!("tcp:{address}:{port}");
    let platform = Platform {
        host: Arc::new(host.clone().with_memtwin(&command)),
        memtwin: command,
        folder: own.path.clone(),
        guest,
        listen: uri.clone(),
        connect: uri,
    };
    Ok((platform, own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_says_is_read() {
        let board = read("aarch64\nkvm\nQEMU emulator version 10.0.2\n").unwrap();
        assert_eq!((board.arch, board.kvm), (Arch::Aarch64, true));
        assert!(!read("x86_64\ntcg\nQEMU emulator version 10.0.2\n").unwrap().kvm);
        assert_eq!(read("aarch64\nkvm\n"), None, "no QEMU");
        assert_eq!(read("riscv64\ntcg\nQEMU\n"), None);
    }
}
