//! Three machines that are somebody's, an NFS server and two boards: the reference setup on real ones. What it takes
//! is set up by shells there that undo it on every way out (`setup`), and nothing is touched that was there:
//! what stands in the way is refused before (`checks`).
//!
//! One thing is not as in the reference setup: the boards keep their default route, which may carry the
//! connection to them. Storage is their neighbour, so what goes there does not take it.

mod checks;
mod facts;
mod steps;

use super::environment::Environment;
use super::local::files;
use super::machines::{self, LINE, SshMachine};
use super::network::{NetworkTools, PlanNetwork};
use super::setup::{HostSetup, Leftovers};
use super::spec::{self, GuestFiles};
use crate::config::MigrationConfig;
use crate::guest::NETWORK_MODULES;
use crate::plan::MigrationPlan;
use checks::HostRole;
use facts::HostFacts;
use memtwin_lab::host::{self, Host, Ssh, quoted};
use memtwin_lab::provision::guest_programs;
use memtwin_lab::{Arch, Progress};
use memtwin_report::Failure;
use std::sync::Arc;

/// The program that speaks to the guest from storage.
const NETLOAD: &str = "netload";

/// Puts everything in its place.
pub(super) fn set_up(
    config: &MigrationConfig,
    plan: &MigrationPlan,
    names: &[String; 3],
    leftovers: &Leftovers,
    progress: &mut dyn Progress,
) -> Result<Environment, Failure> {
    let storage = SshMachine::host(config, &names[0])?;
    let ([SshMachine { host: a, arch, .. }, SshMachine { host: b, .. }], kvm) =
        machines::both(config, [&names[1], &names[2]], progress)?;
    let of_storage = asked(&storage, HostRole::Storage, plan, progress)?;
    let (of_a, of_b) =
        (asked(&a, HostRole::A, plan, progress)?, asked(&b, HostRole::B, plan, progress)?);

    let (folder, name) = machines::folders(config)?;
    let disk = folder.path().join("disk");
    let bytes = plan.guest.disk << 20;
    let image = files(config, &plan.guest.fstype, bytes, &disk, &NETWORK_MODULES, progress)?;
    let memtwin = machines::memtwin(config, arch, progress)?;
    let uname = host::run(&storage, "uname -m", LINE, progress).map_err(Failure::environment)?;
    let kind: Arch = uname.trim().parse().map_err(Failure::environment)?;
    let given = config.programs.as_deref().filter(|_| kind == Arch::Aarch64);
    let built = guest_programs(kind, given, config.source.as_deref(), progress);
    let built = built.map_err(Failure::environment)?;
    let netload = built.iter().find(|path| path.ends_with(NETLOAD));
    let netload = netload.ok_or_else(|| Failure::environment("no netload was built"))?;

    let (folder_there, said) =
        (format!("{}/{name}", plan.storage.folder), machines::own(&name, "s"));
    let (own_a, own_b) = (machines::own(&name, "a"), machines::own(&name, "b"));
    progress.say(&format!("{}: the export, and the route to the guest by way of a", names[0]));
    let steps = steps::storage(&of_storage, plan, &[folder_there.clone(), said.clone()]);
    let held_storage = HostSetup::start(&storage, steps, leftovers, progress)?;
    machines::put_guest(&storage, &folder_there, &image, (&disk, &plan.storage.image), progress)?;
    let command = format!("{said}/{NETLOAD}");
    storage.put(netload, &command, 0o755).map_err(Failure::environment)?;

    let shared = format!("{}/{name}", plan.boards.mount);
    let path = |name: &str| format!("{shared}/{name}");
    let image = path(&plan.storage.image);
    let mut held = vec![held_storage];
    for (board, facts, own) in [(&a, &of_a, &own_a), (&b, &of_b, &own_b)] {
        let MigrationPlan { boards, .. } = plan;
        progress.say(&format!("{}: {} mounted, {} up", board.name(), boards.mount, boards.tap));
        held.insert(
            0,
            HostSetup::start(board, steps::board(facts, plan, own), leftovers, progress)?,
        );
        // An export that was there before may be another's, or for reading alone.
        if host::run(board, &format!("test -w {}", quoted(&image)), LINE, progress).is_err() {
            return Err(Failure::environment(format!(
                "{}: can't write {image}, which {} has just made: is {} the export of {} there, with \
                 no_root_squash and rw?",
                board.name(),
                storage.name(),
                boards.mount,
                plan.storage.folder
            )));
        }
    }
    let files = GuestFiles { kernel: path("kernel"), initrd: path("initrd"), disk: image };
    let guest = spec::guest(plan, files, kvm, true);
    let sides = [(&a, &*own_a), (&b, &*own_b)];
    let [source, destination] =
        machines::both_hosts(config, plan, sides, guest, &memtwin, progress)?;
    let tools = NetworkTools {
        ip: of_storage.programs["ip"].clone(),
        ping: of_storage.programs["ping"].clone(),
        netload: command,
        folder: said,
    };
    let storage: Arc<dyn Host> = Arc::new(storage);
    Ok(Environment {
        source,
        destination,
        disk: (Arc::clone(&storage), format!("{folder_there}/{}", plan.storage.image)),
        folder: folder.path().to_owned(),
        name: format!("plan:{}", plan.name),
        network: Some(Box::new(PlanNetwork::new(plan, storage, tools))),
        breakable: None,
        held,
        _held: vec![Box::new(folder)],
    })
}

/// What a machine says of itself; an error if it is not fit.
fn asked(
    host: &Ssh,
    role: HostRole,
    plan: &MigrationPlan,
    progress: &mut dyn Progress,
) -> Result<HostFacts, Failure> {
    let said = host::run(host, &facts::line(plan), LINE, progress).map_err(Failure::environment)?;
    let named = |why: String| Failure::environment(format!("{}: {why}", host.name()));
    let facts = HostFacts::read(&said).map_err(named)?;
    checks::check(role, &facts, plan).map_err(named)?;
    Ok(facts)
}
