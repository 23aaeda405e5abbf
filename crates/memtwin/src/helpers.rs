//! This program, started again beside itself for a session: the guardian of a QEMU and the writer of the
//! process source, by commands that are not for people. And who goes first when there is no memory.

use memtwin_report::{ExitCode, Failure};
use memtwin_room::OomScore;
use memtwin_session::HelperCommand;
use std::sync::OnceLock;

/// Itself, also when the file at its path has been replaced meanwhile.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// The hidden commands' names.
const GUARDIAN: &str = "guardian";
const WRITER: &str = "process-writer";

/// What this process had before it offered itself.
static BEFORE: OnceLock<OomScore> = OnceLock::new();

/// Offers this process, and the guest in it, as the first that the OOM killer ends: a guest that is
/// somebody's must not be ended for its twin.
pub(crate) fn go_first() {
    match memtwin_room::go_first() {
        Ok(before) => _ = BEFORE.set(before),
        // It goes when its turn comes, as any other.
        Err(error) => tracing::debug!("{error}"),
    }
}

/// The process that leaves a QEMU as it was found if we are killed.
pub(crate) fn guardian_command() -> HelperCommand {
    // It is to live when we are ended for want of memory.
    let score = BEFORE.get().map(|score| format!("--oom-score-adj={score}"));
    HelperCommand::new(THIS_PROGRAM, [GUARDIAN.to_owned()].into_iter().chain(score))
}

/// A guardian's life.
pub(crate) fn guardian(score: Option<OomScore>) -> Result<ExitCode, Failure> {
    // If it may not, it is still a guardian.
    if let Some(Err(error)) = score.map(OomScore::set) {
        tracing::debug!("{error}");
    }
    memtwin_tap::guardian_main().map(|()| ExitCode::Verified).map_err(Failure::environment)
}

/// The process whose memory the process source follows.
pub(crate) fn writer_command() -> HelperCommand {
    HelperCommand::new(THIS_PROGRAM, [WRITER])
}

/// Its life, which ends with its parent's.
pub(crate) fn writer() -> Result<ExitCode, Failure> {
    memtwin_process::writer_main().map(|()| ExitCode::Verified).map_err(Failure::environment)
}
