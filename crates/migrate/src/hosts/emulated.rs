//! The reference setup on three emulated boards: a kernel NFS server, and two boards with a real KVM each.

use super::environment::{Environment, FOLDERS, MigrationHost};
use super::network::{NetworkTools, PlanNetwork};
use super::nfs;
use super::spec::{self, GuestFiles};
use crate::config::MigrationConfig;
use crate::faults::BoardFaults;
use crate::guest::{DISK_MODULES, NETWORK_MODULES};
use crate::plan::{MigrationPlan, ip};
use memtwin_lab::board::BoardSpec;
use memtwin_lab::boards::{Lab, LabFile, LabFolder, LabSpec, Nic, Node};
use memtwin_lab::disk::DiskSpec;
use memtwin_lab::host::{self, Host};
use memtwin_lab::image::{ImageSpec, SUITE};
use memtwin_lab::provision::board_image_and_programs;
use memtwin_lab::provision::open_cache;
use memtwin_lab::{Arch, Flavour, Progress, RunFolder};
use memtwin_report::Failure;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a line may take on an emulated board.
const LINE: Duration = Duration::from_secs(180);
/// Where the guest's files are on boards, and Memtwin.
const KERNEL: &str = "/lab/guest/kernel";
const INITRD: &str = "/lab/guest/initrd";
const IMAGE: &str = "/lab/guest/image";
const MEMTWIN: &str = "/usr/bin/memtwin";
/// By their paths: busybox's shell would take its own, which know neither tap devices nor NFS.
const IP: &str = "/usr/bin/ip";
const MOUNT: &str = "/usr/bin/mount";
const FOLDER: &str = "/run/memtwin";

/// Brings the lab up.
pub(super) fn set_up(
    config: &MigrationConfig,
    plan: &MigrationPlan,
    progress: &mut (dyn Progress + Send),
) -> Result<Environment, Failure> {
    let mut folder = RunFolder::temporary(FOLDERS).map_err(Failure::environment)?;
    folder.keep(config.keep);
    let (board_image, mut files) =
        board_image_and_programs(Flavour::Standard, config.programs.as_deref(), progress)
            .map_err(Failure::environment)?;
    files.extend(guest_files(config, plan, &files, folder.path(), progress)?);
    let spec = LabSpec { nodes: nodes(plan), files };
    let place = LabFolder::temporary().map_err(Failure::environment)?;
    let lab = Lab::boot(&spec, &board_image, place, progress).map_err(Failure::environment)?;
    let host = |name: &str| -> Result<Arc<dyn Host>, Failure> {
        let board = lab.board(name).map(|board| Arc::new(board.host.clone()) as Arc<dyn Host>);
        board.ok_or_else(|| Failure::environment(format!("no board {name}")))
    };
    let (storage, a, b) = (host("storage")?, host("a")?, host("b")?);
    progress.say("storage: NFS, and the route to the guest by way of a");
    lines(&*storage, &storage_lines(plan), progress)?;
    for board in [&a, &b] {
        progress.say(&format!(
            "{}: {} mounted, {} up",
            board.name(),
            plan.boards.mount,
            plan.boards.tap
        ));
        lines(&**board, &board_lines(plan), progress)?;
    }
    let files = GuestFiles {
        kernel: KERNEL.to_owned(),
        initrd: INITRD.to_owned(),
        disk: format!("{}/{}", plan.boards.mount, plan.storage.image),
    };
    let guest = spec::guest(plan, files, true, true);
    let there = config.there(&guest);
    let cable = |name: &str| {
        let port = lab.hub.of(name);
        port.ok_or_else(|| Failure::environment(format!("no cable to {name}")))
    };
    let faults = BoardFaults {
        a: cable("a")?,
        b: cable("b")?,
        storage: Arc::clone(&storage),
        start: nfs::start(&plan.storage),
    };
    let port = plan.boards.migration_port;
    let platform = |host: &Arc<dyn Host>, guest, address: &str| MigrationHost {
        host: Arc::clone(host),
        memtwin: MEMTWIN.to_owned(),
        folder: FOLDER.to_owned(),
        guest,
        listen: format!("tcp:0:{port}"),
        connect: format!("tcp:{}:{port}", ip(address)),
    };
    Ok(Environment {
        source: platform(&a, guest, &plan.a.address),
        destination: platform(&b, there, &plan.b.address),
        disk: (Arc::clone(&storage), format!("{}/{}", plan.storage.folder, plan.storage.image)),
        folder: folder.path().to_owned(),
        name: format!("plan:{}", plan.name),
        network: Some(Box::new(PlanNetwork::new(plan, storage, NetworkTools::board()))),
        breakable: Some(Arc::new(faults)),
        held: Vec::new(),
        _held: vec![Box::new(lab), Box::new(folder)],
    })
}

fn nodes(plan: &MigrationPlan) -> Vec<Node> {
    let node = |name: &str, address: &str, memory, load: &[&str]| Node {
        name: name.to_owned(),
        spec: BoardSpec { cpus: plan.boards.cpus, memory, ..BoardSpec::default() },
        nics: vec![Nic { address: Some(address.to_owned()), mtu: Some(plan.boards.mtu) }],
        disks: Vec::new(),
        load: load.iter().map(|module| (*module).to_owned()).collect(),
    };
    let client: &[&str] =
        if plan.storage.nfs == "3" { &["nfsv3", "tun"] } else { &["nfsv4", "tun"] };
    vec![
        node("storage", &plan.storage.address, plan.storage.memory, &["nfsd", "auth_rpcgss"]),
        node("a", &plan.a.address, plan.a.memory, client),
        node("b", &plan.b.address, plan.b.memory, client),
    ]
}

/// The guest's kernel, initramfs and disk, made here for all boards to find.
fn guest_files(
    config: &MigrationConfig,
    plan: &MigrationPlan,
    programs: &[LabFile],
    folder: &Path,
    progress: &mut dyn Progress,
) -> Result<Vec<LabFile>, Failure> {
    let cache = open_cache(progress).map_err(Failure::environment)?;
    let modules: Vec<&str> = DISK_MODULES.into_iter().chain(NETWORK_MODULES).collect();
    let spec = ImageSpec {
        arch: Arch::Aarch64,
        suite: SUITE,
        kernel: Flavour::Standard,
        modules: &modules,
        programs: &[],
        files: &[],
    };
    let image = spec.build(&cache, progress).map_err(Failure::environment)?;
    let disk = match &config.disk {
        Some(disk) => disk.clone(),
        None => {
            let disk = folder.join("image");
            let inside = programs.iter().filter(|file| file.path != "bin/memtwin");
            let inside: Vec<PathBuf> = inside.map(|file| file.from.clone()).collect();
            let spec = DiskSpec {
                arch: Arch::Aarch64,
                suite: SUITE,
                fstype: &plan.guest.fstype,
                bytes: plan.guest.disk << 20,
                programs: &inside,
                contents: None,
            };
            spec.build(&cache, &disk, progress).map_err(Failure::environment)?;
            disk
        }
    };
    let file = |path: &str, from: PathBuf| LabFile {
        path: path.trim_start_matches("/lab/").to_owned(),
        from,
        program: false,
    };
    Ok(vec![file(KERNEL, image.kernel), file(INITRD, image.initrd), file(IMAGE, disk)])
}

/// What storage does: it serves the disk, and knows the way to the guest.
fn storage_lines(plan: &MigrationPlan) -> Vec<String> {
    let mut lines = nfs::set_up(&plan.storage, IMAGE);
    let (guest, a) = (ip(&plan.guest.address), ip(&plan.a.address));
    lines.push(format!("{IP} route replace {guest} via {a}"));
    lines
}

fn board_lines(plan: &MigrationPlan) -> Vec<String> {
    let MigrationPlan { storage, boards, .. } = plan;
    let (server, tap) = (ip(&storage.address), &boards.tap);
    let mount = format!(
        "mkdir -p {0} {FOLDER} && {MOUNT} -t nfs -o vers={1} {server}:{2} {0}",
        boards.mount, storage.nfs, storage.folder
    );
    let statd = (storage.nfs == "3").then(|| "rpcbind -w && rpc.statd".to_owned());
    let mut lines: Vec<String> = statd.into_iter().collect();
    lines.push(mount);
    lines.push(format!(
        "{IP} tuntap add dev {tap} mode tap && {IP} link set {tap} address {} up && {IP} address add {} dev {tap}",
        boards.tap_mac, boards.tap_address
    ));
    lines.push("echo 1 >/proc/sys/net/ipv4/ip_forward".to_owned());
    lines.push(format!("{IP} route replace default via {server}"));
    lines
}

/// Runs lines there, one after the other.
fn lines(host: &dyn Host, lines: &[String], progress: &mut dyn Progress) -> Result<(), Failure> {
    // In one go, as each command by ssh costs an emulated CPU half a second.
    let joined: Vec<String> = lines.iter().map(|line| format!("{{ {line}; }}")).collect();
    let line = format!("{} || {{ rc=$?; dmesg | tail -n 5 >&2; exit $rc; }}", joined.join(" && "));
    host::run(host, &line, LINE, progress).map(drop).map_err(Failure::environment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::SEED;

    #[test]
    fn the_lines_are_those_of_2014() {
        let plan = MigrationPlan::parse(SEED).unwrap();
        let storage = storage_lines(&plan).join("\n");
        assert!(storage.ends_with("ip route replace 192.168.2.100 via 192.168.10.100"));
        let board = board_lines(&plan).join("\n");
        assert!(board.contains("mount -t nfs -o vers=4.2 192.168.10.10:/srv /mnt"), "{board}");
        assert!(board.contains("ip address add 192.168.2.1/24 dev tap0"), "{board}");
        let v3 = MigrationPlan::parse(&SEED.replace("nfs = \"4.2\"", "nfs = \"3\"")).unwrap();
        assert!(board_lines(&v3)[0].contains("rpc.statd"));
    }
}
