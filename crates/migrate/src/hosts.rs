//! The hosts of a migration: what is set up on them before a guest boots, and undone on every way out.

mod choice;
mod emulated;
pub(crate) mod environment;
mod local;
mod machines;
mod network;
pub(crate) mod nfs;
pub(crate) mod setup;
mod site;
mod spec;
mod ssh;

pub use choice::HostChoice;

use crate::config::MigrationConfig;
use environment::Environment;
use memtwin_lab::Progress;
use memtwin_report::Failure;
use setup::Leftovers;

/// Puts everything in its place.
///
/// Errors: a host is not fit, or is not reached.
pub(crate) fn set_up(
    config: &MigrationConfig,
    leftovers: &Leftovers,
    progress: &mut (dyn Progress + Send),
) -> Result<Environment, Failure> {
    match &config.hosts {
        HostChoice::Local => local::set_up(config, progress),
        HostChoice::Emulated => emulated::set_up(config, &config.plan()?, progress),
        HostChoice::Two(both) => ssh::set_up(config, &config.plan()?, both, leftovers, progress),
        HostChoice::Three(three) => {
            site::set_up(config, &config.plan()?, three, leftovers, progress)
        }
    }
}
