//! Why the blocks of a guest are not known.

use memtwin_qmp::QmpError;

/// Why the blocks of a guest are not known.
#[derive(Debug, thiserror::Error)]
pub enum BlocksError {
    /// The human monitor prints something else than the versions that we know.
    #[error(
        "QEMU's answer to {command} is not understood: {problem}: \"{line}\"; report it with QEMU's version"
    )]
    NotUnderstood {
        /// The monitor's command.
        command: &'static str,
        /// The line that is not understood.
        line: String,
        /// What is missing in it.
        problem: String,
    },
    /// Each time, the guest had moved its memory before QEMU could be asked where it is.
    #[error("the guest moves its memory about while QEMU is asked where it lies; try again later")]
    Unsteady,
    /// QEMU can't be asked.
    #[error(transparent)]
    Qmp(#[from] QmpError),
}
