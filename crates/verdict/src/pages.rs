//! A comparison of a few pages, where the rest is known to be equal or was compared before.

use crate::compare::MOST_PAGE_BYTES;
use crate::{CompareError, Difference, Side};
use memtwin_pages::{Image, PageSize};

/// How these pages differ, of those that do. The pages are in order, and both images have them.
///
/// Errors: one of the images can't be read there, or a page is over 2 GiB.
pub fn differences(
    memory: &dyn Image,
    twin: &dyn Image,
    page_size: PageSize,
    pages: impl IntoIterator<Item = u64>,
) -> Result<Vec<Difference>, CompareError> {
    if page_size.bytes() > MOST_PAGE_BYTES {
        return Err(CompareError::PageSize { page_size });
    }
    let size =
        |side, image: &dyn Image| image.len().map_err(|cause| CompareError::Size { side, cause });
    let bytes = size(Side::Memory, memory)?.min(size(Side::Twin, twin)?);
    let mut both = [Vec::new(), Vec::new()];
    let mut found = Vec::new();
    for page in pages {
        let offset = page_size.offset_of(page);
        let len = page_size.bytes().min(bytes.saturating_sub(offset)) as usize;
        for ((side, image), into) in
            [(Side::Memory, memory), (Side::Twin, twin)].into_iter().zip(&mut both)
        {
            into.resize(len, 0);
            let failed = |cause| CompareError::Read { side, offset, len, cause };
            image.read_at(offset, into).map_err(failed)?;
        }
        found.extend(Difference::between(page, 0, &both[0], &both[1]));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_these_pages_are_compared() {
        let size = PageSize::new(512).unwrap();
        let (mut memory, twin) = (vec![1; 512 * 4 - 8], vec![1; 512 * 4 - 8]);
        for at in [512, 1024 + 5, 512 * 3 + 500] {
            memory[at] = 9;
        }
        let found = differences(&memory, &twin, size, [0, 2, 3]).unwrap();
        let seen: Vec<_> =
            found.iter().map(|found| (found.page, found.first_byte, found.bytes)).collect();
        assert_eq!(seen, [(2, 5, 1), (3, 500, 1)]);
        let error = differences(&memory, &twin, size, [4]).unwrap();
        assert_eq!(error, [], "there is nothing of it");
    }
}
