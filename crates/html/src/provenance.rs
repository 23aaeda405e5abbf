//! How a run came about, and the command that repeats it.

use crate::limits::{ROWS, SENTENCE};
use crate::words::{bytes, count, name, sentence};
use maud::{Markup, html};
use memtwin_report::RunRecord;
use memtwin_report::record::{HostFacts, RunProvenance};
use std::borrow::Cow;

/// The section.
pub(crate) fn section(record: &RunRecord) -> Markup {
    let remote =
        record.remote_runs.iter().flat_map(|(host, runs)| runs.iter().map(move |run| (host, run)));
    let remote: Vec<_> = remote.collect();
    html! {
        h3 { "How it came about" }
        p { "To repeat it:" }
        p { code.command { (sentence(&repeat(record))) } }
        dl {
            dt { "Memtwin" } dd { (name(&record.version)) }
            dt { "Host" } dd { (host(&record.host)) }
            @for (word, facts) in record.boards.iter().take(ROWS) {
                dt { "Host " (name(word)) } dd { (host(facts)) }
            }
            @if let Some(run) = &record.provenance { (of_run(run)) }
        }
        @if !remote.is_empty() {
            details {
                summary { (count(remote.len() as u64, "run")) " on other machines" }
                @for (host, run) in remote.iter().take(ROWS) {
                    h4 { (name(host)) }
                    dl { dt { "Command" } dd { code { (sentence(&words(&run.arguments))) } } (of_run(run)) }
                }
            }
        }
    }
}

fn host(facts: &HostFacts) -> Markup {
    html! {
        (name(&facts.arch)) ", Linux " (name(&facts.kernel)) ", pages of " (bytes(facts.page_size)) ", "
        (count(facts.cpus, "CPU"))
        @if let Some(model) = &facts.cpu_model { ", " (name(model)) }
        @if let Some(kvm) = &facts.kvm {
            "; KVM's dirty log: " (name(&kvm.dirty_log.join(", ")))
            @if let Some(entries) = kvm.ring_entries_max { ", rings of up to " (entries) " entries" }
            ", manual protect " (kvm.manual_protect)
        }
    }
}

fn of_run(run: &RunProvenance) -> Markup {
    html! {
        dt { "Began" } dd { (name(&run.started)) }
        dt { "Ended" } dd { (name(&run.ended)) }
        @if let Some(revision) = &run.git_revision { dt { "Revision" } dd { code { (name(revision)) } } }
        dt { "Build" } dd { (name(&run.build_profile)) }
        @for (option, value) in run.resolved.iter().take(ROWS) {
            dt { "--" (name(option)) }
            dd { @match value.as_str() { Some(text) => (name(text)), None => (name(&value.to_string())) } }
        }
    }
}

/// The command line as a shell takes it, with the seed that the run chose.
fn repeat(record: &RunRecord) -> String {
    let Some(run) = &record.provenance else { return record.command.clone() };
    let mut line = words(&run.arguments);
    let typed = run.arguments.iter().any(|word| word == "--seed" || word.starts_with("--seed="));
    if let (false, Some(seed)) = (typed, run.resolved.get("seed")) {
        let seed = seed.as_str().map_or_else(|| seed.to_string(), str::to_owned);
        line.push_str(&format!(" --seed {}", quoted(&seed)));
    }
    line
}

fn words(arguments: &[String]) -> String {
    // Enough for what is shown; a record may have any number.
    let words: Vec<Cow<'_, str>> =
        arguments.iter().take(SENTENCE).map(|word| quoted(word)).collect();
    words.join(" ")
}

/// A word as a shell takes it.
fn quoted(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=/.,:@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        Cow::Borrowed(word)
    } else {
        Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(arguments: &[&str]) -> RunRecord {
        let provenance = RunProvenance {
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
            resolved: [("seed".to_owned(), 7.into())].into(),
            ..RunProvenance::default()
        };
        RunRecord { provenance: Some(provenance), ..RunRecord::new("memtwin check", Vec::new()) }
    }

    #[test]
    fn the_command_has_the_seed_that_was_chosen() {
        assert_eq!(repeat(&record(&["memtwin", "check"])), "memtwin check --seed 7");
        let typed = ["memtwin", "check", "--seed", "7"];
        assert_eq!(repeat(&record(&typed)), "memtwin check --seed 7");
        assert_eq!(repeat(&RunRecord::new("memtwin verify a b", Vec::new())), "memtwin verify a b");
    }

    #[test]
    fn a_word_is_one_for_a_shell() {
        assert_eq!(quoted("--json=a.json"), "--json=a.json");
        assert_eq!(quoted("a b'c"), r"'a b'\''c'");
        assert_eq!(quoted(""), "''");
    }
}
