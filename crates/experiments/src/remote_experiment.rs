//! An experiment on another machine with KVM, once for each of KVM's logs, and its records as one.

use crate::merged_report::MergedReport;
use crate::remote_machine::{RemoteArgs, RemoteFailure, RemoteMachine, RemoteRunError};
use crate::run_result::ExperimentReport;
use memtwin_lab::Progress;
use memtwin_lab::aeshmem::Window;
use memtwin_lab::remote_runner::RunOutput;
use memtwin_pages::Layout;
use memtwin_replicate::CancelToken;
use memtwin_report::record::GuestSum;
use memtwin_report::{Case, CaseBuilder, Failure};
use std::path::Path;
use std::time::Duration;

/// How many entries the ring has.
const RING: u32 = 4096;
/// Of a replication to a receiver here, what its case's name ends with.
const REMOTE: &str = "/remote";

/// What is typed there, for a guest's image, a ring, and where the twin here is.
pub(crate) type Words<'w> = dyn Fn(&str, Option<u32>, Option<&str>) -> Vec<String> + 'w;

/// An experiment that is run on another machine, once with KVM's bitmap and once with its dirty ring.
pub(crate) struct RemoteExperiment<'e> {
    /// What the names of its cases begin with.
    pub(crate) case: &'static str,
    /// The machine.
    pub(crate) hosts: &'e str,
    pub(crate) args: &'e RemoteArgs,
    /// The guest's kernel modules.
    pub(crate) modules: &'e [&'e str],
    /// A ring of this many entries, and that alone.
    pub(crate) ring: Option<u32>,
    /// A window of which a twin is kept here as well.
    pub(crate) window: Option<Window>,
    /// What is typed there.
    pub(crate) words: &'e Words<'e>,
}

/// Refuses an option that was given, of those that hold on this machine alone.
pub(crate) fn refuse_local_options(
    hosts: &str,
    options: &[(&'static str, bool)],
) -> Result<(), Failure> {
    match options.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((option, _)) => Err(Failure::usage(format!(
            "{option}: on {hosts} the guest is an aarch64 one, as KVM there has it; leave the option out, or \
             take --hosts local"
        ))),
    }
}

impl RemoteExperiment<'_> {
    /// Runs it.
    ///
    /// Errors: something is missing here or there. A machine that dies is a case without a verdict.
    pub(crate) fn run(
        &self,
        command: String,
        stop: &CancelToken,
        progress: &mut dyn Progress,
    ) -> Result<ExperimentReport, Failure> {
        let mut merged = MergedReport::default();
        match self.all(&mut merged, progress) {
            Ok(()) => {}
            Err(RemoteFailure::Failure(failure)) => return Err(failure),
            Err(RemoteFailure::Died(reason, last)) => {
                merged.last_lines("the last that its console said:", &last);
                merged.last_case(self.trial(self.case).inconclusive(reason, Vec::new()));
            }
        }
        let command = match merged.first_command() {
            Some(theirs) => format!("{command} (on {}: {theirs})", self.hosts),
            None => command,
        };
        Ok(merged.report(command, stop))
    }

    fn all(
        &self,
        merged: &mut MergedReport,
        progress: &mut dyn Progress,
    ) -> Result<(), RemoteFailure> {
        let mut machine = RemoteMachine::prepare(self.hosts, self.args, self.modules, progress)?;
        let rings: &[Option<u32>] = match self.ring {
            Some(entries) => &[Some(entries)],
            None => &[None, Some(RING)],
        };
        for &ring in rings {
            let log = if ring.is_some() { "ring" } else { "bitmap" };
            progress.say(&format!("{}: {}, KVM's {log}", machine.name(), self.case));
            let receiver = self.window.map(|window| Ok((machine.receiver(log, progress)?, window)));
            let receiver = receiver.transpose().map_err(RemoteFailure::Failure)?;
            let target = receiver.as_ref().map(|(receiver, _)| receiver.target());
            let words = (self.words)(machine.guest(), ring, target.as_deref());
            let output = match machine.run(&words, self.timeout(), progress) {
                Ok(output) => output,
                Err(RemoteRunError::Lost(lost)) => return Err(lost),
                Err(RemoteRunError::NoRecord(said)) => {
                    let said = said.join("; ");
                    let why = format!("{}: {log}: {said}", self.hosts);
                    return Err(Failure::environment(why).into());
                }
            };
            let guest_sum = self.merge(merged, log, output)?;
            if let Some((receiver, window)) = receiver {
                let file = receiver.file().to_owned();
                let sum = receiver.sum(&window, guest_sum.is_some());
                self.received(merged, log, &file, sum, guest_sum);
            }
        }
        Ok(())
    }

    fn timeout(&self) -> Duration {
        self.args.timeout
    }

    fn trial(&self, name: impl Into<String>) -> CaseBuilder {
        CaseBuilder::new(name, self.hosts, &Layout::default())
    }

    /// Adds what a run came to, its cases told apart by the log's name. Returns the guest's own sum of what was
    /// received here.
    ///
    /// Errors: its record can't be read.
    fn merge(
        &self,
        merged: &mut MergedReport,
        log: &str,
        output: RunOutput,
    ) -> Result<Option<GuestSum>, Failure> {
        merged.note(format!("{} on {}, {log}:", self.case, self.hosts));
        merged.returned(output.rc);
        let begin = self.case;
        // What a name has behind what all begin with.
        let rest = |name: &str| name.strip_prefix(begin).unwrap_or_default().to_owned();
        let added = merged
            .add(output.record, |_, name| format!("{begin}/{log}{}", rest(name)))
            .map_err(|error| Failure::environment(format!("{}: {error}", self.hosts)))?;
        merged.remote_run(self.hosts, added.provenance);
        let remote = added.cases.iter().find(|case| case.name().ends_with(REMOTE));
        Ok(remote.and_then(Case::guest_sum))
    }

    /// What came of the twin here: its sum, or why there is none, beside the guest's own.
    fn received(
        &self,
        merged: &mut MergedReport,
        log: &str,
        file: &Path,
        sum: Result<GuestSum, String>,
        guest_sum: Option<GuestSum>,
    ) {
        let trial = self.trial(format!("{}/{log}/outside", self.case));
        match (sum, guest_sum) {
            (Ok(sum), Some(theirs)) if theirs == sum => {
                merged.note(format!("    {sum} {}, received here", file.display()));
            }
            (Ok(sum), Some(theirs)) => merged.last_case(trial.differs(format!(
                "the sum of the twin that was received here is {sum}; the guest's is {theirs}"
            ))),
            (Ok(_), None) => {
                let unknown = "the guest's own sum is not known";
                merged.last_case(trial.inconclusive(unknown, Vec::new()));
            }
            (Err(why), _) => {
                let why = format!("the twin that was received here: {why}");
                merged.last_case(trial.inconclusive(why, Vec::new()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtwin_lab::Flavour;
    use memtwin_report::record::Verdict;
    use memtwin_report::{ExitCode, RunRecord};
    use serde_json::Value;

    const SUM: GuestSum = GuestSum { bsd_sum: 3, blocks: 4 };

    fn record(guest_sum: Option<GuestSum>) -> Value {
        let case = |name: &str| {
            let trial = CaseBuilder::new(name, "qemu:/q", &Layout::default());
            trial.inconclusive("x", Vec::new())
        };
        let cases = vec![
            case("replicate/qemu").with_guest_sum(Some(GuestSum { bsd_sum: 9, blocks: 4 })),
            case("replicate/qemu/remote").with_guest_sum(guest_sum),
            case("replicate/qemu/control"),
        ];
        serde_json::to_value(RunRecord::new("replicate", cases)).unwrap()
    }

    fn with<T>(work: impl FnOnce(&RemoteExperiment<'_>) -> T) -> T {
        let args = RemoteArgs {
            board_kernel: Flavour::Standard,
            board_cpu: "max".to_owned(),
            board_programs: None,
            state: None,
            timeout: Duration::from_secs(1),
        };
        let (modules, words) = (&[][..], &|_: &str, _, _: Option<&str>| Vec::new());
        let (case, hosts, ring, window) = ("replicate/qemu", "emulated", None, None);
        work(&RemoteExperiment { case, hosts, args: &args, modules, ring, window, words })
    }

    #[test]
    fn a_twin_here_must_be_what_the_guest_has() {
        let verdicts = |sum: Result<GuestSum, &str>, theirs| {
            let mut merged = MergedReport::default();
            let sum = sum.map_err(str::to_owned);
            with(|this| this.received(&mut merged, "ring", Path::new("/t"), sum, theirs));
            let record = merged.report("me".to_owned(), &CancelToken::default()).record;
            let cases = record.cases.iter().map(|case| (case.name().to_owned(), case.verdict()));
            (cases.collect::<Vec<_>>(), record.notes)
        };
        let case = |verdict| {
            (vec![("replicate/qemu/ring/outside".to_owned(), verdict)], Vec::<String>::new())
        };
        let other = GuestSum { bsd_sum: 5, ..SUM };
        let note = "    00003     4 /t, received here".to_owned();
        assert_eq!(verdicts(Ok(SUM), Some(SUM)), (Vec::new(), vec![note]));
        assert_eq!(verdicts(Ok(SUM), Some(other)), case(Verdict::Differs));
        assert_eq!(verdicts(Ok(SUM), None), case(Verdict::Inconclusive));
        assert_eq!(verdicts(Err("gone"), Some(SUM)), case(Verdict::Inconclusive));
    }

    #[test]
    fn cases_are_told_apart_and_the_guests_sum_is_that_of_the_remote_twin() {
        let output = |rc, record| RunOutput { rc, record, said: Vec::new() };
        let mut merged = MergedReport::default();
        let report = with(|this| {
            let sum = this.merge(&mut merged, "bitmap", output(11, record(Some(SUM)))).unwrap();
            assert_eq!(sum, Some(SUM));
            let none = this.merge(&mut merged, "ring", output(10, record(None))).unwrap();
            assert_eq!(none, None, "no other case's sum is taken for it");
            let odd = this.merge(&mut MergedReport::default(), "ring", output(0, Value::Null));
            assert!(odd.unwrap_err().message.starts_with("emulated: its record: "));
            merged.report("me".to_owned(), &CancelToken::default())
        });
        let names: Vec<&str> = report.record.cases.iter().map(Case::name).collect();
        let expected =
            ["bitmap", "bitmap/remote", "bitmap/control", "ring", "ring/remote", "ring/control"];
        assert_eq!(names, expected.map(|name| format!("replicate/qemu/{name}")));
        assert_eq!(report.record.notes[0], "replicate/qemu on emulated, bitmap:");
        assert_eq!(report.code, ExitCode::Inconclusive);
    }

    #[test]
    fn what_holds_here_alone_is_refused() {
        let options = [("--cpu", false), ("--layout", true)];
        let failure = refuse_local_options("emulated", &options).unwrap_err();
        assert_eq!(failure.code, ExitCode::Usage);
        assert!(failure.message.starts_with("--layout: on emulated the guest is "), "{failure:?}");
        assert!(refuse_local_options("emulated", &options[..1]).is_ok());
    }
}
