//! Manual pages (man-pages(7)) of a command line and of each of its commands at every level. Names, synopses and
//! options come from clap's own definitions; exit codes, environment, files and examples from [`PageNotes`],
//! as clap has no place for them.

#![forbid(unsafe_code)]

mod page;

use clap::Command;
pub use page::ManualPage;

/// A term and what it means: an exit code, a variable, a file, or an example with what it does.
pub type Entry = (&'static str, &'static str);

/// What a command's page has that clap does not know.
#[derive(Clone, Copy, Debug)]
pub struct PageNotes {
    /// The words of the command after the program's name; empty for the program.
    pub command: &'static str,
    /// Its exit codes, if they are not those of the program.
    pub exit_codes: Option<&'static [Entry]>,
    /// Files that it reads or writes.
    pub files: &'static [Entry],
    /// Lines that can be typed, and what each does.
    pub examples: &'static [Entry],
}

/// All pages of a program.
#[derive(Clone, Debug)]
pub struct Manual {
    /// The program's command line, without the command `help`, whose pages would repeat the others.
    program: Command,
    exit_codes: Vec<(String, String)>,
    environment: &'static [Entry],
    notes: &'static [PageNotes],
}

/// A command that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown command '{name}': expected words as in {example}")]
pub struct UnknownPage {
    /// What was asked for.
    pub name: String,
    /// A command that there is.
    pub example: String,
}

impl Manual {
    /// The manual of a program with these exit codes, as `--help` prints them (a number and its meaning in a
    /// line), these variables, and these notes on its commands.
    pub fn new(
        program: Command,
        exit_codes: &str,
        environment: &'static [Entry],
        notes: &'static [PageNotes],
    ) -> Self {
        let mut program = program.disable_help_subcommand(true);
        program.build();
        let code = |line: &str| {
            let (code, meaning) = line.trim().split_once(' ')?;
            code.parse::<u8>().ok().map(|_| (code.to_owned(), meaning.trim().to_owned()))
        };
        let exit_codes = exit_codes.lines().filter_map(code).collect();
        Self { program, exit_codes, environment, notes }
    }

    /// Every page: the program's, then its commands' in their order.
    pub fn pages(&self) -> Vec<ManualPage> {
        let mut pages = Vec::new();
        self.add(&self.program, &mut Vec::new(), &mut pages);
        pages
    }

    /// The page of a command, by its words (`lab run check`) or its page's name (`memtwin-lab-run-check`,
    /// `lab-run-check`); without words the program's.
    ///
    /// Errors: there is no such command.
    pub fn page(&self, words: &[String]) -> Result<ManualPage, UnknownPage> {
        let program = self.program.get_name();
        let mut pages = self.pages();
        let name = words.join("-");
        let whole = match name.as_str() {
            "" => program.to_owned(),
            name if name == program || name.starts_with(&format!("{program}-")) => name.to_owned(),
            name => format!("{program}-{name}"),
        };
        match pages.iter().position(|page| page.name() == whole) {
            Some(at) => Ok(pages.swap_remove(at)),
            None => Err(UnknownPage { name: words.join(" "), example: self.example() }),
        }
    }

    fn add<'c>(&self, command: &'c Command, words: &mut Vec<&'c str>, pages: &mut Vec<ManualPage>) {
        let notes = self.notes.iter().find(|notes| notes.command == words.join(" "));
        let parent = words
            .split_last()
            .map(|(_, parent)| [&[self.program.get_name()], parent].concat().join("-"));
        pages.push(ManualPage::new(self, command, notes, parent));
        for command in shown(command) {
            words.push(command.get_name());
            self.add(command, words, pages);
            words.pop();
        }
    }

    /// The deepest of the first commands, as one would type it.
    fn example(&self) -> String {
        let mut command = &self.program;
        while let Some(next) = shown(command).max_by_key(|next| shown(next).count()) {
            command = next;
        }
        command.get_bin_name().unwrap_or(command.get_name()).to_owned()
    }
}

/// The commands of a command that people are shown.
fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|command| !command.is_hide_set())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Arg;

    const NOTES: &[PageNotes] = &[PageNotes {
        command: "up far",
        exit_codes: Some(&[("0", "always")]),
        files: &[("/a/file", "what it holds")],
        examples: &[("it up far .x", "Does 'it'.")],
    }];

    fn manual() -> Manual {
        let far = Command::new("far").about("Goes far").arg(Arg::new("x").long("ex").help("An x"));
        let up = Command::new("up").about("Goes up").subcommand(far).subcommand_required(true);
        let hidden = Command::new("secret").hide(true);
        let program = Command::new("it").version("1.2").subcommand(up).subcommand(hidden);
        Manual::new(
            program,
            "Exit codes:\n    0  verified\n  130  interrupted",
            &[("IT_X", "an x")],
            NOTES,
        )
    }

    #[test]
    fn each_command_at_each_level_has_a_page_and_a_hidden_one_has_none() {
        let names: Vec<_> = manual().pages().iter().map(ManualPage::file_name).collect();
        assert_eq!(names, ["it.1", "it-up.1", "it-up-far.1"]);
    }

    #[test]
    fn a_page_is_found_by_its_words_and_by_its_name() {
        let found = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            manual().page(&words).map(|page| page.name().to_owned())
        };
        for words in [&["up", "far"][..], &["up-far"], &["it-up-far"], &["it", "up", "far"]] {
            assert_eq!(found(words).unwrap(), "it-up-far");
        }
        assert_eq!(found(&[]).unwrap(), "it");
        assert_eq!(found(&["it"]).unwrap(), "it");
        for words in [&["secret"][..], &["far"], &["help"], &["up", "up"]] {
            let error = found(words).unwrap_err().to_string();
            assert!(error.ends_with("expected words as in it up far"), "{error}");
        }
    }

    #[test]
    fn a_page_has_clap_s_sections_and_those_of_the_notes() {
        let page = manual().page(&["up".to_owned(), "far".to_owned()]).unwrap();
        let sections: Vec<_> =
            page.text().lines().filter_map(|line| line.strip_prefix(".SH ")).collect();
        assert_eq!(
            sections,
            [
                "NAME",
                "SYNOPSIS",
                "DESCRIPTION",
                "OPTIONS",
                "\"EXIT STATUS\"",
                "ENVIRONMENT",
                "FILES",
                "EXAMPLES",
                "\"SEE ALSO\""
            ]
        );
        assert!(page.text().contains("always") && !page.text().contains("interrupted"));
        // A line of roff that begins with a dot or a quote is an order.
        assert!(
            page.text().contains("it up far .x") && page.text().contains("Does \\*(Aqit\\*(Aq.")
        );
        assert!(page.text().contains("it\\-up\\fR(1)"));
        let program = manual().page(&[]).unwrap();
        assert!(program.text().contains("interrupted") && program.text().contains("it 1.2"));
        assert!(!program.text().contains(".SH FILES"));
    }
}
