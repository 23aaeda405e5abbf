//! The digests of an image: BLAKE3, which settles whether two images are equal, and the BSD
//! checksum, which anyone can take with `sum -r` on a board that has nothing else.

use crate::bsd::BsdSum;
use std::fmt;

/// The digests of a whole image, its bytes in order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ImageDigests {
    /// BLAKE3, 256 bits. Displays as hex, as b3sum prints it.
    pub blake3: blake3::Hash,
    /// The first number that `sum -r` prints.
    pub bsd_sum: u16,
}

impl fmt::Debug for ImageDigests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digests {{ blake3: {}, bsd_sum: {} }}", self.blake3, self.bsd_sum)
    }
}

/// Takes both digests of bytes as they come by.
#[derive(Clone, Debug, Default)]
pub struct Digester {
    blake3: blake3::Hasher,
    bsd_sum: BsdSum,
}

impl Digester {
    /// The digests of no bytes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on over these bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.blake3.update(bytes);
        self.bsd_sum.update(bytes);
    }

    /// The digests of the bytes so far.
    pub fn finish(&self) -> ImageDigests {
        ImageDigests { blake3: self.blake3.finalize(), bsd_sum: self.bsd_sum.value() }
    }
}

/// One kind of digest, running.
pub(crate) trait RunningDigest: Clone + Default {
    fn take_in(&mut self, bytes: &[u8]);
}

impl RunningDigest for blake3::Hasher {
    fn take_in(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
}

impl RunningDigest for BsdSum {
    fn take_in(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
}

/// The running digests of both images, which are one for as long as the images are equal: equal
/// bytes have equal digests, so they are digested once.
#[derive(Clone, Debug, Default)]
pub(crate) struct DigestPair<D> {
    memory: D,
    twin: Option<D>,
}

impl<D: RunningDigest> DigestPair<D> {
    /// Goes on over the next bytes of both, `equal` if they are.
    pub(crate) fn take_in(&mut self, memory: &[u8], twin: &[u8], equal: bool) {
        if !equal && self.twin.is_none() {
            self.twin = Some(self.memory.clone());
        }
        self.memory.take_in(memory);
        if let Some(digest) = &mut self.twin {
            digest.take_in(twin);
        }
    }

    /// The memory's and the twin's.
    pub(crate) fn both(&self) -> (&D, &D) {
        (&self.memory, self.twin.as_ref().unwrap_or(&self.memory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_tools() {
        let mut digester = Digester::new();
        digester.update(b"a");
        digester.update(b"bc");
        let digests = digester.finish();
        assert_eq!(digests.blake3, blake3::hash(b"abc"));
        // printf abc | sum -r; printf abc | b3sum
        assert_eq!(digests.bsd_sum, 16556);
        assert_eq!(
            digests.blake3.to_string(),
            "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"
        );
    }

    #[test]
    fn a_pair_parts_where_the_images_do_and_not_before() {
        let mut pair = DigestPair::<BsdSum>::default();
        pair.take_in(b"one", b"one", true);
        assert!(pair.twin.is_none());
        pair.take_in(b"two", b"too", false);
        pair.take_in(b"six", b"six", true);
        let (memory, twin) = pair.both();
        let sum = |bytes| {
            let mut sum = BsdSum::default();
            sum.update(bytes);
            sum
        };
        assert_eq!((*memory, *twin), (sum(b"onetwosix"), sum(b"onetoosix")));
        assert_ne!(memory, twin);
    }
}
