//! What a receiver holds: nothing, a session's rounds, or what a session has come to.

use super::committed_twin::CommittedTwin;
use memtwin_pages::Layout;
use memtwin_wire::TwinVerdict;

/// What there is at PATH.
#[derive(Debug)]
pub(super) enum ReceivedState {
    Empty,
    Committed(Box<CommittedTwin>),
    Finished(FinishedSession),
}

/// A session that was judged.
#[derive(Debug)]
pub(super) struct FinishedSession {
    pub(super) session: [u8; 16],
    pub(super) layout: Layout,
    pub(super) held: u32,
    pub(super) outcome: TwinVerdict,
    pub(super) reason: String,
    pub(super) kept: Result<(), String>,
}
