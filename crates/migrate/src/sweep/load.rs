//! The load of a sweep: `dirtyram` at one interval, started and stopped in the guest, and what it says it
//! has achieved. A load that missed its intervals is not that load.

use crate::experiment::ORDER_TIMEOUT;
use crate::guest::console::Console;
use crate::guest::heartbeat::{self, LoadSecond as Second};
use memtwin_lab::Progress;
use memtwin_report::Failure;
use memtwin_report::record::Achieved;
use std::time::Duration;

/// A load that missed more than this part of its intervals is not the one that was asked for.
const MISSED: f64 = 0.1;

/// What `dirtyram` is told, but for the interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LoadSpec {
    pub(super) pages: u64,
    pub(super) dirty: u64,
    more: String,
}

/// A load that runs.
#[derive(Clone, Debug)]
pub(super) struct RunningLoad {
    name: String,
    pub(super) interval: u64,
    dirty: u64,
    /// How many seconds it has told of so far.
    told: usize,
}

impl LoadSpec {
    /// Reads the parameters of a load, whose interval is left out of account.
    ///
    /// Errors: they are none.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = || {
            Failure::usage(format!("--load '{text}': expected PAGES DIRTY MS, as 409600 2048 50"))
        };
        let mut words = text.split_whitespace();
        let mut number = || words.next()?.parse::<u64>().ok().filter(|number| *number > 0);
        let (pages, dirty) = number().zip(number()).ok_or_else(wrong)?;
        words.next().ok_or_else(wrong)?;
        let more = words.map(|word| format!(" {word}")).collect();
        Ok(Self { pages, dirty, more })
    }

    /// The same pages, at rest.
    pub(super) fn resting(&self) -> Self {
        Self { dirty: 1, ..self.clone() }
    }

    /// Starts it in the guest, and waits until it has all its pages.
    ///
    /// Errors: the guest does not.
    pub(super) fn start(
        &self,
        name: String,
        interval: u64,
        console: &Console,
        progress: &mut dyn Progress,
    ) -> Result<RunningLoad, Failure> {
        let Self { pages, dirty, more } = self;
        let lines = [
            format!("start {name} dirtyram {pages} {dirty} {interval}{more}"),
            format!(
                "run for i in $(seq 600); do [ -s /run/{name}.log ] && exit 0; usleep 200000; done; exit 1"
            ),
        ];
        for line in lines {
            console.succeed(&line, ORDER_TIMEOUT, progress).map_err(Failure::environment)?;
        }
        Ok(RunningLoad { name, interval, dirty: *dirty, told: 0 })
    }
}

impl RunningLoad {
    /// What it has achieved since it was last asked. `pause`: how long the guest stood still meanwhile only
    /// for its memory to be judged; a guest whose clock went on counts that as missed, so that second is
    /// left out.
    ///
    /// Errors: the guest does not answer.
    pub(super) fn achieved(
        &mut self,
        console: &Console,
        pause: Duration,
        progress: &mut dyn Progress,
    ) -> Result<Achieved, Failure> {
        let said = console.succeed(&format!("log {}", self.name), ORDER_TIMEOUT, progress);
        let said = said.map_err(Failure::environment)?;
        let seconds = heartbeat::load_seconds(said.iter().map(String::as_str));
        let news = seconds.get(self.told..).unwrap_or_default();
        self.told = seconds.len();
        Ok(sum(&without(news, pause), self.dirty))
    }

    /// Ends it.
    ///
    /// Errors: the guest does not answer.
    pub(super) fn stop(
        self,
        console: &Console,
        progress: &mut dyn Progress,
    ) -> Result<(), Failure> {
        let stopped = console.order(&format!("stop {}", self.name), ORDER_TIMEOUT, progress);
        stopped.map(drop).map_err(Failure::environment)
    }
}

/// The seconds without the one of a pause, if one saw it.
fn without(seconds: &[Second], pause: Duration) -> Vec<Second> {
    let longest = seconds.iter().enumerate().max_by(|a, b| a.1.stall.total_cmp(&b.1.stall));
    let saw = |second: &Second| !pause.is_zero() && second.stall >= pause.as_secs_f64() * 500.0;
    let out = longest.filter(|(_, second)| saw(second)).map(|(at, _)| at);
    let rest = seconds.iter().enumerate().filter(|(at, _)| Some(*at) != out);
    rest.map(|(_, second)| *second).collect()
}

fn sum(seconds: &[Second], dirty: u64) -> Achieved {
    let pages: f64 = seconds.iter().map(|second| second.pages).sum();
    Achieved {
        pages_per_second: (pages / seconds.len().max(1) as f64) as u64,
        batches: (pages / dirty as f64).round() as u64,
        missed: seconds.iter().map(|second| second.missed).sum(),
    }
}

/// Which part of its intervals a load missed.
pub(super) fn missed(achieved: &Achieved) -> f64 {
    achieved.missed as f64 / (achieved.missed + achieved.batches).max(1) as f64
}

/// Whether it is the load that was asked for. One that has said nothing is not.
pub(super) fn kept(achieved: &Achieved) -> bool {
    achieved.batches > 0 && missed(achieved) <= MISSED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_read_without_its_interval() {
        let work = LoadSpec::parse("409600 2048 50 --random").unwrap();
        assert_eq!((work.pages, work.dirty, work.more.as_str()), (409_600, 2048, " --random"));
        for bad in ["", "409600", "409600 2048", "0 1 2", "a b c"] {
            assert!(LoadSpec::parse(bad).is_err(), "'{bad}' was taken");
        }
    }

    #[test]
    fn a_load_that_missed_its_intervals_is_not_that_load() {
        let second = |pages: f64, missed| Second { pages, missed, stall: 0.0 };
        let steady = sum(&[second(2000.0, 0), second(1900.0, 1)], 100);
        assert_eq!(steady, Achieved { pages_per_second: 1950, batches: 39, missed: 1 });
        assert!(kept(&steady) && (missed(&steady) - 0.025).abs() < 1e-9);
        assert!(!kept(&sum(&[second(900.0, 11)], 100)));
        assert!(!kept(&sum(&[], 100)), "nothing was said");
    }

    #[test]
    fn the_second_of_a_pause_is_left_out_where_the_guest_saw_it() {
        let second = |missed, stall| Second { pages: 100.0, missed, stall };
        let seen = [second(0, 2.0), second(240, 12_010.0), second(1, 60.0)];
        let pause = Duration::from_secs(12);
        assert_eq!(without(&seen, pause), [seen[0], seen[2]]);
        assert_eq!(without(&seen, Duration::ZERO), seen);
        assert_eq!(
            without(&[seen[0], seen[2]], pause),
            [seen[0], seen[2]],
            "its clock stood still"
        );
    }
}
