//! Two machines that ssh reaches, real boards among them, with a folder that both have mounted. What is
//! needed is put there, and removed on every way out. The guest has no network: for that there is `site`.

use super::environment::Environment;
use super::local::files;
use super::machines::{self, LINE, SshMachine};
use super::setup::{HostSetup, Leftovers, folder_step};
use super::spec::{self, GuestFiles};
use crate::config::MigrationConfig;
use crate::plan::MigrationPlan;
use memtwin_lab::Progress;
use memtwin_lab::host::{self, Host, quoted};
use memtwin_report::Failure;
use std::sync::Arc;

/// Puts everything in its place.
pub(super) fn set_up(
    config: &MigrationConfig,
    plan: &MigrationPlan,
    names: &[String; 2],
    leftovers: &Leftovers,
    progress: &mut dyn Progress,
) -> Result<Environment, Failure> {
    let ([SshMachine { host: a, arch, .. }, SshMachine { host: b, .. }], kvm) =
        machines::both(config, [&names[0], &names[1]], progress)?;
    let (folder, name) = machines::folders(config)?;
    let (own_a, own_b) = (machines::own(&name, "a"), machines::own(&name, "b"));
    let shared = format!("{}/{name}", plan.boards.mount.trim_end_matches('/'));
    let held_a =
        HostSetup::start(&a, vec![folder_step(&own_a), folder_step(&shared)], leftovers, progress)?;
    let held_b = HostSetup::start(&b, vec![folder_step(&own_b)], leftovers, progress)?;
    if host::run(&b, &format!("test -d {}", quoted(&shared)), LINE, progress).is_err() {
        return Err(Failure::environment(format!(
            "{}: no {shared} there, which {} has just made: mount the same export at {} on both, or name another \
             folder in the plan (boards.mount)",
            b.name(),
            a.name(),
            plan.boards.mount
        )));
    }
    let disk = folder.path().join("disk");
    let image = files(config, &plan.guest.fstype, plan.guest.disk << 20, &disk, &[], progress)?;
    machines::put_guest(&a, &shared, &image, (&disk, "disk"), progress)?;
    let path = |name: &str| format!("{shared}/{name}");
    let files = GuestFiles { kernel: path("kernel"), initrd: path("initrd"), disk: path("disk") };
    let guest = spec::guest(plan, files, kvm, false);
    let memtwin = machines::memtwin(config, arch, progress)?;
    let sides = [(&a, &*own_a), (&b, &*own_b)];
    let [source, destination] =
        machines::both_hosts(config, plan, sides, guest, &memtwin, progress)?;
    Ok(Environment {
        source,
        destination,
        disk: (Arc::new(a), path("disk")),
        folder: folder.path().to_owned(),
        name: format!("plan:{}", plan.name),
        network: None,
        breakable: None,
        held: vec![held_b, held_a],
        _held: vec![Box::new(folder)],
    })
}
