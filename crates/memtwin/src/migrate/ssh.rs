//! Two machines that ssh reaches, real boards among them, with a folder that both have mounted. What is
//! needed is put there, and removed on every way out. The guest has no network: for that there is `site`.

use super::Migrate;
use super::holder::{Holder, Left, Step};
use super::local::files;
use super::machines::{self, LINE, Machine};
use super::spec::{self, Files};
use super::stage::Stage;
use crate::lab::talk::Talk;
use memtwin_lab::host::{self, Host, quoted};
use memtwin_migrate::plan::{Plan, ip};
use memtwin_report::Failure;
use std::sync::Arc;

/// Puts everything in its place.
pub(super) fn stage(
    args: &Migrate,
    plan: &Plan,
    names: &[String; 2],
    left: &Left,
    talk: &mut Talk,
) -> Result<Stage, Failure> {
    let ([Machine { host: a, arch, .. }, Machine { host: b, .. }], kvm) =
        machines::both(args, [&names[0], &names[1]], talk)?;
    let (folder, name) = machines::folders(args)?;
    let (own_a, own_b) = (machines::own(&name, "a"), machines::own(&name, "b"));
    let shared = format!("{}/{name}", plan.boards.mount.trim_end_matches('/'));
    let held_a = Holder::start(&a, vec![Step::folder(&own_a), Step::folder(&shared)], left, talk)?;
    let held_b = Holder::start(&b, vec![Step::folder(&own_b)], left, talk)?;
    if host::run(&b, &format!("test -d {}", quoted(&shared)), LINE, talk).is_err() {
        return Err(Failure::environment(format!(
            "{}: no {shared} there, which {} has just made: mount the same export at {} on both, or name another \
             folder in the plan (boards.mount)",
            b.name(),
            a.name(),
            plan.boards.mount
        )));
    }
    let disk = folder.path().join("disk");
    let image = files(args, &plan.guest.fstype, plan.guest.disk << 20, &disk, &[], talk)?;
    machines::put_guest(&a, &shared, &image, (&disk, "disk"), talk)?;
    let path = |name: &str| format!("{shared}/{name}");
    let files = Files { kernel: path("kernel"), initrd: path("initrd"), disk: path("disk") };
    let guest = spec::guest(plan, files, kvm, false);
    let there = args.there(&guest);
    let memtwin = machines::memtwin(args, arch, talk)?;
    let port = plan.boards.migration_port;
    let at = |address| (ip(address), port);
    Ok(Stage {
        source: machines::platform(&a, &own_a, guest, &memtwin, at(&plan.a.address), talk)?,
        destination: machines::platform(&b, &own_b, there, &memtwin, at(&plan.b.address), talk)?,
        disk: (Arc::new(a), path("disk")),
        folder: folder.path().to_owned(),
        name: format!("plan:{}", plan.name),
        network: None,
        breakable: None,
        held: vec![held_b, held_a],
        _held: vec![Box::new(folder)],
    })
}
