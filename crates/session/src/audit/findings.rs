//! What an audit has found so far, RAMBlock by RAMBlock. A loss once seen stays.
//!
//! Memory may be plugged and unplugged between two stops. A block is known by its name and its size: what
//! comes back with another size is another block.

use super::cases::{micros, not_judged};
use super::rounds::RegionRounds;
use super::untested::untested;
use crate::judge::{StopTiming, Swept, SweptRegion};
use crate::paused_read::PausedRead;
use crate::qemu_guest::tapped;
use crate::read_twin::TwinPart;
use crate::verdict::Override;
use memtwin_pages::{Image, Layout, PageSet, Region};
use memtwin_qemu::Block;
use memtwin_replicate::RoundKind;
use memtwin_report::Case;
use memtwin_report::record::{
    Detail, HeatMap, HypervisorFacts, JudgeFacts, JudgeKind, LostPage, PageAt, RegionDigests,
    RoundEntry,
};
use memtwin_tap::MigrationTap;
use memtwin_verdict::{Comparison, Difference};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Of how many lost pages of a block the bytes are shown, and how many bytes of each.
const DETAILED: usize = 16;
const SHOWN_BYTES: u64 = 8;

/// What was seen of a region at a stop.
pub(super) struct BlockSeen<'s> {
    pub(super) region: &'s Region,
    pub(super) differing: &'s [Difference],
    pub(super) read: &'s PausedRead<'s, TwinPart>,
    pub(super) twin: &'s TwinPart,
}

/// The findings.
pub(super) struct AuditFindings {
    source: String,
    hypervisor: HypervisorFacts,
    /// When the audit began.
    began: Instant,
    entries: Vec<BlockFindings>,
    /// How many rounds came before the tap that is entered now.
    before: u32,
    rounds: u32,
    deltas: u32,
    dirty: u64,
    /// How many stops were judged.
    stops: u32,
    /// The longest time that the guest stood still at a stop.
    longest_pause: Option<Duration>,
    control: Option<ControlFindings>,
    trouble: Option<String>,
    notes: Vec<String>,
}

pub(super) struct BlockFindings {
    pub(super) region: Region,
    /// How many blocks of this name, but other sizes, came before it.
    pub(super) namesakes: usize,
    /// At how many stops it was judged.
    pub(super) stops: u32,
    pub(super) rounds: Vec<RoundEntry>,
    /// Where its pages were dirtied.
    pub(super) heat: Option<HeatMap>,
    pub(super) lost: BTreeMap<u64, LostPage>,
    /// Pages that differ and that QEMU never sent.
    pub(super) missing: BTreeSet<u64>,
    /// Pages that the guest gave up.
    pub(super) discarded: PageSet,
    /// Pages that differ and that the guest may have given up.
    pub(super) unclear: BTreeSet<u64>,
    /// Pages that differ, and no pause has told whether they are lost.
    pub(super) unconfirmed: BTreeSet<u64>,
    pub(super) digests: Option<RegionDigests>,
    /// How it was judged, while its guest ran.
    pub(super) judge: Option<JudgeFacts>,
}

pub(super) struct ControlFindings {
    pub(super) region: Region,
    pub(super) injected: Vec<PageAt>,
    pub(super) found: Vec<LostPage>,
    pub(super) digests: Option<RegionDigests>,
    pub(super) judge: Option<JudgeFacts>,
}

impl AuditFindings {
    /// Nothing yet.
    pub(super) fn new(source: String, hypervisor: HypervisorFacts) -> Self {
        Self {
            source,
            hypervisor,
            began: Instant::now(),
            entries: Vec::new(),
            before: 0,
            rounds: 0,
            deltas: 0,
            dirty: 0,
            stops: 0,
            longest_pause: None,
            control: None,
            trouble: None,
            notes: Vec::new(),
        }
    }

    /// No rounds yet, of this audit.
    pub(super) fn no_rounds(&self) -> RegionRounds {
        RegionRounds::since(self.began)
    }

    /// QEMU is tapped so.
    pub(super) fn tapped(&mut self, tap: &MigrationTap<'_>) {
        self.hypervisor = tapped(&self.hypervisor, tap);
    }

    /// Whether nothing has been entered.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many rounds there were after pre-copy.
    pub(super) fn deltas(&self) -> u32 {
        self.deltas
    }

    /// Enters a tap's rounds, numbered on from those before.
    pub(super) fn begin(&mut self, layout: &Layout, rounds: &RegionRounds) {
        self.before = self.rounds;
        for (id, region) in layout.iter() {
            let of_region = rounds.of_region(id.0, self.before);
            let entry = self.entry(region);
            entry.rounds.extend(of_region);
            match (&mut entry.heat, rounds.heat(id.0)) {
                (Some(heat), Some(more)) => heat.add(more),
                (none, more) => *none = more.cloned(),
            }
        }
        for round in rounds.all() {
            self.rounds += 1;
            self.deltas += u32::from(round.kind == RoundKind::Delta);
            if round.kind != RoundKind::PreCopy {
                self.dirty += round.dirty_pages;
            }
        }
    }

    /// Notes how a stop went.
    pub(super) fn stopped(&mut self, timing: StopTiming) {
        let StopTiming { paused, compared, bytes, .. } = timing;
        self.stops += 1;
        let pause = paused.and_then(|paused| paused.time());
        self.longest_pause = self.longest_pause.max(pause);
        let still = pause.map_or_else(
            || "the guest was not running".to_owned(),
            |time| format!("the guest stood still for {} ms", time.as_millis()),
        );
        let rate = bytes as f64 / compared.as_secs_f64().max(1e-9) / 1e9;
        self.notes.push(format!(
            "stop after round {}: {still}; {} MiB compared in {} ms ({rate:.1} GB/s)",
            self.rounds.saturating_sub(1),
            bytes >> 20,
            compared.as_millis(),
        ));
        self.note_counters(&timing);
    }

    /// Notes how sweeps over a running guest ended, in a pause or without one.
    pub(super) fn ended(&mut self, timing: &StopTiming, swept: &Swept) {
        self.stops += 1;
        let pause = timing.paused.and_then(|paused| paused.time());
        self.longest_pause = self.longest_pause.max(pause);
        let suspects: u64 = swept.regions.iter().map(|region| region.counts.suspects).sum();
        let paused = match pause {
            None => "the guest was not paused".to_owned(),
            Some(time) => format!("the guest stood still for {} ms for them", time.as_millis()),
        };
        self.notes.push(format!(
            "{} of {} MiB beside the running guest, {} MB/s; {suspects} pages were suspects for a while; {paused}",
            match swept.sweeps {
                1 => "1 sweep".to_owned(),
                sweeps => format!("{sweeps} sweeps"),
            },
            timing.bytes >> 20,
            swept.bytes_per_second / 1_000_000,
        ));
        self.note_counters(timing);
    }

    /// Notes how many pages have come, by our count and QEMU's.
    fn note_counters(&mut self, timing: &StopTiming) {
        let counters = &timing.counters;
        if let Some(qemu) = counters.qemu {
            self.notes.push(format!(
                "pages received: {}; QEMU's count: {} ({} of one byte), {} collections of its log",
                counters.pages,
                qemu.normal + qemu.duplicate,
                qemu.duplicate,
                qemu.dirty_sync_count,
            ));
        }
    }

    /// Enters a region's comparison at a stop.
    pub(super) fn compared(&mut self, seen: &BlockSeen<'_>, comparison: &Comparison) {
        self.seen(seen);
        let entry = self.entry(seen.region);
        entry.stops += 1;
        entry.digests = Some(comparison.into());
    }

    /// Enters a region's sweeps while the guest ran, and what its suspects were in a pause, if there was one.
    pub(super) fn swept(
        &mut self,
        region: &Region,
        swept: &Swept,
        of_region: &SweptRegion,
        confirmed: Option<&BlockSeen<'_>>,
    ) {
        let before = self.entry(region).lost.len() as u64;
        if let Some(seen) = confirmed {
            self.seen(seen);
        }
        let longest_pause = self.longest_pause;
        let entry = self.entry(region);
        entry.stops += 1;
        entry.discarded.union_with(&of_region.discarded);
        entry.missing.extend(&of_region.missing);
        entry.unconfirmed.extend(&of_region.unconfirmed);
        let confirmed = entry.lost.len() as u64 - before;
        entry.judge = Some(JudgeFacts {
            kind: JudgeKind::Running,
            sweeps: u64::from(swept.sweeps),
            pages_compared: of_region.compared,
            suspects: of_region.counts.suspects,
            dismissed: of_region
                .counts
                .suspects
                .saturating_sub(confirmed + of_region.unconfirmed.count()),
            confirmed,
            paused_us: longest_pause.map(micros),
            read_bytes_per_second: Some(swept.bytes_per_second),
        });
    }

    /// Enters which of a region's pages that differ are lost.
    fn seen(&mut self, seen: &BlockSeen<'_>) {
        let before = self.before;
        let entry = self.entry(seen.region);
        // At every stop again.
        entry.discarded.insert_words(seen.read.discarded.words());
        for difference in seen.differing {
            if seen.read.never_sent.contains(difference.page) {
                entry.missing.insert(difference.page);
                continue;
            }
            if seen.read.is_unclear(difference.page) {
                entry.unclear.insert(difference.page);
                continue;
            }
            let detailed = entry.lost.len() < DETAILED;
            entry.lost.entry(difference.page).or_insert_with(|| LostPage {
                last_round: before
                    + seen.read.last_round.get(&difference.page).copied().unwrap_or_default(),
                detail: detailed.then(|| detail(seen, difference)),
                ..LostPage::of(seen.region, difference)
            });
        }
    }

    /// Enters what a judge of the running guest found when these pages were withheld from it.
    pub(super) fn control_swept(
        &mut self,
        region: &Region,
        swept: &Swept,
        of_region: &SweptRegion,
    ) {
        let injected = &of_region.withheld;
        if injected.is_empty() && self.control.is_some() {
            return;
        }
        let at = |&page: &u64| PageAt::of(region, page);
        self.control = Some(ControlFindings {
            region: region.clone(),
            injected: injected.iter().map(at).collect(),
            found: of_region.found.iter().map(|found| LostPage::of(region, found)).collect(),
            digests: None,
            judge: Some(JudgeFacts {
                kind: JudgeKind::Running,
                sweeps: u64::from(swept.sweeps),
                pages_compared: of_region.compared,
                suspects: injected.len() as u64,
                dismissed: 0,
                confirmed: 0,
                paused_us: None,
                read_bytes_per_second: Some(swept.bytes_per_second),
            }),
        });
    }

    /// Enters what the judge found when pages were withheld from it. What the log itself has lost
    /// is no part of that.
    pub(super) fn control(
        &mut self,
        region: &Region,
        injected: BTreeSet<u64>,
        comparison: &Comparison,
    ) {
        // A later stop may have nothing to withhold.
        if injected.is_empty() && self.control.is_some() {
            return;
        }
        let entry = self.entry(region);
        let unexplained = |page: u64| {
            entry.lost.contains_key(&page)
                || entry.missing.contains(&page)
                || entry.unclear.contains(&page)
        };
        let found = comparison
            .differing
            .iter()
            .filter(|found| injected.contains(&found.page) || !unexplained(found.page))
            .map(|found| LostPage::of(region, found))
            .collect();
        let at = |&page: &u64| PageAt::of(region, page);
        self.control = Some(ControlFindings {
            region: region.clone(),
            injected: injected.iter().map(at).collect(),
            found,
            digests: Some(comparison.into()),
            judge: None,
        });
    }

    /// Whether something broke off.
    pub(super) fn has_trouble(&self) -> bool {
        self.trouble.is_some()
    }

    /// Something broke off, and why.
    pub(super) fn trouble(&mut self, reason: String) {
        self.trouble = Some(reason);
    }

    /// Every block's case, the control's, and what else there is to say. `why_idle`: of a guest that
    /// does not run, why not.
    pub(super) fn close(
        self,
        blocks: &[Block],
        why_idle: Option<&str>,
    ) -> (Vec<Case>, Vec<String>) {
        let Self {
            source,
            hypervisor,
            entries,
            dirty,
            stops,
            longest_pause,
            control,
            trouble,
            mut notes,
            ..
        } = self;
        notes.extend(entries.iter().filter_map(|entry| entry.presence(stops)));
        let not_judged = not_judged(&source, blocks, &entries, trouble.as_deref());
        let control = control.filter(|_| trouble.is_none() && dirty > 0);
        let logged = dirty > 0;
        let judged = entries.into_iter().map(|entry| {
            let nothing_logged =
                (!logged).then(|| Override::NothingLogged(untested(entry.lost.len(), why_idle)));
            entry
                .case(&source, trouble.clone(), nothing_logged, longest_pause)
                .with_guest_pause(longest_pause)
        });
        let mut cases: Vec<Case> = judged.collect();
        cases.extend(control.map(|control| control.case(&source)));
        cases.extend(not_judged);
        let with_hypervisor = |case: Case| case.with_hypervisor(Some(hypervisor.clone()));
        (cases.into_iter().map(with_hypervisor).collect(), notes)
    }

    fn entry(&mut self, region: &Region) -> &mut BlockFindings {
        let namesakes = self.entries.iter().filter(|it| it.region.name() == region.name()).count();
        let key = |region: &Region| (region.name().to_owned(), region.bytes());
        let found = self.entries.iter().position(|entry| key(&entry.region) == key(region));
        let at = found.unwrap_or_else(|| {
            self.entries.push(BlockFindings {
                region: region.clone(),
                namesakes,
                stops: 0,
                rounds: Vec::new(),
                heat: None,
                lost: BTreeMap::new(),
                missing: BTreeSet::new(),
                discarded: PageSet::new(region.pages()),
                unclear: BTreeSet::new(),
                unconfirmed: BTreeSet::new(),
                digests: None,
                judge: None,
            });
            self.entries.len() - 1
        });
        &mut self.entries[at]
    }
}

impl BlockFindings {
    /// Of a block that was not there at each of the stops: that it is judged for some of them.
    fn presence(&self, stops: u32) -> Option<String> {
        let (name, bytes) = (self.region.name(), self.region.bytes());
        (0 < self.stops && self.stops < stops).then(|| {
            format!(
                "RAMBlock {name} of {bytes} bytes was there at {} of {stops} stops, and is judged for these",
                self.stops
            )
        })
    }
}

/// Where a page differs, and the first bytes there, of whole 8-byte words.
fn detail(seen: &BlockSeen<'_>, difference: &Difference) -> Detail {
    let size = seen.region.page_size();
    let offset = size.offset_of(difference.page);
    let from = u64::from(difference.first_byte) & !7;
    let mut bytes = [0; SHOWN_BYTES as usize];
    let mut hex = |image: &dyn Image| match image.read_at(offset + from, &mut bytes) {
        Ok(()) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        Err(error) => error.to_string(),
    };
    let (twin, memory) = (hex(seen.twin), hex(&seen.read.memory));
    let ranges = difference.ranges.iter();
    Detail {
        offset,
        ranges: ranges.map(|range| (range.start.into(), range.end.into())).collect(),
        twin,
        memory,
    }
}
