//! What is known of the case that runs, and the line that says it.

use super::spark::Sparkline;
use crate::text::count;
use memtwin_replicate::{ReplicationEvent, RoundKind};
use std::time::{Duration, Instant};

/// This many rounds are shown as bars.
const ROUNDS_SHOWN: usize = 16;

/// The bar that shows how far a round has come is so wide.
const BAR: usize = 12;

/// A speed is measured over at least so long: shorter, and it would flicker.
const SPEED_OVER: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct LiveLine {
    cases: usize,
    number: usize,
    name: String,
    /// The round that runs, or ran last.
    round: u32,
    /// The pages that the log named in the last committed round.
    dirty: u64,
    recent: Sparkline,
    /// Pages copied of pages to copy, in the round that runs.
    copied: (u64, u64),
    /// Pages copied in the rounds before it.
    sent: u64,
    /// When how many pages had been copied, to measure from.
    mark: Option<(Instant, u64)>,
    pages_per_second: Option<u64>,
    paused: bool,
}

impl LiveLine {
    pub(super) fn new(cases: usize) -> Self {
        Self {
            cases,
            number: 0,
            name: String::new(),
            round: 0,
            dirty: 0,
            recent: Sparkline::new(ROUNDS_SHOWN),
            copied: (0, 0),
            sent: 0,
            mark: None,
            pages_per_second: None,
            paused: false,
        }
    }

    /// Whether there is only one case.
    pub(super) fn alone(&self) -> bool {
        self.cases <= 1
    }

    /// Whether the guest is paused.
    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// The next case begins.
    pub(super) fn case(&mut self, name: String) {
        *self = Self { name, number: self.number + 1, ..Self::new(self.cases) };
    }

    pub(super) fn hear(&mut self, event: &ReplicationEvent<'_>) {
        match event {
            ReplicationEvent::Started(layout) => self.copied = (0, layout.pages()),
            ReplicationEvent::Collected { round, .. } => {
                self.round = *round;
                self.copied.0 = 0;
            }
            ReplicationEvent::Copied { pages, of } => self.copied = (*pages, *of),
            ReplicationEvent::Round(round) => {
                self.round = round.n;
                self.dirty = round.dirty_pages;
                self.sent += round.sent_pages;
                self.copied = (0, 0);
                // Pre-copy has no log, and so no bar.
                if round.kind != RoundKind::PreCopy {
                    self.recent.push(round.dirty_pages);
                }
            }
            ReplicationEvent::Shares { .. } => {}
            ReplicationEvent::Paused => self.paused = true,
            ReplicationEvent::Resumed(_) => self.paused = false,
        }
    }

    /// Takes the speed, if it is time.
    pub(super) fn measure(&mut self, now: Instant) {
        let pages = self.sent + self.copied.0;
        let Some((since, before)) = self.mark else {
            self.mark = Some((now, pages));
            return;
        };
        let time = now.duration_since(since);
        if time >= SPEED_OVER {
            // A round that failed is copied again, and counted once.
            let speed = pages.saturating_sub(before) as f64 / time.as_secs_f64();
            self.pages_per_second = Some(speed as u64);
            self.mark = Some((now, pages));
        }
    }

    /// `[3/14] `, or nothing if there is only one case.
    pub(super) fn position(&self) -> String {
        if self.alone() { String::new() } else { format!("[{}/{}] ", self.number, self.cases) }
    }

    /// The live line.
    pub(super) fn line(&self) -> String {
        let mut line = format!("{} {}{}  {}", self.bar(), self.position(), self.name, self.round());
        let bars = self.recent.bars();
        if !bars.is_empty() {
            line += &format!("  {} dirty {bars}", self.dirty);
        }
        if let Some(speed) = self.pages_per_second {
            line += &format!("  {speed} pages/s");
        }
        if self.paused {
            line += "  guest paused";
        }
        line
    }

    /// The line where there is no terminal.
    pub(super) fn plain_line(&self) -> String {
        let mut line = format!("{}: {}", self.name, self.round());
        if self.round > 0 {
            line += &format!(", {}", count(self.dirty, "dirty page"));
        }
        if let Some(speed) = self.pages_per_second {
            line += &format!(", {speed} pages/s");
        }
        line
    }

    fn round(&self) -> String {
        match self.round {
            0 => "pre-copy".to_owned(),
            n => format!("round {n}"),
        }
    }

    /// How far the round's copy has come; a round with nothing to copy has come to its end.
    fn bar(&self) -> String {
        let (copied, of) = self.copied;
        let full = match of {
            0 => BAR,
            of => (copied.min(of) as f64 / of as f64 * BAR as f64) as usize,
        };
        "█".repeat(full) + &"░".repeat(BAR - full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtwin_replicate::Round;

    fn round(n: u32, kind: RoundKind, pages: u64) -> Round {
        let none = Duration::ZERO;
        Round {
            n,
            kind,
            dirty_pages: if kind == RoundKind::PreCopy { 0 } else { pages },
            sent_pages: pages,
            false_dirty_pages: 0,
            zero_pages: 0,
            bytes: 0,
            collect: none,
            copy: none,
            total: none,
        }
    }

    #[test]
    fn the_line_tells_of_the_rounds() {
        let mut state = LiveLine::new(3);
        state.case("kvm/get".into());
        assert_eq!(state.line(), "████████████ [1/3] kvm/get  pre-copy");
        let began = Instant::now();
        state.measure(began);
        state.hear(&ReplicationEvent::Copied { pages: 64, of: 256 });
        assert_eq!(state.line(), "███░░░░░░░░░ [1/3] kvm/get  pre-copy");
        state.hear(&ReplicationEvent::Round(&round(0, RoundKind::PreCopy, 256)));
        state.hear(&ReplicationEvent::Collected { round: 1, named: &[] });
        state.hear(&ReplicationEvent::Round(&round(1, RoundKind::Delta, 44)));
        state.measure(began + Duration::from_secs(2));
        state.hear(&ReplicationEvent::Paused);
        state.hear(&ReplicationEvent::Round(&round(2, RoundKind::Final, 0)));
        assert_eq!(
            state.line(),
            "████████████ [1/3] kvm/get  round 2  0 dirty █▁  150 pages/s  guest paused"
        );
        state.hear(&ReplicationEvent::Resumed(Duration::ZERO));
        assert!(state.line().ends_with("150 pages/s"));
        state.case("kvm/clear".into());
        assert!(state.line().ends_with("[2/3] kvm/clear  pre-copy"));
    }

    #[test]
    fn a_lone_case_has_no_number() {
        let mut state = LiveLine::new(1);
        state.case("replicate/process".into());
        state.hear(&ReplicationEvent::Round(&round(1, RoundKind::Delta, 1)));
        assert_eq!(state.plain_line(), "replicate/process: round 1, 1 dirty page");
    }
}
