//! What a block device may hold that is somebody's: the marks by which file systems, partition tables,
//! volume managers, RAID, swap and encryption are known.
//!
//! The places are those of libblkid (util-linux, `libblkid/src/superblocks` and `partitions`). A mark of
//! two bytes alone is looked at together with what stands beside it. A false alarm costs an option; what
//! is not known here is written over, as any raw bytes are.

mod marks;

use super::{length, trailer};
use marks::{FROM_END, FROM_START, SignatureMark};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// From the first byte on: as far as the first label of ZFS goes.
const HEAD: usize = 264 << 10;
/// Before the end: as far as RAID with metadata 0.90 goes.
const TAIL: u64 = 132 << 10;

/// The name of what the device holds; `None` if nothing is known by its marks.
pub(crate) fn find(device: &File) -> io::Result<Option<&'static str>> {
    let bytes = length(device)?;
    let head = read(device, 0, HEAD, bytes)?;
    let there = |mark: &SignatureMark, at: u64| -> io::Result<bool> {
        Ok(read(device, at, mark.bytes.len(), bytes)? == mark.bytes)
    };
    for mark in FROM_START {
        for &at in mark.at {
            if there(mark, at)? {
                return Ok(Some(mark.what));
            }
        }
    }
    for mark in FROM_END {
        for &before in mark.at {
            if let Some(at) = bytes.checked_sub(before)
                && there(mark, at)?
            {
                return Ok(Some(mark.what));
            }
        }
    }
    // RAID with metadata at the end: 1.0, and 0.90.
    for at in
        [(bytes / 512).saturating_sub(16) / 8 * 8 * 512, (bytes >> 16 << 16).saturating_sub(65536)]
    {
        let magic = read(device, at, 4, bytes)?;
        if magic == marks::MD || magic == marks::MD_BIG_ENDIAN {
            return Ok(Some("a member of a RAID (md)"));
        }
    }
    Ok(marks::weak(&head))
}

/// A digest of where other formats have their marks: what is written there since changes it.
pub(crate) fn digest(device: &File) -> io::Result<u32> {
    let bytes = length(device)?;
    // The state itself is no part of it.
    let end = trailer::offset(bytes).unwrap_or(bytes);
    let head = read(device, 0, HEAD, end)?;
    let sum = crc32c::crc32c(&head);
    let from = end.saturating_sub(TAIL).max(head.len() as u64);
    let tail = read(device, from, (end - from) as usize, end)?;
    Ok(crc32c::crc32c_append(sum, &tail))
}

/// At most this many bytes, of what there is before `end`.
fn read(device: &File, at: u64, len: usize, end: u64) -> io::Result<Vec<u8>> {
    let there = end.saturating_sub(at).min(len as u64);
    let mut bytes = vec![0; there as usize];
    device.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const LEN: u64 = 4 << 20;

    fn blank() -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(LEN).unwrap();
        file
    }

    #[test]
    fn every_mark_is_found_at_each_of_its_places_and_nothing_in_zeros_or_noise() {
        assert_eq!(find(&blank()).unwrap(), None);
        let mut found = BTreeSet::new();
        let places = FROM_START.iter().flat_map(|mark| mark.at.iter().map(move |&at| (mark, at)));
        let ends = FROM_END.iter().flat_map(|mark| mark.at.iter().map(move |&at| (mark, LEN - at)));
        for (mark, at) in places.chain(ends) {
            let file = blank();
            file.write_all_at(mark.bytes, at).unwrap();
            let what = find(&file).unwrap();
            assert!(what.is_some(), "{} at {at}", mark.what);
            found.insert(what);
            // The control: with a bit of it gone it is nothing.
            file.write_all_at(&[mark.bytes[0] ^ 1], at).unwrap();
            assert_eq!(find(&file).unwrap(), None, "{} at {at}", mark.what);
        }
        assert!(found.len() > 30, "{found:?}");
        let mut rng = fastrand::Rng::with_seed(3);
        let file = blank();
        let noise: Vec<u8> = (0..LEN).map(|_| rng.u8(..)).collect();
        file.write_all_at(&noise, 0).unwrap();
        assert_eq!(find(&file).unwrap(), None);
    }

    #[test]
    fn raid_at_the_end_is_found() {
        for at in [LEN - 65536, LEN - 8192] {
            let file = blank();
            file.write_all_at(&marks::MD, at).unwrap();
            assert_eq!(find(&file).unwrap(), Some("a member of a RAID (md)"), "{at}");
        }
    }

    #[test]
    fn a_digest_sees_every_place_of_a_mark_and_not_the_state() {
        let file = blank();
        let before = digest(&file).unwrap();
        for at in [0, 510, 0x438, 65600, LEN - 65536, LEN - 8192] {
            file.write_all_at(b"x", at).unwrap();
            assert_ne!(digest(&file).unwrap(), before, "{at}");
            file.write_all_at(b"\0", at).unwrap();
        }
        file.write_all_at(b"x", LEN - 4096).unwrap();
        assert_eq!(digest(&file).unwrap(), before);
    }
}
