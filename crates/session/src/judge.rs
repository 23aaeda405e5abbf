//! Where the judge meets the engine: at a stand-still, over its own readings of both sides.

use crate::guest::Guest;
use crate::image::FilePart;
use memtwin_mapping::Mapping;
use memtwin_pages::{Layout, Region, RegionId};
use memtwin_remote::{Figures, RemoteError};
use memtwin_replicate::{Observer, Sink, Source, SourceError, Still};
use memtwin_report::record::{Blake3, Digest, Digests, LostPage, PageAt};
use memtwin_twin::{DirTwin, Discard, FileTwin, MemoryTwin, TwinError, offset_of};
use memtwin_verdict::{CompareError, Comparison, Difference, Image, compare};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::Arc;

/// A twin that a judge can read by itself.
pub(crate) trait Judged: Sink {
    /// A region, for the judge to read with a handle of its own; none if nothing was kept. `memory`
    /// is what it should be equal to: a twin far away then need not be fetched to be read.
    fn image<'t>(
        &'t self,
        layout: &Layout,
        region: RegionId,
        memory: &'t dyn Image,
    ) -> Option<Result<Box<dyn Image + 't>, JudgeError>>;

    /// Is told the verdict. Errors: why the twin is not kept as what the verdict says.
    fn conclude(&mut self, _verdict: &Conclusion<'_>) -> Result<(), String> {
        Ok(())
    }

    /// What sending it came to, if it was sent.
    fn figures(&self) -> Option<Figures> {
        None
    }
}

/// How a replication ended, as its twin is told.
#[derive(Debug)]
pub(crate) enum Conclusion<'c> {
    /// Memory and twin are the same, with these digests, in this layout.
    Identical(&'c Layout, &'c BTreeMap<String, Digests>),
    /// They are not.
    Differs,
    /// There is no verdict, for this reason.
    Inconclusive(&'c str),
}

/// A region of a twin that is a file here.
fn part<'t>(
    reader: Result<File, TwinError>,
    layout: &Layout,
    region: RegionId,
) -> Option<Result<Box<dyn Image + 't>, JudgeError>> {
    let (offset, len) = (offset_of(layout, region), layout.region(region).bytes());
    let part = |file| Box::new(FilePart { file, offset, len }) as Box<dyn Image + 't>;
    Some(reader.map(part).map_err(JudgeError::from))
}

impl Judged for MemoryTwin {
    fn image<'t>(
        &'t self,
        layout: &Layout,
        region: RegionId,
        _memory: &'t dyn Image,
    ) -> Option<Result<Box<dyn Image + 't>, JudgeError>> {
        part(self.reader(), layout, region)
    }
}

impl Judged for FileTwin {
    fn image<'t>(
        &'t self,
        layout: &Layout,
        region: RegionId,
        _memory: &'t dyn Image,
    ) -> Option<Result<Box<dyn Image + 't>, JudgeError>> {
        part(self.reader(), layout, region)
    }
}

impl Judged for DirTwin {
    fn image<'t>(
        &'t self,
        layout: &Layout,
        region: RegionId,
        _memory: &'t dyn Image,
    ) -> Option<Result<Box<dyn Image + 't>, JudgeError>> {
        let len = layout.region(region).bytes();
        let whole = |file| Box::new(FilePart { file, offset: 0, len }) as Box<dyn Image + 't>;
        Some(self.reader(region).map(whole).map_err(JudgeError::from))
    }
}

impl Judged for Discard {
    fn image<'t>(
        &'t self,
        _: &Layout,
        _: RegionId,
        _: &'t dyn Image,
    ) -> Option<Result<Box<dyn Image + 't>, JudgeError>> {
        None
    }
}

impl<K: Judged> Judged for &mut K {
    fn image<'t>(
        &'t self,
        layout: &Layout,
        region: RegionId,
        memory: &'t dyn Image,
    ) -> Option<Result<Box<dyn Image + 't>, JudgeError>> {
        (**self).image(layout, region, memory)
    }

    fn conclude(&mut self, verdict: &Conclusion<'_>) -> Result<(), String> {
        (**self).conclude(verdict)
    }

    fn figures(&self) -> Option<Figures> {
        (**self).figures()
    }
}

/// Why the judge could not look.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JudgeError {
    /// The twin can't be opened for reading.
    #[error(transparent)]
    Twin(#[from] TwinError),
    /// The twin on another host can't be asked.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// One of the two can't be read.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// The guest did not stand still while it was compared.
    #[error(transparent)]
    Guest(#[from] SourceError),
}

/// What the judge has found so far. A loss once seen stays.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    lost: BTreeMap<(RegionId, u64), LostPage>,
    digests: BTreeMap<String, Digests>,
}

impl Findings {
    /// Compares every page of every region of a guest of our own. The twin is read, never repaired.
    ///
    /// Errors: one of the sides can't be read, or the guest ran meanwhile; nothing is known then of
    /// this stop.
    pub(crate) fn look<G: Guest, K: Judged, O: Observer>(
        &mut self,
        still: &mut Still<'_, G, K, O>,
    ) -> Result<(), JudgeError> {
        let window = still.source().window();
        let memories: Vec<Memory> = still.layout().iter().map(|_| Memory(window.clone())).collect();
        self.look_at(still, &memories)
    }

    /// Compares every page of every region with these memories. Errors: as [`Findings::look`].
    pub(crate) fn look_at<S: Source, K: Judged, O: Observer>(
        &mut self,
        still: &mut Still<'_, S, K, O>,
        memories: &[impl Image],
    ) -> Result<(), JudgeError> {
        let layout = still.layout().clone();
        // Entered only when it is known that the guest stood still all the while.
        let compared = still.compare(|still| compare_all(still, &layout, memories))??;
        for (comparison, (id, region)) in compared.iter().zip(layout.iter()) {
            self.enter(id, region, comparison, |page| still.last_round(id, page));
        }
        Ok(())
    }

    /// Enters what a comparison of a region has found. `last_round` says when a page last went.
    pub(crate) fn enter(
        &mut self,
        id: RegionId,
        region: &Region,
        comparison: &Comparison,
        last_round: impl Fn(u64) -> u32,
    ) {
        for difference in &comparison.differing {
            self.lost.entry((id, difference.page)).or_insert_with(|| LostPage {
                last_round: last_round(difference.page),
                ..lost_page(region, difference)
            });
        }
        self.digests.insert(region.name().to_owned(), both_digests(comparison));
    }

    /// Every lost page, in order.
    pub(crate) fn lost(&self) -> Vec<LostPage> {
        self.lost.values().cloned().collect()
    }

    /// The digests of the last look, by region.
    pub(crate) fn digests(&self) -> BTreeMap<String, Digests> {
        self.digests.clone()
    }
}

/// Compares the regions of which there is a twin.
fn compare_all<S: Source, K: Judged, O: Observer>(
    still: &Still<'_, S, K, O>,
    layout: &Layout,
    memories: &[impl Image],
) -> Result<Vec<Comparison>, JudgeError> {
    let mut compared = Vec::new();
    for (memory, (id, region)) in memories.iter().zip(layout.iter()) {
        let Some(twin) = still.sink().image(layout, id, memory).transpose()? else { break };
        compared.push(compare(memory, &*twin, region.page_size())?);
    }
    Ok(compared)
}

/// A page as a report names it.
pub(crate) fn page_at(layout: &Layout, region: RegionId, page: u64) -> PageAt {
    let region = layout.region(region);
    PageAt { region: region.name().to_owned(), gpa: region.gpa_of(page) }
}

/// A page that differs, as a report names it; when it last went to the twin is not known here.
pub fn lost_page(region: &Region, difference: &Difference) -> LostPage {
    LostPage {
        region: region.name().to_owned(),
        gpa: region.gpa_of(difference.page),
        last_round: 0,
        first_byte: u64::from(difference.first_byte),
        bytes: u64::from(difference.bytes),
        hint: difference.hint.map(|hint| hint.to_string()),
        detail: None,
    }
}

/// Both sides' digests, as a report has them.
pub(crate) fn both_digests(comparison: &Comparison) -> Digests {
    Digests { memory: digest_entry(&comparison.memory), twin: digest_entry(&comparison.twin) }
}

/// A side's digests, as a report has them.
pub fn digest_entry(digests: &memtwin_verdict::Digests) -> Digest {
    Digest { blake3: Blake3(*digests.blake3.as_bytes()), bsd_sum: digests.bsd_sum }
}

/// The guest's memory, read by copying.
struct Memory(Arc<Mapping>);

impl Image for Memory {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read(offset as usize, into);
        Ok(())
    }
}
