//! The contract of a twin, run on every twin: what was written is what is read, and only what
//! differs counts as written.

use super::{directories, layout};
use crate::page_store::PageAccess;
use crate::trailer::TRAILER;
use crate::{Discard, FileTwin, MemoryTwin, TwinError, offset_of};
use memtwin_pages::{Layout, RegionId, Run};
use memtwin_replicate::{SamePages, Sink, SinkError, WriteOutcome};
use proptest::prelude::*;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// A sink that can be read back.
trait Twin: Sink {
    fn reader(&self) -> Result<File, TwinError>;
}

impl Twin for FileTwin {
    fn reader(&self) -> Result<File, TwinError> {
        FileTwin::reader(self)
    }
}

impl Twin for MemoryTwin {
    fn reader(&self) -> Result<File, TwinError> {
        MemoryTwin::reader(self)
    }
}

/// A write of some pages. Those in `same` go as the twin has them already.
#[derive(Clone, Debug)]
struct Pages {
    region: usize,
    first: u64,
    values: Vec<u8>,
    same: Vec<bool>,
}

#[derive(Clone, Debug)]
struct Script {
    regions: Vec<(u64, u64)>,
    piece: u64,
    rounds: Vec<Vec<Pages>>,
}

fn scripts() -> impl Strategy<Value = Script> {
    let size = prop::sample::select(vec![256u64, 512, 4096, 16384]);
    // A twin is whole sectors, whatever its pages are.
    let region = (1..40u64, size).prop_map(|(pages, size)| (pages * (512 / size).max(1), size));
    let regions = prop::collection::vec(region, 1..4);
    let pages = (
        0..4usize,
        0..40u64,
        prop::collection::vec(any::<u8>(), 1..9),
        prop::collection::vec(any::<bool>(), 9),
    )
        .prop_map(|(region, first, values, same)| Pages { region, first, values, same });
    let rounds = prop::collection::vec(prop::collection::vec(pages, 0..8), 0..6);
    (regions, 1..50u64, rounds).prop_map(|(regions, piece, rounds)| Script {
        regions,
        piece,
        rounds,
    })
}

/// Runs the script on a twin that is not open yet. Errors say where twin and model differ.
fn follow(twin: &mut impl Twin, script: &Script) -> Result<(), TestCaseError> {
    let layout = layout(&script.regions);
    let mut model: Vec<Vec<u8>> = layout
        .iter()
        .map(|(_, region)| (0..region.bytes()).map(|i| (i / 512 * 37 + i) as u8).collect())
        .collect();
    twin.open(&layout).unwrap();
    for (id, region) in layout.iter() {
        let page = region.page_size().as_usize();
        for piece in (Run { first: 0, count: region.pages() }).pieces(script.piece) {
            let bytes = &model[id.0][piece.first as usize * page..piece.end() as usize * page];
            let written = twin.write(id, piece.first, bytes).unwrap();
            prop_assert_eq!(
                written,
                WriteOutcome { bytes: bytes.len() as u64, ..WriteOutcome::default() }
            );
        }
    }
    twin.commit(0).unwrap();
    let reader = twin.reader().unwrap();
    read_back(&reader, &layout, &model)?;
    for (round, writes) in (1..).zip(&script.rounds) {
        for pages in writes {
            let id = RegionId(pages.region % layout.len());
            let region = layout.region(id);
            let page = region.page_size().as_usize();
            let first = pages.first % region.pages();
            let count = (pages.values.len() as u64).min(region.pages() - first);
            twin.prefetch(id, Run { first, count });
            let range = first as usize * page..(first + count) as usize * page;
            let before = model[id.0][range.clone()].to_vec();
            for (i, bytes) in model[id.0][range.clone()].chunks_exact_mut(page).enumerate() {
                if !pages.same[i] {
                    // One byte, anywhere in the page, is enough to differ.
                    let at = usize::from(pages.values[i]) * page / 256;
                    bytes[at] = bytes[at].wrapping_add(pages.values[i]);
                }
            }
            let after = &model[id.0][range];
            let pairs = (0..).zip(before.chunks(page).zip(after.chunks(page)));
            let same: SamePages = pairs.filter(|(_, (a, b))| a == b).map(|(n, _)| n).collect();
            let written = twin.write(id, first, after).unwrap();
            let bytes = (count - same.count()) * page as u64;
            prop_assert_eq!(written, WriteOutcome { same, bytes });
        }
        twin.commit(round).unwrap();
        read_back(&reader, &layout, &model)?;
    }
    Ok(())
}

fn read_back(reader: &File, layout: &Layout, model: &[Vec<u8>]) -> Result<(), TestCaseError> {
    // The image, and the trailer that says that it is unfinished.
    prop_assert_eq!(reader.metadata().unwrap().len(), layout.bytes() + TRAILER as u64);
    for (id, region) in layout.iter() {
        let mut bytes = vec![0; region.bytes() as usize];
        reader.read_exact_at(&mut bytes, offset_of(layout, id)).unwrap();
        prop_assert!(bytes == model[id.0], "{} differs", region.name());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_memory_twin_keeps_it(script in scripts()) {
        follow(&mut MemoryTwin::new(), &script)?;
    }

    #[test]
    fn a_file_twin_keeps_it(script in scripts(), access in prop::sample::select(vec![
        None, Some(PageAccess::Mapped), Some(PageAccess::Plain),
    ])) {
        for dir in directories() {
            let path = dir.path().join("twin");
            let mut twin = FileTwin::create(&path).unwrap();
            if let Some(access) = access {
                twin = twin.force(access);
            }
            follow(&mut twin, &script)?;
            twin.finish(true).unwrap();
            let layout = layout(&script.regions);
            prop_assert_eq!(std::fs::metadata(&path).unwrap().len(), layout.bytes());
        }
    }
}

#[test]
fn a_reader_can_only_read() {
    let mut twin = MemoryTwin::new();
    twin.open(&super::small()).unwrap();
    assert!(twin.reader().unwrap().write_at(b"x", 0).is_err());
}

#[test]
fn memory_is_mapped_and_a_disk_is_not() {
    let mut twin = MemoryTwin::new();
    assert!(twin.reader().is_err(), "nothing to read yet");
    twin.open(&super::small()).unwrap();
    assert_eq!(PageAccess::of(&twin.reader().unwrap()), PageAccess::Mapped);
    assert_eq!(PageAccess::of(&File::open("/dev/shm").unwrap()), PageAccess::Mapped);
    assert_eq!(PageAccess::of(&File::open("/proc").unwrap()), PageAccess::Plain);
}

/// The control: a twin that leaves one write out, and one that counts wrong, break the contract.
#[test]
fn and_a_bad_twin_does_not() {
    #[derive(Clone, Copy, PartialEq)]
    enum Fault {
        None,
        Forgets,
        Miscounts,
    }
    struct Bad(MemoryTwin, Fault, u32);
    impl Sink for Bad {
        fn open(&mut self, layout: &Layout) -> Result<(), SinkError> {
            self.0.open(layout)
        }
        fn write(
            &mut self,
            id: RegionId,
            first: u64,
            of: &[u8],
        ) -> Result<WriteOutcome, SinkError> {
            let mut written = match self.1 {
                Fault::Forgets if self.2 == 1 => {
                    WriteOutcome { bytes: of.len() as u64, ..WriteOutcome::default() }
                }
                _ => self.0.write(id, first, of)?,
            };
            if self.1 == Fault::Miscounts {
                // A page that none of a write has.
                written.same.insert(1_000);
            }
            Ok(written)
        }
        fn commit(&mut self, round: u32) -> Result<(), SinkError> {
            self.2 = round + 1;
            self.0.commit(round)
        }
    }
    impl Twin for Bad {
        fn reader(&self) -> Result<File, TwinError> {
            self.0.reader()
        }
    }
    let write = Pages { region: 0, first: 3, values: vec![9], same: vec![false] };
    let script = Script { regions: vec![(8, 512)], piece: 8, rounds: vec![vec![write]] };
    let run = |fault| follow(&mut Bad(MemoryTwin::new(), fault, 0), &script);
    assert!(run(Fault::None).is_ok());
    assert!(run(Fault::Forgets).unwrap_err().to_string().contains("r0 differs"));
    assert!(run(Fault::Miscounts).is_err());
}

#[test]
fn discard_takes_everything_and_writes_nothing() {
    let layout = super::small();
    Discard.open(&layout).unwrap();
    assert_eq!(Discard.write(RegionId(0), 0, &[1; 8192]).unwrap(), WriteOutcome::default());
    Discard.commit(0).unwrap();
}

/// The trailer must lie in one sector, and a file without one must not look as if it had one.
#[test]
fn a_twin_that_is_no_whole_sectors_is_refused_before_it_is_begun() {
    for dir in directories() {
        let path = dir.path().join("twin");
        let mut twin = FileTwin::create(&path).unwrap();
        let error = twin.open(&layout(&[(3, 256)])).unwrap_err().to_string();
        assert!(error.contains("a twin of 768 bytes, expected a multiple of 512"), "{error}");
        drop(twin);
        assert_eq!(super::names(dir.path()), [""; 0]);
        let mut twin = FileTwin::create(&path).unwrap();
        twin.open(&layout(&[(3, 256), (1, 256)])).unwrap();
        twin.write(RegionId(0), 0, &[1; 768]).unwrap();
        twin.write(RegionId(1), 0, &[2; 256]).unwrap();
        twin.commit(0).unwrap();
        twin.finish(true).unwrap();
        assert_eq!(
            std::fs::read(&path).unwrap(),
            [[1; 256], [1; 256], [1; 256], [2; 256]].concat()
        );
    }
}
