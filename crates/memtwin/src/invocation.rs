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

    /// With the options of the command that were found among the words, and the defaults of the others.
    pub(crate) fn parsed(mut self, mut command: &clap::Command, mut found: &ArgMatches) -> Self {
        while let Some((name, below)) = found.subcommand()
            && let Some(subcommand) = command.find_subcommand(name)
        {
            (command, found) = (subcommand, below);
        }
        // Matches have groups of options too, which are no options.
        for option in command.get_arguments().filter(|option| !option.is_hide_set()) {
            let id = option.get_id().as_str();
            let Ok(Some(values)) = found.try_get_raw(id) else { continue };
            let name = option.get_long().unwrap_or(id);
            let text = |value: &OsStr| value.to_string_lossy().into_owned();
            let values: Vec<String> = values.map(text).collect();
            let value = match values.as_slice() {
                [flag] if flag == "true" || flag == "false" => (flag == "true").into(),
                [one] => one.as_str().into(),
                many => many.into(),
            };
            self.resolved.insert(name.to_owned(), value);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;
    use serde_json::{Value, json};

    #[test]
    fn each_option_has_the_value_that_counts_and_nothing_else_is_one() {
        let words = ["memtwin", "check", "--mode", "ring", "--json", "out"].map(OsString::from);
        let mut command = Cli::command();
        let found = command.try_get_matches_from_mut(&words).unwrap();
        let mut invocation = Invocation::new(&words).parsed(&command, &found);
        invocation.resolve(ResolvedOptions::from([("seed".to_owned(), 7.into())]));
        let RunProvenance { arguments, resolved, .. } = invocation.provenance();
        assert_eq!(arguments.join(" "), "memtwin check --mode ring --json out");
        let expected = [("mode", json!("ring")), ("all", json!(false)), ("seed", json!(7))];
        for (name, value) in expected {
            assert_eq!(resolved[name], value, "{resolved:?}");
        }
        let check = command.find_subcommand("check").unwrap();
        let is_option = |name: &String| {
            let typed = |option: &clap::Arg| option.get_long() == Some(name);
            check.get_arguments().any(|option| typed(option) || option.get_id() == name.as_str())
        };
        let others: Vec<(&String, &Value)> =
            resolved.iter().filter(|(name, _)| !is_option(name)).collect();
        assert_eq!(others, []);
        // The control: clap's own matches have more.
        let (_, found) = found.subcommand().unwrap();
        assert!(found.ids().any(|id| !is_option(&id.as_str().to_owned())));
    }
}
