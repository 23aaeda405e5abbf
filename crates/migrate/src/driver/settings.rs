//! How to migrate: what both QEMUs are told, and when it is given up.

use memtwin_qemu::{Capabilities, Parameters};
use std::time::Duration;

/// How long nothing may be sent. TCP tries again more and more rarely after a link was cut: it needs up to
/// as long again to notice that it is back.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// How to migrate.
#[derive(Clone, Debug)]
pub struct MigrationSettings {
    /// Where the destination listens, as QEMU's `-incoming` has it.
    pub listen: String,
    /// Where the source connects to.
    pub connect: String,
    /// Capabilities, set on both sides.
    pub capabilities: Capabilities,
    /// Parameters, set on both sides.
    pub parameters: Parameters,
    /// When to give up.
    pub timeout: Duration,
    /// When to give up if nothing is sent any more: [`STALL_TIMEOUT`].
    pub stall: Duration,
    /// Whether RAM is judged. The destination was then started with `-S`.
    pub verify_ram: bool,
    /// Whether a word is flipped at the destination after that, which must be found.
    pub control: bool,
    /// Go over to postcopy after the first round.
    pub postcopy: bool,
}
