//! The tap as a source.

use crate::error::OpenError;
use crate::guardian::Guardian;
use crate::opening::{Begun, begin, why};
use crate::pace::Pace;
use crate::stood::Stood;
use crate::undo::{Undo, UndoError};
use crate::watch::Watch;
use crate::wire::{Got, Wire};
use memtwin_pages::{Gpa, Layout, PageSize, Region, RegionId, Window};
use memtwin_qemu::{Block, Ram, migration, status};
use memtwin_qmp::Qmp;
use memtwin_replicate::{Collector, Deliver, GuestState, Source, SourceError, Stop};
use memtwin_stream::{BlockEntry, Decoder};
use std::process::Command;
use std::time::{Duration, Instant};

/// What is read between rounds is kept, up to this many bytes.
const MOST_AHEAD: usize = 256 << 20;
/// After so long without a byte, QEMU is not stuck in sending.
const QUIET: Duration = Duration::from_millis(20);
/// How long is read ahead at once.
const AHEAD: Duration = Duration::from_millis(200);

/// A running QEMU, held in pre-copy.
///
/// Dropped, it leaves QEMU as it was found.
#[derive(Debug)]
pub struct Tap<'q> {
    pub(crate) qmp: &'q mut Qmp,
    pub(crate) wire: Wire,
    pub(crate) decoder: Decoder,
    /// What was read ahead of the first delivery.
    pub(crate) ahead: Vec<u8>,
    pub(crate) watch: Watch,
    pub(crate) counters: Counters,
    /// When the guest was paused last, and when it was let run on.
    pub(crate) stood: Option<Stood>,
    /// The same as it was when the last pages had come: the stand-still that is judged.
    pub(crate) judged: Option<Stood>,
    /// Whether QEMU may end: the word was given.
    pub(crate) may_end: bool,
    /// Whether everything that QEMU sends was read.
    pub(crate) drained: bool,
    layout: Layout,
    /// Which region each listed block is, if it is one.
    pub(crate) regions: Vec<Option<RegionId>>,
    machine: String,
    /// `None` when QEMU was left as it was found.
    pub(crate) post: Option<Post>,
}

/// What must be undone, and who does it if we can't.
#[derive(Debug)]
pub(crate) struct Post {
    undo: Undo,
    /// Dismissed when dropped.
    pub(crate) guardian: Guardian,
}

/// What came in a tap's stream, and what QEMU says it has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counters {
    /// Bytes that were read.
    pub bytes: u64,
    /// Page records that were read.
    pub pages: u64,
    /// QEMU's own counters, as they were last asked for.
    pub qemu: Option<Ram>,
}

impl<'q> Tap<'q> {
    /// Begins a migration to us, up to the list of blocks. From here on QEMU logs what the guest
    /// writes; pages come with the first round.
    ///
    /// `blocks` says where in the guest's physical memory each RAMBlock lies; `guardian` executes
    /// a program that calls [`guardian_main`](crate::guardian_main) and does nothing else.
    ///
    /// Errors: QEMU is left as it was.
    pub fn open(
        qmp: &'q mut Qmp,
        blocks: &[Block],
        guardian: Command,
        stop: &Stop,
    ) -> Result<Self, OpenError> {
        let Begun { wire, decoder, blocks: listed, machine, ahead, undo, guardian } =
            begin(qmp, guardian, stop)?;
        let mut this = Self {
            qmp,
            wire,
            decoder,
            ahead,
            watch: Watch::default(),
            counters: Counters::default(),
            stood: None,
            judged: None,
            may_end: false,
            drained: false,
            layout: Layout::default(),
            regions: (0..listed.len()).map(|at| Some(RegionId(at))).collect(),
            machine,
            post: Some(Post { undo, guardian }),
        };
        // On an error here dropping it leaves QEMU as it was.
        this.layout = layout(&listed, blocks, this.page_size()?)?;
        Ok(this)
    }

    fn page_size(&self) -> Result<PageSize, OpenError> {
        Ok(PageSize::new(u64::from(self.decoder.page_bytes()))?)
    }

    /// The same tap, of one block alone; the others' pages are read and dropped. `None` if there is
    /// no block of this name.
    pub fn only(mut self, name: &str) -> Option<Self> {
        let (at, region) = self.layout.iter().find(|(_, region)| region.name() == name)?;
        let (at, region) = (at.0, region.clone());
        self.regions = (0..self.layout.len()).map(|i| (i == at).then_some(RegionId(0))).collect();
        self.layout = Layout::new(vec![region]);
        Some(self)
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

    /// Leaves QEMU as it was found. Does nothing the second time.
    ///
    /// Errors: QEMU could not be left so; it is tried once more when the tap is dropped.
    pub fn close(&mut self) -> Result<(), UndoError> {
        let Some(post) = &self.post else { return Ok(()) };
        // In its last pass QEMU writes to us with its big lock held: until we read on, or end the
        // stream, it answers no command, and could not be told to cancel.
        if !self.drained {
            self.wire.shut();
        }
        if let Ok(now) = migration(self.qmp) {
            self.counters.qemu = now.ram.or(self.counters.qemu);
        }
        post.undo.run(self.qmp)?;
        self.note_events();
        self.post = None;
        Ok(())
    }

    /// Reads what QEMU sends between rounds, for the next one. If somebody else pauses the guest,
    /// QEMU goes on to its last pass, with its big lock held: unless it is read, no command is
    /// answered, ours or anybody's.
    fn read_ahead(&mut self) -> Result<(), SourceError> {
        // For a while: one that does not hold still has more to say each time.
        let since = Instant::now();
        while self.ahead.len() < MOST_AHEAD && since.elapsed() < AHEAD {
            match self.wire.read(QUIET).map_err(log)? {
                Got::Bytes(count) => self.ahead.extend_from_slice(self.wire.bytes(count)),
                // Why it ended is found out by who asks next.
                Got::Nothing | Got::End => break,
            }
        }
        Ok(())
    }

    /// Sets how fast QEMU goes.
    pub(crate) fn pace(&mut self, pace: Pace) -> Result<(), SourceError> {
        pace.set(self.qmp, self.decoder.page_bytes()).map_err(log)
    }

    /// Why there is no more stream.
    pub(crate) fn ended(&mut self) -> SourceError {
        let why = self.was_stopped().unwrap_or_else(|| why(self.qmp));
        SourceError::Guest(format!("QEMU ended the migration: {why}"))
    }
}

impl Drop for Tap<'_> {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure. A QEMU that is there and was not left as it was found
        // is the guardian's; the end of the stream at least lets the guest run.
        let failed = self.close().err();
        if let Some(error) = failed
            && !error.is_gone()
            && let Some(post) = self.post.take()
        {
            self.wire.shut();
            post.guardian.hand_over();
        }
    }
}

impl Source for Tap<'_> {
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
        if self.may_end { self.close().map_err(log) } else { Ok(()) }
    }

    fn stop_logging(&mut self) -> Result<(), SourceError> {
        self.close().map_err(log)
    }

    fn guest(&mut self) -> Result<GuestState, SourceError> {
        self.read_ahead()?;
        let now = status(self.qmp).map_err(log)?;
        Ok(if now.running { GuestState::Running } else { GuestState::Stopped })
    }

    fn deliverer(&mut self) -> Option<&mut dyn Deliver> {
        Some(self)
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
        let windows: Vec<Window> = blocks
            .iter()
            .find(|block| block.name == entry.name)
            .map(|block| block.windows.clone())
            .unwrap_or_default();
        // The address of its beginning, even if that itself is hidden.
        let first = windows.iter().min_by_key(|window| window.offset);
        let gpa = first.map_or(0, |window| window.gpa.0.saturating_sub(window.offset));
        let region = Region::new(&entry.name, Gpa(gpa), entry.used_bytes, page_size)?;
        Ok(region.in_windows(windows))
    };
    listed.iter().map(region).collect::<Result<Vec<_>, OpenError>>().map(Layout::new)
}
