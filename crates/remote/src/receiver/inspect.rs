//! Looking at what is there: what a killed receiver has left, and whether a file is what the judge
//! saw.

use super::first::{FIRST, PARTIAL};
use super::image::Image;
use super::journal::{Found, Header, JOURNAL, Journal};
use super::place::Place;
use super::whole::Whole;
use super::{Config, Outlet};
use crate::RemoteError;
use memtwin_replicate::Stop;
use memtwin_twin::{Trailer, Unfinished};

/// Whether the file has the digests of the memory.
pub(super) fn check(
    whole: &Whole,
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
    place: &Place,
    config: &Config,
    outlet: &Outlet,
) -> Result<Option<Whole>, RemoteError> {
    let Some(found) = Journal::find(place)? else { return Ok(None) };
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
    let Some(unfinished) = Unfinished::find(&file).map_err(failed)? else { return Ok(None) };
    let image = Image::new(file, path.clone(), unfinished.trailer().bytes);
    Whole::recover(found.open()?, (image, unfinished), config, outlet).map(Some)
}

/// Whether the file of this name is the image to which the journal's rounds belong: it says so
/// itself, and it holds the round that the journal begins with, or one that the journal has as well.
fn is_image(place: &Place, suffix: &str, found: &Found) -> Result<bool, RemoteError> {
    let Header { base, layout, .. } = &found.header;
    Ok(unfinished(place, suffix)?.is_some_and(|state| {
        let Trailer { image, bytes, round, .. } = *state.trailer();
        image == base.image
            && bytes == layout.bytes()
            && round.is_some_and(|round| (base.round..=found.round).contains(&round))
    }))
}

/// The state of an unfinished twin of this name, if there is one.
pub(super) fn unfinished(place: &Place, suffix: &str) -> Result<Option<Unfinished>, RemoteError> {
    let Some(file) = place.open(suffix)? else { return Ok(None) };
    let path = place.path(suffix);
    Unfinished::find(&file).map_err(|errno| RemoteError::Disk { doing: "look at", path, errno })
}
