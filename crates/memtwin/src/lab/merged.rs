//! The records of several runs on another machine as one.

use crate::cli::Output;
use memtwin_pages::Layout;
use memtwin_replicate::Stop;
use memtwin_report::Failure;
use memtwin_report::{Case, ExitCode, RunRecord, Trial, exit};
use serde_json::Value;
use std::path::Path;

/// What Memtwin returns when there was no clean log in time.
const NOT_CONVERGED: i32 = ExitCode::NotConverged as i32;

/// One record of all.
pub(super) struct Merged {
    command: String,
    /// What each case's name begins with.
    case: &'static str,
    source: String,
    record: Option<RunRecord>,
    lost: Vec<Case>,
    closing: Vec<String>,
    not_converged: bool,
}

impl Merged {
    pub(super) fn new(command: String, case: &'static str, source: &str) -> Self {
        Self {
            command,
            case,
            source: source.to_owned(),
            record: None,
            lost: Vec::new(),
            closing: Vec::new(),
            not_converged: false,
        }
    }

    /// Adds what a run came to. Its cases are told apart by its name.
    ///
    /// Errors: it says itself that something is missing there, or its record can't be read.
    pub(super) fn add(
        &mut self,
        run: &str,
        rc: i32,
        said: Vec<String>,
        record: Option<Value>,
    ) -> Result<(), Failure> {
        let Some(mut record) = record else {
            let said = said.join("; ");
            return Err(Failure::environment(format!("{}: {run}: {said}", self.source)));
        };
        for case in record["cases"].as_array_mut().into_iter().flatten() {
            let name = case["name"].as_str().unwrap_or_default();
            case["name"] = format!("{}/{run}{}", self.case, rest(name, self.case)).into();
        }
        let read = serde_json::from_value::<RunRecord>(record);
        let read = read.map_err(|error| {
            Failure::environment(format!("{}: its record: {error}", self.source))
        })?;
        self.closing.push(format!("{} on {}, {run}:", self.case, self.source));
        // Its table comes last, and again with the merged record.
        let before = said.iter().take_while(|line| !line.starts_with("VERDICT "));
        self.closing.extend(before.map(|line| format!("    {line}")));
        self.not_converged |= rc == NOT_CONVERGED;
        match &mut self.record {
            Some(merged) => merged.cases.extend(read.cases),
            None => self.record = Some(read),
        }
        Ok(())
    }

    /// What came of the twin here: its sum, or why there is none, beside the guest's own as it was said
    /// there.
    pub(super) fn outside(
        &mut self,
        run: &str,
        file: &Path,
        sum: Result<String, String>,
        theirs: Option<&str>,
    ) {
        let name = format!("{}/{run}/outside", self.case);
        let trial = Trial::new(name, self.source.clone(), &Layout::default());
        match sum {
            Ok(sum) if theirs.is_some_and(|theirs| theirs == sum) => {
                self.closing.push(format!("    {sum} {}, received here", file.display()));
            }
            Ok(sum) => self.lost.push(match theirs {
                Some(theirs) => trial.differs(format!(
                    "the sum of the twin that was received here is {sum}; the guest's is {theirs}"
                )),
                None => trial.inconclusive("the guest's own sum is not known", Vec::new()),
            }),
            Err(why) => {
                let why = format!("the twin that was received here: {why}");
                self.lost.push(trial.inconclusive(why, Vec::new()));
            }
        }
    }

    /// The machine died.
    pub(super) fn died(&mut self, reason: &str, last: &[String]) {
        if !last.is_empty() {
            self.closing.push("the last that its console said:".to_owned());
            self.closing.extend(last.iter().map(|line| format!("    {line}")));
        }
        let trial = Trial::new(self.case, self.source.clone(), &Layout::default());
        self.lost.push(trial.inconclusive(reason, Vec::new()));
    }

    /// Writes it as this run's.
    pub(super) fn write(self, output: &Output, stop: &Stop) -> Result<ExitCode, Failure> {
        let mut record = match self.record {
            Some(mut record) => {
                record.command =
                    format!("{} (on {}: {})", self.command, self.source, record.command);
                record
            }
            None => RunRecord::new(self.command, Vec::new()),
        };
        record.cases.extend(self.lost);
        let code = exit::of_cases(&record.cases, self.not_converged, stop.is_set());
        crate::output::write(output, &record, &self.closing)?;
        Ok(code)
    }
}

/// The guest's own sum beside that of the twin at a place, as they were said.
pub(super) fn inside(said: &[String], place: &str) -> Option<String> {
    let mut lines = said.iter().skip_while(|line| !line.ends_with(&format!(" {place}"))).skip(1);
    let (sum, _) = lines.next()?.split_once(" guest: tstaeshm sum ")?;
    Some(sum.trim_start().to_owned())
}

/// What a case's name has behind what all begin with.
fn rest<'n>(name: &'n str, begin: &str) -> &'n str {
    name.strip_prefix(begin).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtwin_report::record::Verdict;

    fn record() -> Value {
        let trial = |name: &str| Trial::new(name, "qemu:/q", &Layout::default());
        let cases = vec![
            trial("replicate/qemu").inconclusive("x", Vec::new()),
            trial("replicate/qemu/control").inconclusive("x", Vec::new()),
        ];
        serde_json::to_value(RunRecord::new("replicate", cases)).unwrap()
    }

    #[test]
    fn a_twin_here_must_be_what_the_guest_has() {
        let verdicts = |sum: Result<&str, &str>, theirs| {
            let mut merged = Merged::new("me".to_owned(), "replicate/qemu", "emulated");
            let sum = sum.map(str::to_owned).map_err(str::to_owned);
            merged.outside("ring", Path::new("/t"), sum, theirs);
            let lost = merged.lost.iter().map(|case| (case.name().to_owned(), case.verdict()));
            (lost.collect::<Vec<_>>(), merged.closing.len())
        };
        let case = |verdict| (vec![("replicate/qemu/ring/outside".to_owned(), verdict)], 0);
        assert_eq!(verdicts(Ok("3 4"), Some("3 4")), (Vec::new(), 1));
        assert_eq!(verdicts(Ok("3 4"), Some("5 4")), case(Verdict::Differs));
        assert_eq!(verdicts(Ok("3 4"), None), case(Verdict::Inconclusive));
        assert_eq!(verdicts(Err("gone"), Some("3 4")), case(Verdict::Inconclusive));
    }

    #[test]
    fn cases_are_told_apart_and_a_death_is_no_pass() {
        let mut merged = Merged::new("me".to_owned(), "replicate/qemu", "emulated");
        merged.add("bitmap", 11, vec!["said".to_owned()], Some(record())).unwrap();
        merged.add("ring", 10, Vec::new(), Some(record())).unwrap();
        let names: Vec<String> =
            merged.record.as_ref().unwrap().cases.iter().map(|c| c.name().to_owned()).collect();
        let expected = ["bitmap", "bitmap/control", "ring", "ring/control"];
        assert_eq!(names, expected.map(|name| format!("replicate/qemu/{name}")));
        assert!(merged.not_converged);
        merged.died("gone", &["panic".to_owned()]);
        assert_eq!(exit::of_cases(&merged.lost, false, false), ExitCode::Inconclusive);
        let said =
            ["1 4 /m", "2 4 tcp://h:1", "3 4 guest: tstaeshm sum 0", "9 4 guest: tstaeshm sum 0"];
        let said = said.map(str::to_owned);
        assert_eq!(inside(&said, "tcp://h:1"), Some("3 4".to_owned()));
        assert_eq!((inside(&said, "tcp://h:2"), inside(&said[..2], "tcp://h:1")), (None, None));
        let none = merged.add("x", 3, vec!["no /dev/kvm".to_owned()], None).unwrap_err();
        assert_eq!(none.message, "emulated: x: no /dev/kvm");
    }
}
