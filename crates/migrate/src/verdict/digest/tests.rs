//! A stream of digests, whole and cut short.

use super::*;

fn list(name: &str, pages: u8) -> Vec<u8> {
    let head = format!(
        r#"{{"name":"{name}","bytes":{},"page_size":4096,"windows":[[1073741824,0,8192]]}}"#,
        u32::from(pages) * 4096
    );
    let mut bytes = format!("{FIRST}\n{head}\n").into_bytes();
    (0..pages).for_each(|page| bytes.extend([page; 16]));
    bytes.extend(b"end\n");
    bytes
}

#[test]
fn a_list_is_read_back_and_half_a_list_is_none() {
    let bytes = list("mach-virt.ram", 3);
    let read_back = read(&bytes[..]).unwrap();
    assert_eq!(read_back[0].pages, [[0; 16], [1; 16], [2; 16]]);
    let layout = layout(&read_back).unwrap();
    let region = layout.region(memtwin_pages::RegionId(0));
    assert_eq!((region.pages(), region.gpa_of(1).0), (3, 0x4000_1000));
    for cut in 0..bytes.len() {
        assert!(read(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    let huge = format!(
        "{FIRST}\n{{\"name\":\"a\",\"bytes\":{},\"page_size\":1,\"windows\":[]}}\n",
        u64::MAX
    );
    assert!(matches!(read(huge.as_bytes()), Err(DigestError::Format { .. })));
}

#[test]
fn a_page_of_zeros_is_a_page_like_any_other() {
    let zero = zero_page(4096);
    assert_eq!(digest_of(&[0; 4096], &zero), beginning(&[0; 4096]));
    let mut page = [0; 4096];
    page[4095] = 1;
    assert_ne!(digest_of(&page, &zero), zero.1);
}
