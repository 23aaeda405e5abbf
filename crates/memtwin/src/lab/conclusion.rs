//! The end of a replication: the sums of three sides, and what they mean beside the judge's verdict.

use super::differing::{self, Looks};
use super::experiment::{Experiment, Turn, Written};
use super::found::Found;
use super::talk::Talk;
use super::twin_file::TwinFile;
use memtwin_lab::Arch;
use memtwin_lab::aeshmem::{Accel, Window, WindowGuest, updates};
use memtwin_report::record::{PageAt, Verdict};
use memtwin_report::{Case, Trial};
use memtwin_session::Replicated;
use std::collections::BTreeSet;
use std::path::Path;

impl Experiment<'_> {
    /// The sums of the three sides, and what they mean beside the judge's verdict.
    pub(super) fn conclude(
        &self,
        written: &Written,
        outcome: Replicated,
        guest: &mut WindowGuest,
        twin: &TwinFile,
        talk: &mut Talk,
        found: &mut Found,
    ) {
        let turn = written.turn;
        found.not_converged |= outcome.not_converged;
        if let Some(control) = outcome.case.control() {
            let names = |pages: &BTreeSet<PageAt>| {
                let name = |page: &PageAt| format!("{} {}", page.region, page.gpa);
                pages.iter().map(name).collect::<Vec<_>>().join(", ")
            };
            let ended = if outcome.case.verdict() == Verdict::Differs { 1 } else { 0 };
            found.closing.push(format!(
                "control: flipped behind the log's back: a word of {}; the replication ended with \
                 {ended} and named {}",
                names(&control.injected),
                names(&control.found),
            ));
        } else {
            found.closing.extend(outcome.notes);
        }
        let window = self.setup.window();
        let Looks { taken, differed } = written.looks;
        found.closing.extend(written.said.last().cloned());
        if turn != Turn::Remote {
            found.closing.push(format!(
                "while it wrote, the sums were taken {taken} times, and differed {differed} times"
            ));
        }
        let inside = match guest.sum(talk) {
            Ok(sum) => sum,
            Err(error) => {
                return found.guest_failed(outcome.trial, outcome.case.lost(), &error);
            }
        };
        let file = |path: &Path| {
            let sum = differing::sum(path, &window);
            sum.map_err(|error| format!("{}: {error}", path.display()))
        };
        let twin = twin.found();
        // One on another host has been summed there.
        let (copy, twin) = match (turn, &self.args.to) {
            (Turn::Remote, Some(target)) => (Ok(far(&outcome.case, &window)), target.to_string()),
            _ => (file(&twin).map(Some), twin.display().to_string()),
        };
        let sums = file(&self.args.memory).and_then(|memory| Ok((memory, copy?)));
        let (memory, copy) = match sums {
            Ok(sums) => sums,
            Err(error) => {
                let lost = outcome.case.lost().to_vec();
                found.cases.push(outcome.trial.inconclusive(error, lost).named(turn.name()));
                return;
            }
        };
        let part = match (window.offset, window.bytes) {
            (0, _) => String::new(),
            (offset, bytes) => format!(", {bytes} bytes from {offset} on"),
        };
        found.closing.push(format!("{memory} {}{part}", self.args.memory.display()));
        match &copy {
            Some(copy) => found.closing.push(format!("{copy} {twin}{part}")),
            None => found.closing.push(format!("{twin}: compared as a whole")),
        }
        found.closing.push(format!("{inside} guest: tstaeshm sum {}", window.words()));
        let same = memory == inside && copy.is_none_or(|copy| copy == memory);
        let case = self.case(written, outcome.case, outcome.trial, same);
        found.cases.push(case.named(turn.name()));
    }

    /// The judge's verdict, unless there is more to say.
    fn case(&self, written: &Written, case: Case, trial: Trial, same: bool) -> Case {
        if case.control().is_some() {
            return case;
        }
        // A program can't ask for FEAT_S2FWB; an emulated CPU has no caches.
        let incoherent = self.setup.accel() == Accel::Kvm && self.setup.arch() == Arch::Aarch64;
        let caches = "on this CPU the guest's stores to the window may bypass the caches through which \
                      the host reads (no FEAT_S2FWB), so the log is not what this shows";
        if incoherent && case.verdict() == Verdict::Differs {
            let pages = case.lost().len();
            return trial.inconclusive(format!("{pages} pages differ; {caches}"), Vec::new());
        }
        if !case.passed() {
            return case;
        }
        if updates(&written.said).is_none_or(|updates| updates == 0) {
            return trial.inconclusive("the guest's program wrote nothing", Vec::new());
        }
        if written.turn == Turn::Remote {
            let later = case.rounds().iter().filter(|round| round.n > 0);
            if later.map(|round| round.dirty_pages).sum::<u64>() == 0 {
                let none = "the log named no page while the program wrote";
                return trial.inconclusive(none, Vec::new());
            }
        } else if written.looks.differed == 0 {
            let never = "memory and twin were never seen to differ while the program wrote";
            return trial.inconclusive(never, Vec::new());
        }
        match (same, incoherent) {
            (true, _) => case,
            (false, true) => trial.inconclusive(format!("the sums differ; {caches}"), Vec::new()),
            (false, false) => trial.differs("the three sums of the window are not the same"),
        }
    }
}

/// The sum of a window on another host, as `sum -r` prints it; none if the window is only a part of what
/// was summed there.
fn far(case: &Case, window: &Window) -> Option<String> {
    let whole = case.regions().iter().find(|region| region.bytes == window.bytes)?;
    let digests = case.digest().get(&whole.name).filter(|_| window.offset == 0)?;
    Some(differing::line(digests.twin.bsd_sum, window.bytes))
}
