//! Faults under way: each is broken and mended from a thread of its own, while the guest moves.

mod boards;
mod kind;

pub(crate) use boards::BoardFaults;
pub use kind::{FaultKind, MigrationFault};

use memtwin_replicate::CancelToken;
use memtwin_report::Failure;
use std::fmt::Debug;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What can be broken, and mended.
pub(crate) trait Breakable: Debug + Send + Sync {
    /// Breaks it, or mends it, for the hop with this number.
    ///
    /// Errors: it can't be done, in words.
    fn set(&self, what: FaultKind, hop: u16, broken: bool) -> Result<(), String>;
}

/// The faults of an experiment.
#[derive(Debug)]
pub(crate) struct FaultSchedule<'f> {
    wanted: Vec<MigrationFault>,
    place: Option<Arc<dyn Breakable>>,
    stop: &'f CancelToken,
    begun: Vec<BegunFault>,
    /// What should have been broken and was not, or can't be mended: the experiment shows nothing of it.
    pub(crate) missed: Option<String>,
}

#[derive(Debug)]
struct BegunFault {
    fault: MigrationFault,
    /// How long it was broken.
    thread: JoinHandle<Result<Duration, String>>,
    /// Mends what has no time of its own.
    over: CancelToken,
}

impl<'f> FaultSchedule<'f> {
    /// These, of that place.
    ///
    /// Errors: nothing can be broken there.
    pub(crate) fn new(
        wanted: &[MigrationFault],
        place: Option<Arc<dyn Breakable>>,
        stop: &'f CancelToken,
    ) -> Result<Self, Failure> {
        if place.is_none() && !wanted.is_empty() {
            return Err(Failure::usage(
                "--fault needs --hosts emulated: boards and a network of ours",
            ));
        }
        Ok(Self { wanted: wanted.to_vec(), place, stop, begun: Vec::new(), missed: None })
    }

    /// Begins those of a hop, once. What there is to say of it.
    pub(crate) fn begin(&mut self, hop: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let Some(place) = &self.place else { return lines };
        for fault in self.wanted.extract_if(.., |fault| usize::from(fault.hop) == hop) {
            lines.push(format!("fault: {}", fault.what));
            let (place, stop, over) =
                (Arc::clone(place), self.stop.clone(), CancelToken::default());
            let wait = if fault.lasts.is_some() { stop } else { over.clone() };
            let lasts = fault.lasts.unwrap_or(Duration::MAX);
            let thread = thread::spawn(move || {
                place.set(fault.what, fault.hop, true)?;
                let began = Instant::now();
                wait.wait(lasts);
                place.set(fault.what, fault.hop, false)?;
                Ok(began.elapsed())
            });
            self.begun.push(BegunFault { fault, thread, over });
        }
        lines
    }

    /// The hop is over: waits until all is mended, and tells what was broken.
    pub(crate) fn end(&mut self, hop: usize) -> Vec<String> {
        let (mut lines, mut failed) = (Vec::new(), None);
        for begun in self.begun.drain(..) {
            begun.over.set();
            let done = begun.thread.join();
            match done.unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
                Ok(lasted) => {
                    lines.push(format!(
                        "fault: {}, for {:.1} s",
                        begun.fault,
                        lasted.as_secs_f64()
                    ));
                }
                Err(error) => failed = Some(error),
            }
        }
        let missed = self.wanted.iter().any(|fault| usize::from(fault.hop) == hop);
        let missed = missed.then(|| "the move was over before it came".to_owned());
        if !self.stop.is_set() {
            self.missed = self.missed.take().or(failed).or(missed);
        }
        lines
    }
}

impl Drop for FaultSchedule<'_> {
    fn drop(&mut self) {
        // What has a time is mended by its own thread, or ends with its board.
        self.begun.iter().for_each(|begun| begun.over.set());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Debug, Default)]
    struct Noted(Mutex<Vec<(FaultKind, u16, bool)>>);

    impl Breakable for Noted {
        fn set(&self, what: FaultKind, hop: u16, broken: bool) -> Result<(), String> {
            self.0.lock().unwrap().push((what, hop, broken));
            if what == FaultKind::Nfs { Err("no server".to_owned()) } else { Ok(()) }
        }
    }

    #[test]
    fn what_was_broken_is_mended_and_told() {
        let (place, stop) = (Arc::new(Noted::default()), CancelToken::default());
        let cut = |hop| MigrationFault { what: FaultKind::Link, lasts: None, hop };
        let wanted: Vec<MigrationFault> = vec![
            cut(1),
            MigrationFault { what: FaultKind::Nfs, lasts: Some(Duration::from_millis(1)), hop: 2 },
            cut(3),
        ];
        let mut faults = FaultSchedule::new(&wanted, Some(place.clone()), &stop).unwrap();
        faults.begin(1);
        faults.begin(1);
        let lines = faults.end(1);
        assert!(lines[0].starts_with("fault: the destination's link is cut amid the move, for "));
        assert_eq!(
            *place.0.lock().unwrap(),
            [(FaultKind::Link, 1, true), (FaultKind::Link, 1, false)]
        );
        faults.begin(2);
        assert_eq!((faults.end(2).len(), faults.missed.take()), (0, Some("no server".to_owned())));
        faults.end(3);
        assert!(faults.missed.take().unwrap().contains("over before it came"));
        assert!(FaultSchedule::new(&wanted, None, &stop).is_err());
        stop.set();
        faults.end(3);
        assert_eq!(faults.missed, None, "interrupted: nothing is claimed");
    }
}
