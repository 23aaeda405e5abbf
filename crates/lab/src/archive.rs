//! The archive from which a guest's root file system is unpacked: cpio in the format "newc"
//! (`Documentation/driver-api/early-userspace/buffer-format.rst`). The same files give the same
//! bytes: entries are sorted, and have no times, no owners but root, and inode numbers by rank.

use cpio::newc::{Builder, ModeFileType, trailer};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// What a path in the archive is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ArchiveEntry {
    Folder,
    File { bytes: Vec<u8>, mode: u32 },
    Device { major: u32, minor: u32 },
}

/// An archive in the making.
#[derive(Clone, Debug, Default)]
pub(crate) struct Archive {
    entries: BTreeMap<String, ArchiveEntry>,
}

impl Archive {
    /// Adds a folder, with those that it is in.
    pub(crate) fn folder(&mut self, path: &str) {
        let mut end = 0;
        while let Some(slash) = path[end..].find('/') {
            self.entries.entry(path[..end + slash].to_owned()).or_insert(ArchiveEntry::Folder);
            end += slash + 1;
        }
        self.entries.entry(path.to_owned()).or_insert(ArchiveEntry::Folder);
    }

    /// Adds a file, or replaces it.
    pub(crate) fn file(&mut self, path: &str, mode: u32, bytes: Vec<u8>) {
        self.insert(path, ArchiveEntry::File { bytes, mode });
    }

    /// Adds a character device.
    pub(crate) fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.insert(path, ArchiveEntry::Device { major, minor });
    }

    fn insert(&mut self, path: &str, entry: ArchiveEntry) {
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.folder(folder);
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// Writes it.
    pub(crate) fn write(&self, mut output: impl Write) -> io::Result<()> {
        // A folder's name is the beginning of those in it, so it comes before them.
        for (ino, (path, entry)) in (1..).zip(&self.entries) {
            let named = Builder::new(path).ino(ino);
            let (builder, bytes): (_, &[u8]) = match entry {
                ArchiveEntry::Folder => {
                    (named.mode(0o755).set_mode_file_type(ModeFileType::Directory).nlink(2), &[])
                }
                ArchiveEntry::File { bytes, mode } => {
                    (named.mode(*mode).set_mode_file_type(ModeFileType::Regular), bytes)
                }
                ArchiveEntry::Device { major, minor } => {
                    let named = named.rdev_major(*major).rdev_minor(*minor);
                    (named.mode(0o600).set_mode_file_type(ModeFileType::Char), &[])
                }
            };
            let length = u32::try_from(bytes.len()).map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidInput, format!("{path}: 4 GiB or more"))
            })?;
            let mut writer = builder.write(&mut output, length);
            writer.write_all(bytes)?;
            writer.finish()?;
        }
        trailer(&mut output)?;
        output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn written(archive: &Archive) -> Vec<u8> {
        let mut bytes = Vec::new();
        archive.write(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn the_order_of_making_does_not_matter() {
        let mut one = Archive::default();
        one.file("bin/a", 0o755, b"a".to_vec());
        one.device("dev/console", 5, 1);
        let mut two = Archive::default();
        two.device("dev/console", 5, 1);
        two.file("bin/a", 0o755, b"old".to_vec());
        two.file("bin/a", 0o755, b"a".to_vec());
        assert_eq!(written(&one), written(&two));
        two.file("bin/a", 0o755, b"b".to_vec());
        assert_ne!(written(&one), written(&two));
    }

    #[test]
    fn it_reads_back() {
        let mut archive = Archive::default();
        archive.file("lib/modules/a.ko", 0o644, b"module".to_vec());
        archive.device("dev/mem", 1, 1);
        archive.folder("tmp");
        let bytes = written(&archive);
        let mut rest = &bytes[..];
        let mut seen = Vec::new();
        loop {
            let mut reader = cpio::newc::Reader::new(rest).unwrap();
            let entry = reader.entry().clone();
            if entry.is_trailer() {
                break;
            }
            assert_eq!((entry.mtime(), entry.uid(), entry.gid()), (0, 0, 0));
            let mut content = String::new();
            reader.read_to_string(&mut content).unwrap();
            let minor = entry.rdev_minor();
            seen.push(format!("{} {:o} {minor} {content}", entry.name(), entry.mode()));
            rest = reader.finish().unwrap();
        }
        let expected = [
            "dev 40755 0 ",
            "dev/mem 20600 1 ",
            "lib 40755 0 ",
            "lib/modules 40755 0 ",
            "lib/modules/a.ko 100644 0 module",
            "tmp 40755 0 ",
        ];
        assert_eq!(seen, expected);
    }
}
