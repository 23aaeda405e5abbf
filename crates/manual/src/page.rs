//! One page: clap's sections, and behind them those of the notes.

use crate::{Manual, PageNotes, shown};
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

/// A manual page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManualPage {
    name: String,
    text: String,
}

impl ManualPage {
    /// Its name, as man(1) takes it: `memtwin-lab-run-check`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of its file in a folder `man1`.
    pub fn file_name(&self) -> String {
        format!("{}.1", self.name)
    }

    /// The page, in roff.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// `parent`: the name of the page above.
    pub(crate) fn new(
        manual: &Manual,
        command: &Command,
        notes: Option<&PageNotes>,
        parent: Option<String>,
    ) -> Self {
        let program = &manual.program;
        let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
        let version = program.get_version().unwrap_or_default();
        let man = Man::new(command.clone().disable_help_subcommand(true))
            .title(&name)
            .source(format!("{} {version}", program.get_name()))
            .manual(format!("{} manual", program.get_name()));
        let mut text = Vec::new();
        // Writing to memory does not fail.
        let _ = man.render_title(&mut text);
        let _ = man.render_name_section(&mut text);
        let _ = man.render_synopsis_section(&mut text);
        let _ = man.render_description_section(&mut text);
        if command.get_arguments().any(|argument| !argument.is_hide_set()) {
            let _ = man.render_options_section(&mut text);
        }
        if shown(command).next().is_some() {
            let _ = man.render_subcommands_section(&mut text);
        }
        let mut roff = Roff::new();
        let codes = notes.and_then(|notes| notes.exit_codes);
        match codes {
            Some(codes) => terms(&mut roff, "EXIT STATUS", codes),
            None => terms(&mut roff, "EXIT STATUS", &manual.exit_codes),
        }
        terms(&mut roff, "ENVIRONMENT", manual.environment);
        terms(&mut roff, "FILES", notes.map_or(&[][..], |notes| notes.files));
        examples(&mut roff, notes);
        see_also(&mut roff, command, parent);
        let _ = roff.to_writer(&mut text);
        Self { name, text: String::from_utf8_lossy(&text).into_owned() }
    }
}

/// A section of terms, each with its meaning; none without terms.
fn terms<S: AsRef<str>>(roff: &mut Roff, heading: &str, terms: &[(S, S)]) {
    if terms.is_empty() {
        return;
    }
    roff.control("SH", [heading]);
    for (term, meaning) in terms {
        roff.control("TP", []);
        roff.text([bold(term.as_ref())]);
        roff.text([roman(meaning.as_ref())]);
    }
}

fn examples(roff: &mut Roff, notes: Option<&PageNotes>) {
    let examples = notes.map_or(&[][..], |notes| notes.examples);
    if examples.is_empty() {
        return;
    }
    roff.control("SH", ["EXAMPLES"]);
    for (line, meaning) in examples {
        roff.control("PP", []);
        roff.text([roman(*meaning)]);
        roff.control("PP", []);
        roff.control("RS", ["4"]);
        roff.control("nf", []);
        roff.text([bold(*line)]);
        roff.control("fi", []);
        roff.control("RE", []);
    }
}

/// The pages above and below.
fn see_also(roff: &mut Roff, command: &Command, parent: Option<String>) {
    let below = shown(command).filter_map(|command| command.get_display_name());
    let names: Vec<String> = parent.into_iter().chain(below.map(str::to_owned)).collect();
    if names.is_empty() {
        return;
    }
    roff.control("SH", ["SEE ALSO"]);
    let mut line: Vec<Inline> = Vec::new();
    for name in names {
        if !line.is_empty() {
            line.push(roman(", "));
        }
        line.extend([bold(name), roman("(1)")]);
    }
    roff.text(line);
}
