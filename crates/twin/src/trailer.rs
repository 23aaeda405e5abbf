//! The trailer of an unfinished twin: the bytes after the image that say what the file is.
//!
//! Text, so that `tail -c 511 PATH` shows it; fields of fixed width, so that it is rewritten in place:
//!
//! ```text
//! MEMTWIN UNFINISHED TWIN 1
//! image 7d0c1b…                     32 hexadecimal digits, chosen at random for this file
//! bytes 00000000000001048576        the length of the image before the trailer
//! round 0000000012                  the last round that the file is known to hold, or ----------
//! pid 0000012345                    the process that began it
//! crc32c 9ae0daaf                   of the lines above
//! -----…                            up to the last line
//! MEMTWIN UNFINISHED TWIN
//! ```
//!
//! An image is a multiple of 512 bytes (another one is refused before it is begun: few page sizes are
//! smaller), so the trailer lies within one sector: a disk writes it as a whole or not at all. A file with
//! a trailer is 511 bytes longer than a multiple of 512, which no image of memory is.

/// The unit in which a disk writes, and of which every image is a multiple.
pub(crate) const SECTOR: u64 = 512;

/// The trailer's length in bytes.
pub(crate) const TRAILER: usize = 511;

const FIRST_LINE: &str = "MEMTWIN UNFINISHED TWIN 1\n";
const LAST_LINE: &str = "\nMEMTWIN UNFINISHED TWIN\n";
/// What both have, and what a later version will have.
const MAGIC: &[u8] = b"MEMTWIN UNFINISHED TWIN";
const NO_ROUND: &str = "----------";

/// What a trailer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TwinTrailer {
    /// The file's own number, chosen at random: a copy has the same, another twin another.
    pub image: [u8; 16],
    /// The image's length in bytes, without the trailer.
    pub bytes: u64,
    /// The last round of which every byte is known to be in the file, on the disk; `None` before
    /// one was.
    pub round: Option<u32>,
    /// The process that began the file.
    pub pid: u32,
}

impl TwinTrailer {
    /// The bytes that stand after the image.
    pub(crate) fn encoded(&self) -> [u8; TRAILER] {
        let (image, round) = (hex(&self.image), round_text(self.round));
        let (bytes, pid) = (self.bytes, self.pid);
        let mut text =
            format!("{FIRST_LINE}image {image}\nbytes {bytes:020}\nround {round}\npid {pid:010}\n");
        let sum = crc32c::crc32c(text.as_bytes());
        text.push_str(&format!("crc32c {sum:08x}\n"));
        let mut encoded = [b'-'; TRAILER];
        encoded[..text.len()].copy_from_slice(text.as_bytes());
        encoded[TRAILER - LAST_LINE.len()..].copy_from_slice(LAST_LINE.as_bytes());
        encoded
    }

    /// Reads a trailer. `None`: it is none, or a damaged one.
    pub(crate) fn decode(bytes: &[u8; TRAILER]) -> Option<Self> {
        let text = str::from_utf8(bytes).ok()?.strip_suffix(LAST_LINE)?;
        let (summed, _) = text.split_once("crc32c ")?;
        let mut lines = summed.strip_prefix(FIRST_LINE)?.lines();
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let this = Self::parse(&mut field)?;
        // Byte for byte: the sum, the padding, and no other way to write the same.
        (this.encoded() == *bytes).then_some(this)
    }

    /// Reads the fields in their order.
    pub(crate) fn parse<'t>(field: &mut impl FnMut(&str) -> Option<&'t str>) -> Option<Self> {
        Some(Self {
            image: u128::from_str_radix(field("image")?, 16).ok()?.to_be_bytes(),
            bytes: field("bytes")?.parse().ok()?,
            round: match field("round")? {
                NO_ROUND => None,
                round => Some(round.parse().ok()?),
            },
            pid: field("pid")?.parse().ok()?,
        })
    }

    /// Whether these bytes are a trailer, or what is left of one.
    pub(crate) fn is_like(bytes: &[u8; TRAILER]) -> bool {
        bytes.starts_with(MAGIC) || bytes[..TRAILER - 1].ends_with(MAGIC)
    }
}

/// An image's random number as text.
pub(crate) fn hex(image: &[u8; 16]) -> String {
    image.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A round as text, always of the same length.
pub(crate) fn round_text(round: Option<u32>) -> String {
    round.map_or(NO_ROUND.to_owned(), |round| format!("{round:010}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: TwinTrailer =
        TwinTrailer { image: [0xa7; 16], bytes: 1 << 20, round: Some(12), pid: 7 };

    #[test]
    fn a_trailer_reads_back() {
        for round in [None, Some(0), Some(u32::MAX)] {
            for bytes in [0, SECTOR, u64::MAX] {
                let trailer = TwinTrailer { round, bytes, ..SAMPLE };
                let encoded = trailer.encoded();
                assert!(TwinTrailer::is_like(&encoded));
                assert_eq!(TwinTrailer::decode(&encoded), Some(trailer));
            }
        }
    }

    #[test]
    fn the_bytes_on_the_disk_are_these() {
        let golden = include_bytes!("golden/trailer-1.bin");
        assert_eq!(&SAMPLE.encoded(), golden);
        assert_eq!(TwinTrailer::decode(golden), Some(SAMPLE));
    }

    #[test]
    fn every_flipped_bit_is_damage_and_yet_like_a_trailer() {
        let encoded = SAMPLE.encoded();
        for bit in 0..TRAILER * 8 {
            let mut flipped = encoded;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(TwinTrailer::decode(&flipped), None, "bit {bit}");
            assert!(TwinTrailer::is_like(&flipped), "bit {bit}");
        }
        assert!(!TwinTrailer::is_like(&[0; TRAILER]));
    }
}
