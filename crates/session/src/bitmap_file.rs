//! `--dirty-bitmap FILE`: each round's bitmap in a host file, for others to watch.
//! docs/dirty-bitmap.md draws the layout.

use memtwin_pages::{Layout, PageSet};
use memtwin_replicate::{Observer, ReplicationEvent};
use memtwin_report::Failure;
use memtwin_safe_path::{Place, SafePathError};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The first eight bytes.
const MAGIC: &[u8; 8] = b"MTDIRTY1";
/// The file's header, and each region's: whole cache lines.
const HEADER: usize = 64;

/// Writes the file at each collection. A failure ends the writing and is kept for the end: a
/// bystander's file is no reason to stop a replication.
#[derive(Debug)]
pub(crate) struct BitmapFile {
    path: PathBuf,
    file: File,
    sequence: u64,
    offsets: Vec<u64>,
    failed: Option<io::Error>,
}

impl BitmapFile {
    /// The file that `--dirty-bitmap` asks for. Errors: it can't be written.
    pub(crate) fn wanted(path: Option<&Path>) -> Result<Option<Self>, Failure> {
        let create = |path: &Path| {
            Self::create(path).map_err(|error| match error.into_errno() {
                Ok(error) => Failure::environment(format!(
                    "{}: {error}; give --dirty-bitmap a path that can be written",
                    path.display()
                )),
                Err(refused) => Failure::environment(format!("--dirty-bitmap: {refused}")),
            })
        };
        path.map(create).transpose()
    }

    /// Creates the file, or empties the one that is there.
    pub(crate) fn create(path: &Path) -> Result<Self, SafePathError> {
        let place = Place::find(path)?;
        place.check_replaceable()?;
        let file = place.open_output(0o644)?;
        let path = path.to_owned();
        Ok(Self { path, file, sequence: 0, offsets: Vec::new(), failed: None })
    }

    /// What went wrong, if anything did, in one line.
    pub(crate) fn failure(&self) -> Option<String> {
        let error = self.failed.as_ref()?;
        Some(format!("{}: the dirty bitmap could not be written: {error}", self.path.display()))
    }

    fn begin(&mut self, layout: &Layout) -> io::Result<()> {
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(MAGIC);
        put(&mut header, 1, layout.len() as u64);
        self.file.write_all_at(&header, 0)?;
        let mut offset = HEADER as u64;
        for (_, region) in layout.iter() {
            let words = region.pages().div_ceil(64);
            let mut header = [0; HEADER];
            put(&mut header, 0, region.gpa().0);
            put(&mut header, 1, region.page_size().bytes());
            put(&mut header, 2, region.pages());
            put(&mut header, 3, words * 8);
            let name = region.name().as_bytes();
            let name = &name[..name.len().min(HEADER - 32)];
            header[32..32 + name.len()].copy_from_slice(name);
            self.file.write_all_at(&header, offset)?;
            offset += HEADER as u64;
            self.offsets.push(offset);
            offset = (offset + words * 8).next_multiple_of(HEADER as u64);
        }
        self.file.set_len(offset)
    }

    fn round(&mut self, round: u32, named: &[PageSet]) -> io::Result<()> {
        let mut head = [0; 24];
        // Odd while the bitmaps are being written: a reader that sees it reads again.
        put(&mut head, 0, self.sequence + 1);
        put(&mut head, 1, u64::from(round));
        put(&mut head, 2, named.iter().map(PageSet::count).sum());
        self.file.write_all_at(&head, 16)?;
        let mut bytes = Vec::new();
        for (set, &offset) in named.iter().zip(&self.offsets) {
            bytes.clear();
            bytes.extend(set.words().iter().flat_map(|word| word.to_le_bytes()));
            self.file.write_all_at(&bytes, offset)?;
        }
        self.sequence += 2;
        self.file.write_all_at(&self.sequence.to_le_bytes(), 16)
    }
}

/// Writes the `n`-th 64-bit word, little-endian.
fn put(bytes: &mut [u8], n: usize, value: u64) {
    bytes[n * 8..n * 8 + 8].copy_from_slice(&value.to_le_bytes());
}

impl Observer for BitmapFile {
    fn event(&mut self, event: &ReplicationEvent<'_>) {
        if self.failed.is_some() {
            return;
        }
        let written = match event {
            ReplicationEvent::Started(layout) => self.begin(layout),
            ReplicationEvent::Collected { round, named } => self.round(*round, named),
            _ => Ok(()),
        };
        self.failed = written.err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtwin_pages::{Gpa, PageSize, Region};

    fn word(bytes: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
    }

    #[test]
    fn the_file_is_as_it_is_drawn() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dirty_bitmap");
        let size = PageSize::new(4096).unwrap();
        let region =
            |name, gpa, pages: u64| Region::new(name, Gpa(gpa), pages * 4096, size).unwrap();
        let layout = Layout::new(vec![region("a", 0, 70), region("aeshmem", 0x2000_0000, 3)]);
        let mut file = BitmapFile::create(&path).unwrap();
        file.event(&ReplicationEvent::Started(&layout));
        let mut named = vec![PageSet::new(70), PageSet::new(3)];
        named[0].insert(69);
        named[1].insert(1);
        file.event(&ReplicationEvent::Collected { round: 5, named: &named });
        assert_eq!(file.failure(), None);

        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(&bytes[..8], MAGIC);
        assert_eq!([8, 16, 24, 32].map(|at| word(&bytes, at)), [2, 2, 5, 2]);
        assert_eq!([64, 72, 80, 88].map(|at| word(&bytes, at)), [0, 4096, 70, 16]);
        assert_eq!([128, 136].map(|at| word(&bytes, at)), [0, 1 << 5]);
        assert_eq!([192, 200, 208].map(|at| word(&bytes, at)), [0x2000_0000, 4096, 3]);
        assert_eq!(&bytes[224..232], b"aeshmem\0");
        assert_eq!(word(&bytes, 256), 2);
        assert_eq!(bytes.len(), 320);
    }
}
