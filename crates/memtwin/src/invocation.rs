//! This run of the program: what was typed, when it began, and the options as they count; for the record.

use clap::ArgMatches;
use memtwin_report::record::{ResolvedOptions, RunProvenance};
use memtwin_report::{Case, RunRecord, rfc3339};
use memtwin_session::host_facts;
use std::ffi::{OsStr, OsString};
use std::time::SystemTime;

/// How the program was started.
#[derive(Clone, Debug)]
pub(crate) struct Invocation {
    /// The words in a line. For the record, which is text: bytes that are none are replaced.
    pub(crate) command: String,
    arguments: Vec<String>,
    started: SystemTime,
    resolved: ResolvedOptions,
}

impl Invocation {
    /// With these words, now.
    pub(crate) fn new(words: &[OsString]) -> Self {
        Self {
            command: words.join(OsStr::new(" ")).to_string_lossy().into_owned(),
            arguments: words.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
            started: SystemTime::now(),
            resolved: ResolvedOptions::new(),
        }
    }

    /// With the options that were found among the words, and the defaults of the others.
    pub(crate) fn parsed(mut self, matches: &ArgMatches) -> Self {
        let mut command = matches;
        while let Some((_, below)) = command.subcommand() {
            command = below;
        }
        for id in command.ids().map(clap::Id::as_str) {
            // A group of options has no value of its own.
            let Ok(Some(values)) = command.try_get_raw(id) else { continue };
            let text = |value: &OsStr| value.to_string_lossy().into_owned();
            let values: Vec<String> = values.map(text).collect();
            let value = match values.as_slice() {
                [flag] if flag == "true" || flag == "false" => (flag == "true").into(),
                [one] => one.as_str().into(),
                many => many.into(),
            };
            self.resolved.insert(id.replace('_', "-"), value);
        }
        self
    }

    /// With what the run itself has resolved.
    pub(crate) fn resolve(&mut self, resolved: ResolvedOptions) {
        self.resolved.extend(resolved);
    }

    /// The record of a run of this command on this machine.
    pub(crate) fn record(&self, cases: Vec<Case>) -> RunRecord {
        RunRecord { host: host_facts(), ..RunRecord::new(&self.command, cases) }
    }

    /// How the run came about, which ends now.
    pub(crate) fn provenance(&self) -> RunProvenance {
        RunProvenance {
            started: rfc3339(self.started),
            ended: rfc3339(SystemTime::now()),
            arguments: self.arguments.clone(),
            resolved: self.resolved.clone(),
            git_revision: option_env!("MEMTWIN_REVISION").map(str::to_owned),
            build_profile: env!("MEMTWIN_BUILD_PROFILE").to_owned(),
        }
    }
}
