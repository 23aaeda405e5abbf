//! Looking at what is there: what a killed receiver has left, and whether a file is what the judge
//! saw.

use super::first::{FIRST, PARTIAL};
use super::image::Image;
use super::journal::Journal;
use super::place::Place;
use super::whole::Whole;
use super::{Config, Outlet};
use crate::RemoteError;
use memtwin_replicate::Stop;
use memtwin_twin::Inode;

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
pub(super) fn recover(
    place: &Place,
    config: &Config,
    outlet: &Outlet,
) -> Result<Option<Whole>, RemoteError> {
    let Some(left) = Journal::find(place)? else { return Ok(None) };
    let base = left.header.base;
    let image = Some(Inode::new(base.device, base.inode));
    // It died between the two names; the second is that of earlier versions.
    if let Some(name) = [FIRST, PARTIAL].into_iter().find(|name| place.inode(name) == image) {
        place.rename(name, "")?;
        place.sync()?;
    } else if place.inode("") != image {
        return Ok(None);
    }
    let Some(file) = place.open("")? else { return Ok(None) };
    let bytes = left.header.layout.bytes();
    if file.metadata().map_or(0, |about| about.len()) != bytes {
        return Ok(None);
    }
    let image = Image::new(file, place.path(""), bytes);
    Whole::recover(left, image, config, outlet).map(Some)
}
