//! The state of a twin on a block device: 512 bytes of text in the device's last 4096.
//!
//! ```text
//! MEMTWIN DEVICE TWIN 1
//! state unfinished                  or finished
//! image 7d0c1b…                     32 hexadecimal digits, chosen at random for this twin
//! bytes 00000000000001048576        the length of the image, which begins at the device's first byte
//! round 0000000012                  the last round that is known to be on the device, or ----------
//! pid 0000012345                    the process that began it
//! probed 1f0e88c2                   of a finished one: CRC-32C of where other formats have their marks
//! crc32c 9ae0daaf                   of the lines above
//! -----…                            up to the last line
//! MEMTWIN DEVICE TWIN
//! ```
//!
//! It begins at the device's length, rounded down to a multiple of 4096, less 4096. It lies within one
//! sector, so a disk writes it as a whole or not at all; the rest of the 4096 bytes is zero.

use super::{STATE_AREA, length, signature};
use crate::trailer::{TwinTrailer, hex, round_text};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const LEN: usize = 512;
const FIRST_LINE: &str = "MEMTWIN DEVICE TWIN 1\n";
const LAST_LINE: &str = "\nMEMTWIN DEVICE TWIN\n";
/// What both have, and what a later version will have.
const MAGIC: &[u8] = b"MEMTWIN DEVICE TWIN";
const UNFINISHED: &str = "unfinished";
const FINISHED: &str = "finished  ";
const NOT_PROBED: &str = "--------";

/// Where the state of a device of this many bytes stands. `None`: there is no room for one.
pub(crate) fn offset(bytes: u64) -> Option<u64> {
    (bytes / STATE_AREA).checked_sub(2).map(|before| (before + 1) * STATE_AREA)
}

/// What the state of a device says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceTrailer {
    pub(crate) trailer: TwinTrailer,
    /// Of a finished twin: the digest of where other formats have their marks.
    pub(crate) probed: Option<u32>,
}

/// What the end of a device says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeviceState {
    /// Nothing.
    None,
    /// A twin, finished or not.
    Known(DeviceTrailer),
    /// What is left of our state.
    Damaged,
}

impl DeviceState {
    pub(crate) fn of(device: &File) -> io::Result<Self> {
        let Some(at) = offset(length(device)?) else { return Ok(Self::None) };
        let mut bytes = [0; LEN];
        device.read_exact_at(&mut bytes, at)?;
        Ok(match DeviceTrailer::decode(&bytes) {
            Some(state) if state.trailer.bytes <= at => Self::Known(state),
            _ if DeviceTrailer::is_like(&bytes) => Self::Damaged,
            _ => Self::None,
        })
    }
}

impl DeviceTrailer {
    pub(crate) fn unfinished(trailer: TwinTrailer) -> Self {
        Self { trailer, probed: None }
    }

    /// The state of a twin all of which is on the device.
    pub(crate) fn finished(trailer: TwinTrailer, device: &File) -> io::Result<Self> {
        Ok(Self { trailer, probed: Some(signature::digest(device)?) })
    }

    /// Puts it onto the device, durably.
    pub(crate) fn write(&self, device: &File) -> io::Result<()> {
        let Some(at) = offset(length(device)?) else {
            return Err(io::ErrorKind::StorageFull.into());
        };
        // All of the area: the copy of a partition table that was there is not to be found again.
        let mut area = [0; STATE_AREA as usize];
        area[..LEN].copy_from_slice(&self.encoded());
        device.write_all_at(&area, at)?;
        device.sync_all()
    }

    fn encoded(&self) -> [u8; LEN] {
        let TwinTrailer { image, bytes, round, pid } = self.trailer;
        let state = if self.probed.is_some() { FINISHED } else { UNFINISHED };
        let probed = self.probed.map_or(NOT_PROBED.to_owned(), |sum| format!("{sum:08x}"));
        let (image, round) = (hex(&image), round_text(round));
        let mut text = format!(
            "{FIRST_LINE}state {state}\nimage {image}\nbytes {bytes:020}\nround {round}\n\
             pid {pid:010}\nprobed {probed}\n"
        );
        let sum = crc32c::crc32c(text.as_bytes());
        text.push_str(&format!("crc32c {sum:08x}\n"));
        let mut encoded = [b'-'; LEN];
        encoded[..text.len()].copy_from_slice(text.as_bytes());
        encoded[LEN - LAST_LINE.len()..].copy_from_slice(LAST_LINE.as_bytes());
        encoded
    }

    fn decode(bytes: &[u8; LEN]) -> Option<Self> {
        let text = str::from_utf8(bytes).ok()?.strip_suffix(LAST_LINE)?;
        let (summed, _) = text.split_once("crc32c ")?;
        let mut lines = summed.strip_prefix(FIRST_LINE)?.lines();
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let _state = field("state")?;
        let trailer = TwinTrailer::parse(&mut field)?;
        let probed = match field("probed")? {
            NOT_PROBED => None,
            sum => Some(u32::from_str_radix(sum, 16).ok()?),
        };
        let this = Self { trailer, probed };
        // Byte for byte: the state, the sum, the padding, and no other way to write the same.
        (this.encoded() == *bytes).then_some(this)
    }

    fn is_like(bytes: &[u8; LEN]) -> bool {
        bytes.starts_with(MAGIC) || bytes[..LEN - 1].ends_with(MAGIC)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: TwinTrailer =
        TwinTrailer { image: [0xa7; 16], bytes: 1 << 20, round: Some(12), pid: 7 };

    #[test]
    fn a_state_reads_back_and_every_flipped_bit_is_damage() {
        for probed in [None, Some(0), Some(u32::MAX)] {
            for round in [None, Some(7)] {
                let state = DeviceTrailer { trailer: TwinTrailer { round, ..SAMPLE }, probed };
                let encoded = state.encoded();
                assert_eq!(DeviceTrailer::decode(&encoded), Some(state));
                for bit in 0..LEN * 8 {
                    let mut flipped = encoded;
                    flipped[bit / 8] ^= 1 << (bit % 8);
                    assert_eq!(DeviceTrailer::decode(&flipped), None, "bit {bit}");
                    assert!(DeviceTrailer::is_like(&flipped), "bit {bit}");
                }
            }
        }
        assert!(!DeviceTrailer::is_like(&[0; LEN]));
    }

    #[test]
    fn the_bytes_on_the_device_are_these() {
        let golden = include_bytes!("golden/device-trailer-1.bin");
        let state = DeviceTrailer { trailer: SAMPLE, probed: Some(0x1f0e_88c2) };
        assert_eq!(&state.encoded(), golden);
    }

    #[test]
    fn it_stands_in_the_last_whole_4096_bytes() {
        assert_eq!([0, 4096, 8191].map(offset), [None; 3]);
        assert_eq!(
            [8192, 12287, 12288, 1 << 20].map(offset),
            [4096, 4096, 8192, (1 << 20) - 4096].map(Some)
        );
    }
}
