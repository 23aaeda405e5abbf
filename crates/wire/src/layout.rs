//! The regions of a session, as bytes.

use crate::WireError;
use crate::bytes::{BodyCursor, put_text, put_varint};
use crate::text::is_shown;
use memtwin_pages::{Gpa, Layout, PageSize, Region};
use std::collections::BTreeSet;

/// The most regions of one session.
const MOST_REGIONS: u64 = 4096;
/// The longest name.
const MOST_NAME: u64 = 255;
/// The largest page is 1 GiB, as the largest of any hypervisor.
const MOST_SHIFT: u8 = 30;

/// Writes a layout. Errors: it has no region, too many, or a name that is too long.
pub fn encode_layout(layout: &Layout, into: &mut Vec<u8>) -> Result<(), WireError> {
    put_varint(into, layout.len() as u64);
    for (_, region) in layout.iter() {
        put_text(into, region.name());
        into.extend_from_slice(&region.gpa().0.to_le_bytes());
        into.push(region.page_size().shift() as u8);
        into.extend_from_slice(&region.pages().to_le_bytes());
    }
    // One definition of what is allowed.
    decode_layout(into).map(|_| ())
}

/// Reads a layout.
pub fn decode_layout(body: &[u8]) -> Result<Layout, WireError> {
    let mut cursor = BodyCursor::new("a layout", body);
    let count = cursor.varint()?;
    if !(1..=MOST_REGIONS).contains(&count) {
        let expected = "1 to 4096";
        return Err(WireError::Range { what: "the number of regions", got: count, expected });
    }
    let mut regions = Vec::new();
    let mut names = BTreeSet::new();
    let mut bytes = 0u64;
    for _ in 0..count {
        let name = cursor.text("a region's name", MOST_NAME)?;
        let (gpa, shift, pages) = (cursor.u64()?, cursor.u8()?, cursor.u64()?);
        if !name.chars().all(is_shown) {
            return Err(WireError::Control { what: "a region's name" });
        }
        if shift > MOST_SHIFT {
            let expected = "at most 30";
            return Err(WireError::Range { what: "a page shift", got: shift.into(), expected });
        }
        let page_size = PageSize::new(1 << shift)?;
        let range = WireError::Range {
            what: "a region's pages",
            got: pages,
            expected: "a layout that ends below 2^63",
        };
        let len = pages.checked_mul(page_size.bytes()).ok_or(range.clone())?;
        let ends = gpa.checked_add(len).is_some();
        bytes = bytes.checked_add(len).filter(|&all| ends && all < 1 << 63).ok_or(range)?;
        if !names.insert(name) {
            return Err(WireError::SameName(name.to_owned()));
        }
        regions.push(Region::new(name, Gpa(gpa), len, page_size)?);
    }
    cursor.end()?;
    Ok(Layout::new(regions))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        let region = |name, gpa, bytes, page| {
            Region::new(name, Gpa(gpa), bytes, PageSize::new(page).unwrap()).unwrap()
        };
        Layout::new(vec![
            region("aeshmem", 0x2000_0000, 1 << 20, 4096),
            region("pc.ram", 0, 1 << 30, 1 << 21),
        ])
    }

    #[test]
    fn a_layout_reads_back() {
        let mut body = Vec::new();
        encode_layout(&layout(), &mut body).unwrap();
        assert_eq!(decode_layout(&body), Ok(layout()));
        for cut in 0..body.len() {
            assert!(decode_layout(&body[..cut]).is_err());
        }
        body.push(0);
        assert!(matches!(decode_layout(&body), Err(WireError::Long { extra: 1, .. })));
    }

    #[test]
    fn what_is_no_layout_is_refused() {
        let (_, window) = layout().iter().next().map(|(id, r)| (id, r.clone())).unwrap();
        let twice = Layout::new(vec![window.clone(), window]);
        let mut body = Vec::new();
        let refused = encode_layout(&twice, &mut body).unwrap_err();
        assert_eq!(refused, WireError::SameName("aeshmem".to_owned()));
        assert!(encode_layout(&Layout::default(), &mut Vec::new()).is_err());
        let page = PageSize::new(4096).unwrap();
        let evil = Region::new("ram\x1b[2J", Gpa(0), 4096, page).unwrap();
        let refused = encode_layout(&Layout::new(vec![evil]), &mut Vec::new()).unwrap_err();
        assert!(matches!(refused, WireError::Control { .. }));
        // 2^62 pages of 2^12 bytes.
        let mut huge = vec![1, 1, b'x'];
        huge.extend_from_slice(&[0; 8]);
        huge.push(12);
        huge.extend_from_slice(&(1u64 << 62).to_le_bytes());
        assert!(matches!(decode_layout(&huge), Err(WireError::Range { .. })));
    }
}
