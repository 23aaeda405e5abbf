//! A mapping as an image: memory that others write, read by copying.

use crate::Mapping;
use memtwin_pages::Image;
use std::io;

impl Image for Mapping {
    fn len(&self) -> io::Result<u64> {
        Ok(Mapping::len(self) as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(into.len() as u64);
        let from = usize::try_from(offset).ok();
        match (from, end) {
            (Some(from), Some(end)) if end <= Mapping::len(self) as u64 => {
                self.read(from, into);
                Ok(())
            }
            _ => {
                let (bytes, whole) = (into.len(), Mapping::len(self));
                let message =
                    format!("{bytes} bytes at offset {offset} are past its end, it has {whole}");
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host_page_size;

    #[test]
    fn it_is_read_to_its_end_and_not_past_it() {
        let len = host_page_size();
        let mapping = Mapping::anonymous(len, len).unwrap();
        mapping.write(len - 2, b"ab");
        let image: &dyn Image = &mapping;
        assert_eq!(image.len().unwrap(), len as u64);
        let mut two = [0; 2];
        image.read_at(len as u64 - 2, &mut two).unwrap();
        assert_eq!(&two, b"ab");
        for offset in [len as u64 - 1, len as u64, u64::MAX] {
            let error = image.read_at(offset, &mut two).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{error}");
        }
    }
}
