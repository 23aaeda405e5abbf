//! A twin's file while it is written: an image with a [`TwinTrailer`] behind it; on a block device with
//! its state at the device's end.
//!
//! The trailer is on the disk before the first byte of the image is, and goes only when the whole
//! image is there. So whatever the moment of a power loss, and whatever name, link, copy or open
//! descriptor the file is reached by, one that is not whole says so itself.

use crate::device::trailer::{DeviceState, DeviceTrailer};
use crate::device::{is_device, length};
use crate::trailer::{SECTOR, TRAILER, TwinTrailer};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

/// What the end of a file says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrailerState {
    /// Nothing: a finished twin, or any other file.
    Plain,
    /// An unfinished twin.
    Unfinished(TwinTrailer),
    /// An image of this many bytes, and a trailer that can't be read.
    Damaged(u64),
    /// An image of this many bytes, and zeros where its trailer should be, as after a power loss.
    Blank(u64),
    /// On a block device: a finished twin of this many bytes.
    Finished(u64),
}

impl TrailerState {
    /// Reads the end of a regular file or of a block device.
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        if is_device(file)? {
            return Self::of_device(file);
        }
        let len = file.metadata()?.len();
        if len % SECTOR != TRAILER as u64 {
            return Ok(Self::Plain);
        }
        let bytes = len - TRAILER as u64;
        let mut end = [0; TRAILER];
        file.read_exact_at(&mut end, bytes)?;
        Ok(match TwinTrailer::decode(&end) {
            Some(trailer) if trailer.bytes == bytes => Self::Unfinished(trailer),
            _ if TwinTrailer::is_like(&end) => Self::Damaged(bytes),
            _ if end == [0; TRAILER] => Self::Blank(bytes),
            _ => Self::Plain,
        })
    }

    fn of_device(device: &File) -> io::Result<Self> {
        Ok(match DeviceState::of(device)? {
            DeviceState::None => Self::Plain,
            DeviceState::Damaged => Self::Damaged(length(device)?),
            DeviceState::Known(DeviceTrailer { trailer, probed: None }) => {
                Self::Unfinished(trailer)
            }
            DeviceState::Known(DeviceTrailer { trailer, probed: Some(_) }) => {
                Self::Finished(trailer.bytes)
            }
        })
    }
}

/// The state of a twin's file, as the file itself carries it.
#[derive(Debug)]
pub struct UnfinishedTwin {
    trailer: TwinTrailer,
    place: TrailerPlace,
}

/// Where the state stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TrailerPlace {
    /// Of a regular file: behind the image, until it is cut off.
    AfterImage,
    /// Of a block device: at its end.
    DeviceEnd,
}

impl TrailerPlace {
    fn of(file: &File) -> io::Result<Self> {
        Ok(if is_device(file)? { Self::DeviceEnd } else { Self::AfterImage })
    }
}

impl UnfinishedTwin {
    /// Makes the empty `file`, or a block device with room for it, an unfinished twin of `bytes` bytes,
    /// a multiple of 512. That is on the disk on return; the name of the file is the caller's to sync.
    pub fn begin(file: &File, bytes: u64) -> io::Result<Self> {
        let pid = std::process::id();
        let trailer = TwinTrailer { image: random()?, bytes, round: None, pid };
        let this = Self { trailer, place: TrailerPlace::of(file)? };
        this.write(file)?;
        Ok(this)
    }

    /// The state of a file that an earlier process has left. `None`: it is no unfinished twin, or
    /// its trailer is damaged.
    pub fn find(file: &File) -> io::Result<Option<Self>> {
        Ok(match TrailerState::of(file)? {
            TrailerState::Unfinished(trailer) => {
                Some(Self { trailer, place: TrailerPlace::of(file)? })
            }
            _ => None,
        })
    }

    /// What the trailer says.
    pub fn trailer(&self) -> &TwinTrailer {
        &self.trailer
    }

    /// Notes that the file holds all of `round`, which the caller has synced before. That is on the
    /// disk on return.
    pub fn checkpoint(&mut self, file: &File, round: u32) -> io::Result<()> {
        self.trailer.round = Some(round);
        self.write(file)
    }

    /// Takes the trailer away: from now on the file is the image and nothing else, and whole. The state
    /// of a block device says so instead. The caller has synced the image before. That is on the disk on
    /// return.
    ///
    /// Errors: the file does not end in this trailer, so something else has changed it; or the
    /// system fails, and then the trailer is there or not.
    pub fn finish(&self, file: &File) -> io::Result<()> {
        if TrailerState::of(file)? != TrailerState::Unfinished(self.trailer) {
            let what = "something else has changed it while it was written";
            return Err(io::Error::new(ErrorKind::InvalidData, what));
        }
        match self.place {
            TrailerPlace::AfterImage => {
                file.set_len(self.trailer.bytes)?;
                file.sync_all()
            }
            TrailerPlace::DeviceEnd => DeviceTrailer::finished(self.trailer, file)?.write(file),
        }
    }

    fn write(&self, file: &File) -> io::Result<()> {
        match self.place {
            TrailerPlace::AfterImage => {
                file.write_all_at(&self.trailer.encoded(), self.trailer.bytes)?;
                file.sync_all()
            }
            TrailerPlace::DeviceEnd => DeviceTrailer::unfinished(self.trailer).write(file),
        }
    }
}

fn random() -> io::Result<[u8; 16]> {
    // By the system call (getrandom(2)): /dev may have next to nothing in it.
    let mut bytes = [0; 16];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += rustix::io::retry_on_intr(|| {
            rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())
        })?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_the_first_byte_to_the_last() {
        let file = tempfile::tempfile().unwrap();
        let mut unfinished = UnfinishedTwin::begin(&file, 1024).unwrap();
        let image = unfinished.trailer().image;
        assert_eq!(file.metadata().unwrap().len(), 1024 + 511);
        file.write_all_at(&[7; 1024], 0).unwrap();
        unfinished.checkpoint(&file, 3).unwrap();
        let found = *UnfinishedTwin::find(&file).unwrap().unwrap().trailer();
        assert_eq!((found.image, found.bytes, found.round), (image, 1024, Some(3)));
        unfinished.finish(&file).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 1024);
        assert_eq!(TrailerState::of(&file).unwrap(), TrailerState::Plain);
        let another = UnfinishedTwin::begin(&tempfile::tempfile().unwrap(), 1024).unwrap();
        assert_ne!(another.trailer().image, image);
    }

    #[test]
    fn what_has_not_its_trailer_is_not_finished() {
        for change in [0u64, 1024, 1024 + 510, 1024 + 1023] {
            let file = tempfile::tempfile().unwrap();
            let unfinished = UnfinishedTwin::begin(&file, 1024).unwrap();
            file.set_len(change).unwrap();
            assert!(unfinished.finish(&file).is_err(), "{change}");
            assert_eq!(file.metadata().unwrap().len(), change);
        }
        let file = tempfile::tempfile().unwrap();
        let unfinished = UnfinishedTwin::begin(&file, 1024).unwrap();
        file.write_all_at(b"x", 1100).unwrap();
        assert_eq!(TrailerState::of(&file).unwrap(), TrailerState::Damaged(1024));
        assert!(unfinished.finish(&file).is_err());
    }

    #[test]
    fn zeros_in_place_of_a_trailer_are_not_plain() {
        let file = tempfile::tempfile().unwrap();
        for (len, ending) in [
            (0, TrailerState::Plain),
            (511, TrailerState::Blank(0)),
            (1024 + 511, TrailerState::Blank(1024)),
            (1024, TrailerState::Plain),
            (1025, TrailerState::Plain),
        ] {
            file.set_len(len).unwrap();
            assert_eq!(TrailerState::of(&file).unwrap(), ending, "{len}");
        }
        file.set_len(1024 + 511).unwrap();
        file.write_all_at(b"x", 1500).unwrap();
        assert_eq!(
            TrailerState::of(&file).unwrap(),
            TrailerState::Plain,
            "an image of an odd size"
        );
    }
}
