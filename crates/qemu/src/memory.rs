//! A block of the guest's real memory, as an image for the judge.

use crate::absent::{self, Parts};
use crate::block::Block;
use crate::maps::BackingFile;
use crate::process::{MemoryError, Process};
use memtwin_pages::{Image, PageSet, PageSize, Run};
use rustix::fs::{major, minor};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

/// Looking at more parts of a block than these takes longer than looking at all of it.
const MOST_LOOKS: usize = 64;

/// How a block's bytes are had.
#[derive(Debug)]
enum ReadPath {
    /// From the process.
    Process {
        /// Where the block begins there.
        hva: u64,
    },
    /// From the file that QEMU shares it through.
    File {
        /// The file.
        file: File,
        /// Where the block begins in it.
        offset: u64,
    },
}

/// The bytes in use of one block, as they are now: a running guest changes them while they are
/// read.
#[derive(Debug)]
pub struct BlockMemory {
    process: Arc<Process>,
    name: String,
    used: u64,
    way: ReadPath,
}

impl BlockMemory {
    /// The memory of this block of this process.
    ///
    /// Read with process_vm_readv(2); where that is refused and the block is a shared file that we
    /// may open, from that file.
    ///
    /// Errors: QEMU does not say where the block lies; the system refuses, with the way out;
    /// QEMU has ended.
    pub fn new(process: Arc<Process>, block: &Block) -> Result<Self, MemoryError> {
        let hva = block.hva.ok_or_else(|| MemoryError::NoAddress { block: block.name.clone() })?;
        let Block { name, used, .. } = block.clone();
        // Where there is no memory, reading would allot some.
        let one = used.min(1);
        let gone = absent::absent(process.pid(), hva, one).is_ok_and(|parts| !parts.is_empty());
        let tried = match gone {
            true => process.may_be_read(),
            false => process.read(hva, &mut [0; 1][..one as usize]),
        };
        let way = match tried {
            Ok(()) => ReadPath::Process { hva },
            Err(refused @ MemoryError::Refused { .. }) => process
                .backing(hva, used)
                .and_then(|backing| shared(&backing, used))
                .ok_or(refused)?,
            Err(error) => return Err(error),
        };
        Ok(Self { process, name, used, way })
    }

    /// The block's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is read from the file that QEMU shares it through, rather than from QEMU.
    pub fn is_file(&self) -> bool {
        matches!(self.way, ReadPath::File { .. })
    }

    /// Copies the block's bytes from `offset` on, as many as `into` holds.
    ///
    /// Errors: QEMU has ended, or the memory is gone. What `into` then holds means nothing.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), MemoryError> {
        let bytes = into.len();
        let end = offset.checked_add(bytes as u64);
        if end.is_none_or(|end| end > self.used) {
            let problem = format!("{bytes} bytes at {offset:#x}, and it has {:#x}", self.used);
            return Err(self.failed(io::Error::new(io::ErrorKind::UnexpectedEof, problem)));
        }
        match &self.way {
            ReadPath::Process { hva } => self.process.read(hva.saturating_add(offset), into),
            ReadPath::File { file, offset: begin } => {
                Image::read_at(file, begin + offset, into).map_err(|errno| self.failed(errno))?;
                self.process.alive()
            }
        }
    }

    /// Pages of this size that have no memory at this moment, as nothing was written there or as it was
    /// discarded: they read as zeros, but reading them may allot memory. Where the system does not
    /// say, there are none.
    ///
    /// Errors: QEMU has ended.
    pub fn absent_pages(&self, size: PageSize) -> Result<PageSet, MemoryError> {
        let (begin, parts) = match &self.way {
            ReadPath::Process { hva } => {
                (*hva, absent::absent(self.process.pid(), *hva, self.used))
            }
            ReadPath::File { file, offset } => {
                (*offset, absent::holes_of(file, *offset, self.used))
            }
        };
        // Also if it succeeded: it may have been another process's memory.
        self.process.alive()?;
        Ok(self.pages_within(begin, &parts.unwrap_or_default(), size))
    }

    /// As [`BlockMemory::absent_pages`], of these pages alone: the others are not looked at.
    ///
    /// Errors: QEMU has ended.
    pub fn absent_among(&self, pages: &PageSet, size: PageSize) -> Result<PageSet, MemoryError> {
        let mut absent = PageSet::new(pages.capacity());
        let mut enter = |found: PageSet| {
            found.iter().filter(|page| pages.contains(*page)).for_each(|page| {
                absent.insert(page);
            });
        };
        // Each look reads the process's list of mappings.
        if pages.runs().count() > MOST_LOOKS {
            enter(self.absent_pages(size)?);
            return Ok(absent);
        }
        for run in pages.runs() {
            let from = size.offset_of(run.first);
            let len = size.offset_of(run.end()).min(self.used).saturating_sub(from);
            let (begin, parts) = match &self.way {
                ReadPath::Process { hva } => {
                    (*hva, absent::absent(self.process.pid(), hva + from, len))
                }
                ReadPath::File { file, offset } => {
                    (*offset, absent::holes_of(file, offset + from, len))
                }
            };
            enter(self.pages_within(begin, &parts.unwrap_or_default(), size));
        }
        self.process.alive()?;
        Ok(absent)
    }

    /// The pages that lie in these parts with all of their bytes.
    fn pages_within(&self, begin: u64, parts: &Parts, size: PageSize) -> PageSet {
        let mut pages = PageSet::new(size.pages_for(self.used));
        for part in parts {
            let (from, to) = (part.start - begin, part.end - begin);
            let first = size.pages_for(from);
            let end = if to == self.used { size.pages_for(to) } else { size.page_of(to) };
            pages.insert_run(Run { first, count: end.saturating_sub(first) });
        }
        pages
    }

    fn failed(&self, errno: io::Error) -> MemoryError {
        MemoryError::system(format!("block {}", self.name))(errno)
    }
}

impl Image for BlockMemory {
    fn len(&self) -> io::Result<u64> {
        Ok(self.used)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.read(offset, into).map_err(|error| match error {
            MemoryError::System { errno, .. } => errno,
            error => io::Error::other(error),
        })
    }
}

/// Opens the file behind a mapping, if the path still leads to that file and all of it is there.
fn shared(backing: &BackingFile, bytes: u64) -> Option<ReadPath> {
    let file = File::open(&backing.path).ok()?;
    let about = file.metadata().ok()?;
    let device = (major(about.dev()), minor(about.dev()));
    let is_it = (device, about.ino()) == (backing.device, backing.inode);
    let is_whole = backing.offset.checked_add(bytes).is_some_and(|end| end <= about.len());
    (is_it && is_whole).then_some(ReadPath::File { file, offset: backing.offset })
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtwin_child::Spawn;
    use std::io::Write;
    use std::process::{Child, Command, Stdio};

    struct SleepState(Child);

    impl Drop for SleepState {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn sleep() -> SleepState {
        SleepState(Command::new("sleep").arg("600").stdin(Stdio::null()).spawn_bound().unwrap())
    }

    fn block(hva: u64, used: u64) -> Block {
        let name = "ram".to_owned();
        let windows = Vec::new();
        Block {
            name,
            is_named: true,
            used,
            total: used,
            hva: Some(hva),
            host_page: 4096,
            windows,
            read_only: None,
        }
    }

    #[test]
    fn our_own_memory_reads_like_itself_and_no_further() {
        let bytes: Vec<u8> = (0..100_000).map(|n| (n % 251) as u8).collect();
        let block = block(bytes.as_ptr() as u64, bytes.len() as u64);
        let process = Process::of_pid(std::process::id(), std::slice::from_ref(&block)).unwrap();
        let memory = BlockMemory::new(Arc::new(process), &block).unwrap();
        assert_eq!((memory.len().unwrap(), memory.is_file()), (100_000, false));
        let mut into = vec![0; 50_000];
        memory.read_at(49_999, &mut into).unwrap();
        assert_eq!(into, &bytes[49_999..99_999]);
        memory.read_at(100_000, &mut []).unwrap();
        for offset in [50_001, 100_000, u64::MAX] {
            let error = memory.read_at(offset, &mut into).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{error}");
        }
    }

    #[test]
    fn a_page_is_absent_if_all_of_it_is_and_asking_touches_nothing() {
        let host = rustix::param::page_size() as u64;
        let len = 64 * host;
        let mapping = memtwin_mapping::Mapping::anonymous(len as usize, 1).unwrap();
        mapping.advise(memtwin_mapping::MappingAdvice::BasePages, 0, len as usize).unwrap();
        let block = block(mapping.address(), len);
        let process = Process::of_pid(std::process::id(), std::slice::from_ref(&block)).unwrap();
        let memory = BlockMemory::new(Arc::new(process), &block).unwrap();
        let absent = |size: u64| memory.absent_pages(PageSize::new(size).unwrap()).unwrap();
        assert_eq!(absent(host).count(), 64, "that it may be read was found out without reading");
        mapping.write(5 * host as usize, &[1]);
        for (size, pages, gone) in [(host, 64, 63), (host * 4, 16, 15), (host / 4, 256, 252)] {
            let absent = absent(size);
            assert_eq!((absent.capacity(), absent.count()), (pages, gone));
            assert!(!absent.contains(5 * host / size));
            // The same of some of them, looked at one by one, and all at once where they are many runs.
            let few: &[u64] = &[1, 5 * host / size, pages - 1];
            let many: Vec<u64> = (0..pages).step_by(2).collect();
            for asked in [few, &many] {
                let mut set = PageSet::new(pages);
                for page in asked {
                    set.insert(*page);
                }
                let seen = memory.absent_among(&set, PageSize::new(size).unwrap()).unwrap();
                let expected = asked.iter().filter(|page| absent.contains(**page));
                assert!(seen.iter().eq(expected.copied()), "{size}: {seen:?}");
            }
        }
    }

    #[test]
    fn what_is_not_there_is_no_memory() {
        let pid = std::process::id();
        let error = Process::of_pid(pid, &[block(4096, 4096)]).unwrap_err();
        assert!(matches!(error, MemoryError::NotMapped { hva: 4096, .. }), "{error}");
        let process = Arc::new(Process::open(pid).unwrap());
        let error = BlockMemory::new(process.clone(), &block(4096, 4096)).unwrap_err();
        assert!(matches!(error, MemoryError::Unreadable { .. }), "{error}");
        let nowhere = Block { hva: None, ..block(0, 1) };
        let error = BlockMemory::new(process, &nowhere).unwrap_err();
        assert!(matches!(error, MemoryError::NoAddress { .. }), "{error}");
        assert!(matches!(Process::open(0), Err(MemoryError::Gone { .. })));
        assert!(matches!(Process::open(u32::MAX), Err(MemoryError::Gone { .. })));
    }

    #[test]
    fn a_process_that_ended_is_told_even_before_it_is_reaped() {
        let mut sleep = sleep();
        let process = Process::open(sleep.0.id()).unwrap();
        process.alive().unwrap();
        sleep.0.kill().unwrap();
        // Merely looked at, it stays a zombie.
        let pid = rustix::process::Pid::from_child(&sleep.0);
        let look = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(rustix::process::WaitId::Pid(pid), look).unwrap();
        let gone = |result: Result<(), MemoryError>| {
            assert!(matches!(result, Err(MemoryError::Gone { .. })), "{result:?}");
        };
        gone(process.alive());
        gone(process.read(0x1000, &mut [0]));
        sleep.0.wait().unwrap();
        gone(process.read(0x1000, &mut [0]));
    }

    #[test]
    fn a_file_is_taken_only_if_it_is_the_one_that_is_mapped() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"0123456789").unwrap();
        let about = file.as_file().metadata().unwrap();
        let backing = BackingFile {
            path: file.path().to_owned(),
            device: (major(about.dev()), minor(about.dev())),
            inode: about.ino(),
            offset: 2,
        };
        let process = Arc::new(Process::open(std::process::id()).unwrap());
        let way = shared(&backing, 8).unwrap();
        let memory = BlockMemory { process, name: "ram".to_owned(), used: 8, way };
        let mut into = [0; 3];
        memory.read_at(5, &mut into).unwrap();
        assert_eq!((&into, memory.is_file()), (b"789", true));
        assert!(memory.read_at(6, &mut into).is_err());

        assert!(shared(&backing, 9).is_none(), "too short");
        assert!(shared(&BackingFile { inode: 1, ..backing.clone() }, 8).is_none(), "another file");
        let deleted = backing.path.with_extension("deleted");
        assert!(shared(&BackingFile { path: deleted, ..backing }, 8).is_none());
    }
}
