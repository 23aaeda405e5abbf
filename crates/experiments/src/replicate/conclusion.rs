//! The end of a replication: the sums of three sides, and what they mean beside the judge's verdict.

use super::variants::{Variant, WindowReplication, WriterRun};
use crate::run_result::RunResult;
use crate::sum_checks::{self, SumChecks};
use crate::twin_file::TwinFile;
use memtwin_lab::aeshmem::{Accel, Window, WindowGuest, updates};
use memtwin_lab::{Arch, Progress};
use memtwin_report::record::{GuestSum, PageAt, Verdict};
use memtwin_report::{Case, CaseBuilder};
use memtwin_session::Replicated;
use std::collections::BTreeSet;
use std::path::Path;

impl WindowReplication<'_> {
    /// The sums of the three sides, and what they mean beside the judge's verdict.
    pub(super) fn conclude(
        &self,
        run: &WriterRun,
        outcome: Replicated,
        guest: &mut WindowGuest,
        twin: &TwinFile,
        progress: &mut dyn Progress,
        result: &mut RunResult,
    ) {
        let variant = run.variant;
        result.not_converged |= outcome.not_converged;
        if let Some(control) = outcome.case.control() {
            let names = |pages: &BTreeSet<PageAt>| {
                let name = |page: &PageAt| format!("{} {}", page.region, page.gpa);
                pages.iter().map(name).collect::<Vec<_>>().join(", ")
            };
            let ended = if outcome.case.verdict() == Verdict::Differs { 1 } else { 0 };
            result.notes.push(format!(
                "control: flipped behind the log's back: a word of {}; the replication ended with \
                 {ended} and named {}",
                names(&control.injected),
                names(&control.found),
            ));
        } else {
            result.notes.extend(outcome.notes);
        }
        let window = self.setup.window();
        let SumChecks { taken, differed } = run.checks;
        result.notes.extend(run.said.last().cloned());
        if variant != Variant::Remote {
            result.notes.push(format!(
                "while it wrote, the sums were taken {taken} times, and differed {differed} times"
            ));
        }
        let inside = match guest.sum(progress) {
            Ok(sum) => sum,
            Err(error) => {
                return result.guest_failed(outcome.trial, outcome.case.lost(), &error);
            }
        };
        let file = |path: &Path| {
            let sum = sum_checks::sum(path, &window);
            sum.map_err(|error| format!("{}: {error}", path.display()))
        };
        let twin = twin.found();
        // One on another host has been summed there.
        let (copy, twin) = match (variant, &self.config.to) {
            (Variant::Remote, Some(to)) => {
                (Ok(remote_sum(&outcome.case, &window)), to.target.to_string())
            }
            _ => (file(&twin).map(Some), twin.display().to_string()),
        };
        let sums = file(&self.config.memory).and_then(|memory| Ok((memory, copy?)));
        let (memory, copy) = match sums {
            Ok(sums) => sums,
            Err(error) => {
                let lost = outcome.case.lost().to_vec();
                result.cases.push(outcome.trial.inconclusive(error, lost).named(variant.name()));
                return;
            }
        };
        let part = match (window.offset, window.bytes) {
            (0, _) => String::new(),
            (offset, bytes) => format!(", {bytes} bytes from {offset} on"),
        };
        result.notes.push(format!("{memory} {}{part}", self.config.memory.display()));
        match &copy {
            Some(copy) => result.notes.push(format!("{copy} {twin}{part}")),
            None => result.notes.push(format!("{twin}: compared as a whole")),
        }
        result.notes.push(format!("{inside} guest: tstaeshm sum {}", window.words()));
        // What is no sum is no side's equal.
        let guest_sum: Option<GuestSum> = inside.parse().ok();
        let same = guest_sum == Some(memory) && copy.is_none_or(|copy| copy == memory);
        let case = self.case(run, outcome.case, outcome.trial, same);
        result.cases.push(case.named(variant.name()).with_guest_sum(guest_sum));
    }

    /// The judge's verdict, unless there is more to say.
    fn case(&self, run: &WriterRun, case: Case, trial: CaseBuilder, same: bool) -> Case {
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
        if updates(&run.said).is_none_or(|updates| updates == 0) {
            return trial.inconclusive("the guest's program wrote nothing", Vec::new());
        }
        if run.variant == Variant::Remote {
            let later = case.rounds().iter().filter(|round| round.n > 0);
            if later.map(|round| round.dirty_pages).sum::<u64>() == 0 {
                let none = "the log named no page while the program wrote";
                return trial.inconclusive(none, Vec::new());
            }
        } else if run.checks.differed == 0 {
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

/// The sum of a window on another host; none if the window is only a part of what
/// was summed there.
fn remote_sum(case: &Case, window: &Window) -> Option<GuestSum> {
    let whole = case.regions().iter().find(|region| region.bytes == window.bytes)?;
    let digests = case.digest().get(&whole.name).filter(|_| window.offset == 0)?;
    Some(sum_checks::sum_of(digests.twin.bsd_sum, window.bytes))
}
