//! An image that must not change its size while it is read: a file that grows meanwhile would be compared
//! up to where it ended before, and called identical.

use memtwin_pages::Image;
use std::io;

/// An image and the size that it had at first.
#[derive(Debug)]
pub struct Steady<I> {
    image: I,
    bytes: u64,
}

impl<I: Image> Steady<I> {
    /// Notes its size. Errors: as [`Image::len`].
    pub fn new(image: I) -> io::Result<Self> {
        let bytes = image.len()?;
        Ok(Self { image, bytes })
    }

    /// Asked after it was read: whether it is as long as it was. Says how long it is now if not.
    ///
    /// Errors: as [`Image::len`].
    pub fn changed(&self) -> io::Result<Option<(u64, u64)>> {
        let now = self.image.len()?;
        Ok((now != self.bytes).then_some((self.bytes, now)))
    }
}

impl<I: Image> Image for Steady<I> {
    /// What it was at first.
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.image.read_at(offset, into)
    }

    fn is_at(&self, offset: u64, bytes: &[u8], scratch: &mut Vec<u8>) -> io::Result<bool> {
        self.image.is_at(offset, bytes, scratch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify;
    use memtwin_pages::PageSize;
    use std::io::Write;

    #[test]
    fn a_file_that_grows_or_shrinks_is_told() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 8192]).unwrap();
        let image = Steady::new(file.try_clone().unwrap()).unwrap();
        assert_eq!(image.changed().unwrap(), None);
        file.write_all(&[8; 100]).unwrap();
        assert_eq!((image.len().unwrap(), image.changed().unwrap()), (8192, Some((8192, 8292))));
        // The control: without this, it is as the other.
        let found = verify(&image, &vec![7; 8192], PageSize::new(4096).unwrap()).unwrap();
        assert!(found.identical());
        file.set_len(10).unwrap();
        assert_eq!(image.changed().unwrap(), Some((8192, 10)));
        assert!(image.read_at(0, &mut [0; 4096]).is_err());
    }
}
