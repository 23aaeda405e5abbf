//! The tap as a source.

use crate::cleanup::Cleanup;
use crate::error::OpenError;
use crate::hold::{Hold, HoldKind};
use crate::opening::{BegunMigration, TapTarget, begin, why};
use crate::pause::PausedInterval;
use crate::reader::{EndReason, StreamReader, stall_timeout};
use crate::throttle::Pace;
use crate::tracker::{Coverage, RoundTracker};
use memtwin_pages::{Gpa, Layout, PageSize, Region, RegionId, Window};
use memtwin_qemu::{Block, RamCounters, block_name, find_block, status};
use memtwin_qmp::Qmp;
use memtwin_replicate::{CancelToken, Collector, GuestState, PushSource, Source, SourceError};
use memtwin_stream::{BlockEntry, Decoder};
use std::fmt;
use std::process::Command;
use std::time::{Duration, Instant};

/// A running QEMU, held in pre-copy.
///
/// Dropped, it leaves QEMU as it was found.
pub struct MigrationTap<'q> {
    pub(crate) qmp: &'q mut Qmp,
    target: TapTarget,
    guardian: Box<dyn Fn() -> Command + 'q>,
    pub(crate) reader: StreamReader,
    pub(crate) decoder: Decoder,
    pub(crate) tracker: RoundTracker,
    pub(crate) counters: Counters,
    pub(crate) coverage: Coverage,
    pub(crate) hold: Box<dyn Hold>,
    /// Whether it holds this QEMU: known before, or seen.
    pub(crate) is_held: bool,
    /// Why nothing else might hold it, as the end of a sentence.
    no_other: String,
    /// The holds that did not hold this QEMU.
    failed_holds: Vec<HoldKind>,
    pub(crate) pace: Pace,
    /// Whether the guest ran when the tap was opened.
    pub(crate) ran: bool,
    /// How long the guest may stand still for us.
    pub(crate) max_pause: Duration,
    /// When it was seen to run last, in a wait for its pause.
    pub(crate) seen_running: Option<Instant>,
    /// When it was last looked whether QEMU, which may not be held, has paused the guest.
    pub(crate) looked: Option<Instant>,
    /// When it must run again, from the moment when it is seen to be paused.
    pub(crate) resume_by: Option<Instant>,
    /// When the guest was paused last, and when it was let run on.
    pub(crate) paused: Option<PausedInterval>,
    /// The same as it was when the last pages had come: the pause that is judged.
    pub(crate) judged: Option<PausedInterval>,
    /// Whether QEMU may end: it was let go.
    pub(crate) may_end: bool,
    /// Whether it had left pre-copy before it was let go.
    pub(crate) left_early: bool,
    layout: Layout,
    listed: Vec<BlockEntry>,
    /// Which region each listed block is, if it is one.
    pub(crate) regions: Vec<Option<RegionId>>,
    machine: String,
    /// `None` when QEMU was left as it was found, or to the guardian.
    pub(crate) cleanup: Option<Cleanup>,
}

impl fmt::Debug for MigrationTap<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MigrationTap")
            .field("target", &self.target)
            .field("hold", &self.hold)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

/// What came in a tap's stream, and what QEMU says it has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counters {
    /// Bytes that were read.
    pub bytes: u64,
    /// Page records that were read.
    pub pages: u64,
    /// QEMU's own counters, as they were last asked for.
    pub qemu: Option<RamCounters>,
}

impl<'q> MigrationTap<'q> {
    /// Begins a migration to us, up to the list of blocks. From here on QEMU logs what the guest
    /// writes; pages come with the first round.
    ///
    /// `target` is the QEMU that `qmp` speaks with; `blocks` says where in the guest's physical memory each RAMBlock lies; `guardian` executes
    /// a program that calls [`guardian_main`](crate::guardian_main) and does nothing else.
    ///
    /// Errors: QEMU is left as it was.
    pub fn open(
        qmp: &'q mut Qmp,
        target: &TapTarget,
        blocks: &[Block],
        guardian: impl Fn() -> Command + 'q,
        stop: &CancelToken,
    ) -> Result<Self, OpenError> {
        let begun = begin(qmp, target, guardian(), &[], stop)?;
        let pace = pace(&begun);
        let BegunMigration {
            reader,
            decoder,
            blocks: listed,
            machine,
            ran,
            hold,
            is_sure,
            no_other,
            cleanup,
            ..
        } = begun;
        let mut this = Self {
            qmp,
            target: target.clone(),
            guardian: Box::new(guardian),
            reader,
            decoder,
            tracker: RoundTracker::default(),
            counters: Counters::default(),
            coverage: Coverage::default(),
            hold,
            is_held: is_sure,
            no_other,
            failed_holds: Vec::new(),
            pace,
            ran,
            max_pause: target.max_pause,
            seen_running: None,
            looked: None,
            resume_by: None,
            paused: None,
            judged: None,
            may_end: false,
            left_early: false,
            layout: Layout::default(),
            regions: region_ids(&listed),
            listed,
            machine,
            cleanup: Some(cleanup),
        };
        // On an error here dropping it leaves QEMU as it was.
        this.layout = layout(&this.listed, blocks, this.page_size()?)?;
        Ok(this)
    }

    /// Begins anew with the next hold, as this one does not hold this QEMU: everything is sent again.
    ///
    /// Errors: there is no other hold; QEMU can't be tapped any more; it has other blocks now.
    pub(crate) fn open_again(&mut self, stop: &CancelToken) -> Result<(), OpenError> {
        if let Some(cleanup) = self.cleanup.take() {
            cleanup
                .finish(self.qmp, self.reader.socket())
                .map_err(|undo| OpenError::NotUndone { undo })?;
        }
        self.note_events();
        // QEMU does not hold a guest that does not run: somebody has paused it meanwhile.
        if status(self.qmp)?.running {
            self.failed_holds.push(self.hold.kind());
        }
        let guardian = (self.guardian)();
        let begun = begin(self.qmp, &self.target, guardian, &self.failed_holds, stop)?;
        self.pace = pace(&begun);
        let BegunMigration { reader, decoder, blocks, hold, is_sure, .. } = begun;
        let BegunMigration { no_other, cleanup, ran, .. } = begun;
        (self.reader, self.decoder, self.ran) = (reader, decoder, ran);
        (self.hold, self.is_held, self.no_other) = (hold, is_sure, no_other);
        self.cleanup = Some(cleanup);
        (self.tracker, self.counters) = (RoundTracker::default(), Counters::default());
        (self.paused, self.seen_running, self.resume_by) = (None, None, None);
        self.looked = None;
        // On an error here dropping it leaves QEMU as it was.
        if blocks == self.listed { Ok(()) } else { Err(OpenError::OtherBlocks) }
    }

    fn page_size(&self) -> Result<PageSize, OpenError> {
        Ok(PageSize::new(u64::from(self.decoder.page_bytes()))?)
    }

    /// The same tap, of these blocks alone; the others' pages are read and dropped.
    #[must_use]
    pub fn only(mut self, wanted: impl Fn(&Region) -> bool) -> Self {
        let mut kept = Vec::new();
        for region in &mut self.regions {
            let one = region.map(|id| self.layout.region(id)).filter(|region| wanted(region));
            *region = one.map(|_| RegionId(kept.len()));
            kept.extend(one.cloned());
        }
        self.layout = Layout::new(kept);
        self
    }

    /// The regions, also before there is a replication.
    pub fn regions(&self) -> &Layout {
        &self.layout
    }

    /// QEMU's machine type, as the stream names it.
    pub fn machine(&self) -> &str {
        &self.machine
    }

    /// What came, and QEMU's own counters.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What holds it in pre-copy.
    pub fn hold(&self) -> HoldKind {
        self.hold.kind()
    }

    /// Leaves QEMU as it was found. Does nothing the second time.
    ///
    /// Errors: QEMU could not be left so, and who goes on with it; or it had left pre-copy before it was
    /// asked to, so that what came was not the log of a guest that was held. (A guest that somebody has paused
    /// is not held, and needs not be: it does not run afterwards.)
    pub fn close(&mut self) -> Result<(), SourceError> {
        let Some(cleanup) = self.cleanup.take() else { return Ok(()) };
        cleanup.finish(self.qmp, self.reader.socket()).map_err(log)?;
        let now = status(self.qmp).map_err(log)?;
        self.note_events();
        if self.left_early && self.ran && now.running {
            let tried = self.hold.kind().to_string();
            return Err(log(OpenError::NotHeld { tried, more: self.no_other.clone() }));
        }
        Ok(())
    }

    /// Why there is no more stream.
    pub(crate) fn ended(&mut self) -> SourceError {
        if let Some(why) = self.was_cut() {
            return SourceError::Guest(why);
        }
        match self.reader.why_ended() {
            Some(EndReason::Stalled) => {
                let timeout = stall_timeout(self.max_pause).as_millis();
                let why = format!(
                    "this machine is too busy: nothing was taken from QEMU's stream for {timeout} ms, so it \
                     was ended for QEMU not to wait; with a longer --max-pause it may wait as long"
                );
                SourceError::Log(why.into())
            }
            Some(EndReason::Failed(errno)) => SourceError::Log(errno.into()),
            _ => {
                let why = why(self.qmp);
                SourceError::Guest(format!("QEMU ended the migration: {why}"))
            }
        }
    }
}

impl Drop for MigrationTap<'_> {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure; a QEMU that was not left as it was found is the guardian's.
        let _ = self.close();
    }
}

impl Source for MigrationTap<'_> {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn start_logging(&mut self) -> Result<(), SourceError> {
        // Since it was opened.
        Ok(())
    }

    fn collect(&mut self, _into: &mut dyn Collector) -> Result<(), SourceError> {
        Err(SourceError::Log("QEMU collects its log by itself".into()))
    }

    fn read(&mut self, _: RegionId, _: u64, _: &mut [u8]) -> Result<(), SourceError> {
        Err(SourceError::Memory("QEMU sends each page once, and nothing can be read".into()))
    }

    fn pause(&mut self) -> Result<(), SourceError> {
        // QEMU pauses it with its last pages: in the final round.
        Ok(())
    }

    fn confirm_paused(&mut self) -> Result<(), SourceError> {
        self.confirm_still()
    }

    fn resume(&mut self) -> Result<(), SourceError> {
        if self.may_end { self.close() } else { Ok(()) }
    }

    fn stop_logging(&mut self) -> Result<(), SourceError> {
        self.close()
    }

    fn guest(&mut self) -> Result<GuestState, SourceError> {
        let now = status(self.qmp).map_err(log)?;
        Ok(if now.running { GuestState::Running } else { GuestState::Stopped })
    }

    fn push_source(&mut self) -> Option<&mut dyn PushSource> {
        Some(self)
    }
}

fn pace(begun: &BegunMigration) -> Pace {
    Pace {
        page_bytes: begun.decoder.page_bytes(),
        is_told: begun.is_told,
        held_bytes: begun.hold.held_bytes(),
        sent_lately: 0,
    }
}

pub(crate) fn log(error: impl std::error::Error + Send + Sync + 'static) -> SourceError {
    SourceError::Log(Box::new(error))
}

/// The regions that QEMU has listed, each where the guest sees it.
fn layout(
    listed: &[BlockEntry],
    blocks: &[Block],
    page_size: PageSize,
) -> Result<Layout, OpenError> {
    let region = |entry: &BlockEntry| {
        let name = block_name(&entry.name);
        let windows: Vec<Window> =
            find_block(blocks, &name).map(|block| block.windows.clone()).unwrap_or_default();
        // The address of its beginning, even if that itself is hidden.
        let first = windows.iter().min_by_key(|window| window.offset);
        let gpa = first.map_or(0, |window| window.gpa.0.saturating_sub(window.offset));
        let region = Region::new(name, Gpa(gpa), entry.used_bytes, page_size)?;
        Ok(region.in_windows(windows))
    };
    let with_bytes = listed.iter().filter(|entry| entry.used_bytes > 0);
    with_bytes.map(region).collect::<Result<Vec<_>, OpenError>>().map(Layout::new)
}

/// Which region each listed block is: those without bytes are none.
fn region_ids(listed: &[BlockEntry]) -> Vec<Option<RegionId>> {
    let mut ids = (0..).map(RegionId);
    listed.iter().map(|entry| if entry.used_bytes > 0 { ids.next() } else { None }).collect()
}
