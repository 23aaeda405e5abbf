//! The file behind a flash, before and after its guest was moved: a QEMU that a guest comes to writes the
//! flash's memory, as it came, over the whole file (`postload_update_cb()`, hw/block/pflash_cfi01.c).

use memtwin_bare::BareImage;

/// What became of the file of a guest of [`memtwin_bare::GuestJob::Flash`], whose words only ever grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlashFile {
    /// How many pages had a word before.
    pub programmed: usize,
    /// The pages, as byte offsets, that hold an older word than before.
    pub went_back: Vec<u64>,
}

impl FlashFile {
    /// Compares the file's bytes. What the guest programs after its move is no older than what was there.
    pub fn compare(before: &[u8], after: &[u8]) -> Self {
        let page = BareImage::PAGE as usize;
        let word = |page: &[u8]| {
            let bytes = page.get(8..12).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u32::from_le_bytes)
        };
        let words = |bytes: &[u8]| bytes.chunks(page).map(word).collect::<Vec<u32>>();
        let (old, new) = (words(before), words(after));
        let pages = (0u64..).step_by(page).zip(old.iter().zip(&new));
        let went_back = pages.filter(|(_, (old, new))| new < old).map(|(offset, _)| offset);
        Self {
            programmed: old.iter().filter(|word| **word != 0).count(),
            went_back: went_back.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_older_word_went_back() {
        let file = |words: [u32; 3]| {
            let mut bytes = vec![0; 3 * BareImage::PAGE as usize];
            for (page, word) in words.into_iter().enumerate() {
                let at = page * BareImage::PAGE as usize + 8;
                bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
            }
            bytes
        };
        let compared = FlashFile::compare(&file([0, 0x1ff, 7]), &file([0, 0x100, 8]));
        assert_eq!(compared, FlashFile { programmed: 2, went_back: vec![4096] });
        let same = FlashFile::compare(&file([0, 5, 7]), &file([0, 5, 7]));
        assert!(same.went_back.is_empty());
    }
}
