//! Looking at what is there: what a killed receiver has left, and whether a file is what the judge
//! saw.

use super::committed_twin::CommittedTwin;
use super::initial_copy::{FIRST, PARTIAL};
use super::journal::{FoundJournal, JOURNAL, JournalHeader, RoundJournal};
use super::received_image::ReceivedImage;
use super::twin_path::TwinPath;
use super::{ReceiverConfig, SharedWriter};
use crate::RemoteError;
use memtwin_replicate::Stop;
use memtwin_twin::{TwinTrailer, UnfinishedTwin};

/// Whether the file has the digests of the memory.
pub(super) fn check(
    whole: &CommittedTwin,
    digests: &[[u8; 32]],
    stop: &Stop,
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
    place: &TwinPath,
    config: &ReceiverConfig,
    shared_writer: &SharedWriter,
) -> Result<Option<CommittedTwin>, RemoteError> {
    let Some(found) = RoundJournal::find(place)? else { return Ok(None) };
    // It died between two names: of a first round that was whole, or of a twin that was judged.
    let mut name = None;
    for at in ["", FIRST, PARTIAL] {
        if name.is_none() && is_image(place, at, &found)? {
            name = Some(at);
        }
    }
    let name = match name {
        Some(name) => name,
        None if found.has_rounds() => {
            let (journal, round) = (place.path(JOURNAL), found.round);
            return Err(RemoteError::Orphan { path: place.path(""), journal, round });
        }
        None => {
            // Of an image that is gone, and nothing else is lost.
            place.remove(JOURNAL)?;
            return Ok(None);
        }
    };
    if !name.is_empty() {
        place.rename(name, "")?;
        place.sync()?;
    }
    let Some(file) = place.open("")? else { return Ok(None) };
    let path = place.path("");
    let failed = |errno| RemoteError::Disk { doing: "look at", path: path.clone(), errno };
    let Some(unfinished) = UnfinishedTwin::find(&file).map_err(failed)? else { return Ok(None) };
    let image = ReceivedImage::new(file, path.clone(), unfinished.trailer().bytes);
    CommittedTwin::recover(found.open()?, (image, unfinished), config, shared_writer).map(Some)
}

/// Whether the file of this name is the image to which the journal's rounds belong: it says so
/// itself, and it holds the round that the journal begins with, or one that the journal has as well.
fn is_image(place: &TwinPath, suffix: &str, found: &FoundJournal) -> Result<bool, RemoteError> {
    let JournalHeader { base, layout, .. } = &found.header;
    Ok(unfinished(place, suffix)?.is_some_and(|state| {
        let TwinTrailer { image, bytes, round, .. } = *state.trailer();
        image == base.image
            && bytes == layout.bytes()
            && round.is_some_and(|round| (base.round..=found.round).contains(&round))
    }))
}

/// The state of an unfinished twin of this name, if there is one.
pub(super) fn unfinished(
    place: &TwinPath,
    suffix: &str,
) -> Result<Option<UnfinishedTwin>, RemoteError> {
    let Some(file) = place.open(suffix)? else { return Ok(None) };
    let path = place.path(suffix);
    UnfinishedTwin::find(&file).map_err(|errno| RemoteError::Disk { doing: "look at", path, errno })
}
