//! Three machines that are somebody's, an NFS server and two boards: the lab of 2014 on real ones. What it takes
//! is set up by shells there that undo it on every way out (`holder`), and nothing is touched that was there:
//! what stands in the way is refused before (`checks`).
//!
//! One thing is not as in 2014: the boards keep their default route, which may carry the connection to them.
//! Storage is their neighbour, so what goes there does not take it.

mod checks;
mod facts;
mod steps;

use super::Migrate;
use super::holder::{Holder, Left};
use super::local::files;
use super::machines::{self, LINE, Machine};
use super::network::{Lan, Tools};
use super::spec::{self, Files};
use super::stage::Stage;
use crate::lab::image::programs;
use crate::lab::talk::Talk;
use checks::Role;
use facts::Facts;
use memtwin_lab::host::{self, Host, Ssh, quoted};
use memtwin_lab::{Arch, Progress};
use memtwin_migrate::NETWORK_MODULES;
use memtwin_migrate::plan::{Plan, ip};
use memtwin_report::Failure;
use std::sync::Arc;

/// The program that speaks to the guest from storage.
const NETLOAD: &str = "netload";

/// Puts everything in its place.
pub(super) fn stage(
    args: &Migrate,
    plan: &Plan,
    names: &[String; 3],
    left: &Left,
    talk: &mut Talk,
) -> Result<Stage, Failure> {
    let storage = Machine::host(args, &names[0])?;
    let ([Machine { host: a, arch, .. }, Machine { host: b, .. }], kvm) =
        machines::both(args, [&names[1], &names[2]], talk)?;
    let of_storage = asked(&storage, Role::Storage, plan, talk)?;
    let (of_a, of_b) = (asked(&a, Role::A, plan, talk)?, asked(&b, Role::B, plan, talk)?);

    let (folder, name) = machines::folders(args)?;
    let disk = folder.path().join("disk");
    let bytes = plan.guest.disk << 20;
    let image = files(args, &plan.guest.fstype, bytes, &disk, &NETWORK_MODULES, talk)?;
    let memtwin = machines::memtwin(args, arch, talk)?;
    let uname = host::run(&storage, "uname -m", LINE, talk).map_err(Failure::environment)?;
    let kind: Arch = uname.trim().parse().map_err(Failure::environment)?;
    let given = args.programs.as_deref().filter(|_| kind == Arch::Aarch64);
    let built = programs(kind, given, args.source.as_deref(), talk)?;
    let netload = built.iter().find(|path| path.ends_with(NETLOAD));
    let netload = netload.ok_or_else(|| Failure::environment("no netload was built"))?;

    let (folder_there, said) =
        (format!("{}/{name}", plan.storage.folder), machines::own(&name, "s"));
    let (own_a, own_b) = (machines::own(&name, "a"), machines::own(&name, "b"));
    talk.say(&format!("{}: the export, and the route to the guest by way of a", names[0]));
    let steps = steps::storage(&of_storage, plan, &[folder_there.clone(), said.clone()]);
    let held_storage = Holder::start(&storage, steps, left, talk)?;
    machines::put_guest(&storage, &folder_there, &image, (&disk, &plan.storage.image), talk)?;
    let command = format!("{said}/{NETLOAD}");
    storage.put(netload, &command, 0o755).map_err(Failure::environment)?;

    let shared = format!("{}/{name}", plan.boards.mount);
    let path = |name: &str| format!("{shared}/{name}");
    let image = path(&plan.storage.image);
    let mut held = vec![held_storage];
    for (board, facts, own) in [(&a, &of_a, &own_a), (&b, &of_b, &own_b)] {
        let Plan { boards, .. } = plan;
        talk.say(&format!("{}: {} mounted, {} up", board.name(), boards.mount, boards.tap));
        held.insert(0, Holder::start(board, steps::board(facts, plan, own), left, talk)?);
        // An export that was there before may be another's, or for reading alone.
        if host::run(board, &format!("test -w {}", quoted(&image)), LINE, talk).is_err() {
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
    let files = Files { kernel: path("kernel"), initrd: path("initrd"), disk: image };
    let guest = spec::guest(plan, files, kvm, true);
    let there = args.there(&guest);
    let port = plan.boards.migration_port;
    let at = |address| (ip(address), port);
    let tools = Tools {
        ip: of_storage.programs["ip"].clone(),
        ping: of_storage.programs["ping"].clone(),
        netload: command,
        folder: said,
    };
    let storage: Arc<dyn Host> = Arc::new(storage);
    Ok(Stage {
        source: machines::platform(&a, &own_a, guest, &memtwin, at(&plan.a.address), talk)?,
        destination: machines::platform(&b, &own_b, there, &memtwin, at(&plan.b.address), talk)?,
        disk: (Arc::clone(&storage), format!("{folder_there}/{}", plan.storage.image)),
        folder: folder.path().to_owned(),
        name: format!("plan:{}", plan.name),
        network: Some(Box::new(Lan::new(plan, storage, tools))),
        breakable: None,
        held,
        _held: vec![Box::new(folder)],
    })
}

/// What a machine says of itself; an error if it is not fit.
fn asked(host: &Ssh, role: Role, plan: &Plan, talk: &mut Talk) -> Result<Facts, Failure> {
    let said = host::run(host, &facts::line(plan), LINE, talk).map_err(Failure::environment)?;
    let named = |why: String| Failure::environment(format!("{}: {why}", host.name()));
    let facts = Facts::read(&said).map_err(named)?;
    checks::check(role, &facts, plan).map_err(named)?;
    Ok(facts)
}
