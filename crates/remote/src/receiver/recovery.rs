//! Looking at what is there: what a killed receiver has left, and whether a file is what the judge
//! saw.

use super::committed_twin::CommittedTwin;
use super::config::ReceiverConfig;
use super::journal::{FoundJournal, JOURNAL, JournalHeader, RoundJournal};
use super::shared_writer::SharedWriter;
use crate::RemoteError;
use memtwin_replicate::CancelToken;
use memtwin_twin::{TwinStore, TwinTrailer};

/// Whether the file has the digests of the memory.
pub(super) fn check(
    whole: &CommittedTwin,
    digests: &[[u8; 32]],
    stop: &CancelToken,
) -> Result<Result<(), String>, RemoteError> {
    if digests.len() != whole.layout.len() {
        return Err(RemoteError::order(format!(
            "{} digests for {} regions",
            digests.len(),
            whole.layout.len()
        )));
    }
    for ((id, region), expected) in whole.layout.iter().zip(digests) {
        if whole.digest(id, stop)? != *expected {
            return Ok(Err(format!(
                "region {}: the file's digest is not that of the memory",
                region.name()
            )));
        }
    }
    Ok(Ok(()))
}

/// What a killed receiver has left, if it is a twin.
///
/// Errors: there are rounds that it had promised to keep, and not the image that they belong to.
/// Nothing is changed then.
pub(super) fn recover(
    store: &TwinStore,
    config: &ReceiverConfig,
    shared_writer: &SharedWriter,
) -> Result<Option<CommittedTwin>, RemoteError> {
    let Some(journals) = store.left_journal()? else { return Ok(None) };
    let Some(found) = RoundJournal::find(&journals)? else { return Ok(None) };
    let Some(kept) = store.reopen(|state| is_image(state, &found))? else {
        if found.has_rounds() {
            let (journal, round) = (journals.path(JOURNAL), found.round);
            return Err(RemoteError::Orphan { path: store.path(), journal, round });
        }
        // Of an image that is gone, and nothing else is lost.
        journals.remove(JOURNAL)?;
        return Ok(None);
    };
    CommittedTwin::recover(found.open()?, journals, kept, config, shared_writer).map(Some)
}

/// Whether an image of this state is the one to which the journal's rounds belong: it says so itself,
/// and it holds the round that the journal begins with, or one that the journal has as well.
fn is_image(state: &TwinTrailer, found: &FoundJournal) -> bool {
    let JournalHeader { base, layout, .. } = &found.header;
    let TwinTrailer { image, bytes, round, .. } = *state;
    image == base.image
        && bytes == layout.bytes()
        && round.is_some_and(|round| (base.round..=found.round).contains(&round))
}
