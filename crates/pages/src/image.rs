//! A memory that can be read: a guest's, a twin's, a file's. A judge asks for its length, and for a copy of any
//! part of it.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// A run of bytes that can be copied piece by piece, from several threads at once.
pub trait Image: Sync {
    /// How many bytes the image has. Errors: the system does not say.
    fn len(&self) -> io::Result<u64>;

    /// Whether the image has no bytes. Errors: as [`Image::len`].
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Copies the bytes from `offset` on, as many as `into` holds.
    ///
    /// Errors: any of them can't be obtained. What `into` then holds means nothing.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// Whether these are the bytes from `offset` on. An image that can be compared where it lies
    /// does so; any other is copied to `scratch` first. Errors: as [`Image::read_at`].
    fn is_at(&self, offset: u64, bytes: &[u8], scratch: &mut Vec<u8>) -> io::Result<bool> {
        scratch.resize(bytes.len().max(scratch.len()), 0);
        let scratch = &mut scratch[..bytes.len()];
        self.read_at(offset, scratch)?;
        Ok(scratch == bytes)
    }
}

impl<T: Image + ?Sized> Image for &T {
    fn len(&self) -> io::Result<u64> {
        (**self).len()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, into)
    }

    fn is_at(&self, offset: u64, bytes: &[u8], scratch: &mut Vec<u8>) -> io::Result<bool> {
        (**self).is_at(offset, bytes, scratch)
    }
}

/// Memory that several share: whoever holds it keeps it readable.
impl<T: Image + Send + ?Sized> Image for Arc<T> {
    fn len(&self) -> io::Result<u64> {
        (**self).len()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, into)
    }

    fn is_at(&self, offset: u64, bytes: &[u8], scratch: &mut Vec<u8>) -> io::Result<bool> {
        (**self).is_at(offset, bytes, scratch)
    }
}

impl Image for [u8] {
    fn len(&self) -> io::Result<u64> {
        Ok(<[u8]>::len(self) as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).ok().and_then(|from| self.get(from..)).unwrap_or(&[]);
        let bytes = from.get(..into.len()).ok_or_else(|| ended(offset, from.len(), into.len()))?;
        into.copy_from_slice(bytes);
        Ok(())
    }
}

impl Image for Vec<u8> {
    fn len(&self) -> io::Result<u64> {
        Image::len(self.as_slice())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_at(offset, into)
    }
}

/// Read with pread(2): the file's own position is neither used nor, for a regular file, moved.
impl Image for File {
    fn len(&self) -> io::Result<u64> {
        let about = self.metadata()?;
        if about.is_file() {
            return Ok(about.len());
        }
        // A block device's metadata says 0; its end says how long it is. A pipe has no end.
        let mut device = self;
        device.seek(SeekFrom::End(0))
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < into.len() {
            match FileExt::read_at(self, &mut into[done..], offset + done as u64) {
                Ok(0) => return Err(ended(offset, done, into.len())),
                Ok(more) => done += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The image is shorter than it said.
fn ended(offset: u64, got: usize, expected: usize) -> io::Error {
    let message = format!(
        "it ended {got} bytes after offset {offset}, expected {expected} bytes: did it shrink?"
    );
    io::Error::new(io::ErrorKind::UnexpectedEof, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn reads_like(image: &dyn Image, bytes: &[u8]) {
        assert_eq!(image.len().unwrap(), bytes.len() as u64);
        assert_eq!(image.is_empty().unwrap(), bytes.is_empty());
        for (offset, len) in [(0, 0), (0, 10), (3, 4), (9, 1), (10, 0)] {
            let mut into = vec![0xee; len];
            image.read_at(offset as u64, &mut into).unwrap();
            assert_eq!(into, &bytes[offset..offset + len]);
        }
        for (offset, len) in [(0, 11), (9, 2), (10, 1), (11, 1), (1 << 40, 1)] {
            let error = image.read_at(offset, &mut vec![0; len]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{error}");
        }
    }

    #[test]
    fn slices_and_files_read_alike_and_say_when_they_are_short() {
        let bytes = *b"0123456789";
        reads_like(&bytes.as_slice(), &bytes);
        reads_like(&bytes.to_vec(), &bytes);
        reads_like(&Arc::new(bytes.to_vec()), &bytes);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        reads_like(&file, &bytes);
        let error = Image::read_at(&file, 8, &mut [0; 4]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "it ended 2 bytes after offset 8, expected 4 bytes: did it shrink?"
        );
    }

    #[test]
    fn a_pipe_is_no_image() {
        let (reader, _writer) = io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(reader));
        assert!(Image::len(&file).is_err());
    }
}
