//! A tutorial as it is written: its commands, each with what it says.

use std::fmt;

/// How a page's line stands for any text, and for any lines where it is alone on one.
const ANYTHING: &str = "…";
/// What follows a block's language where CI does not run it, and why.
const NOT_IN_CI: &str = " not-in-ci: ";

/// A command of a page, and what it is to say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) command: String,
    expected: Vec<String>,
}

/// A page's commands.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) steps: Vec<Step>,
    /// Those that CI does not run, each with the reason.
    pub(crate) not_run: Vec<(String, String)>,
}

impl Page {
    /// Reads a page. Panics at a block that can't be read.
    pub(crate) fn read(text: &str) -> Self {
        let mut page = Self::default();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let Some(about) = line.strip_prefix("```console") else { continue };
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            let steps = steps(&block);
            match about.strip_prefix(NOT_IN_CI) {
                Some(why) => {
                    let not_run = steps.into_iter().map(|step| (step.command, why.to_owned()));
                    page.not_run.extend(not_run);
                }
                None if about.is_empty() => page.steps.extend(steps),
                None => panic!("what is '{about}'?"),
            }
        }
        page
    }
}

/// The steps of a block.
fn steps(block: &[&str]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in block {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => {
                steps.push(Step { command: command.to_owned(), expected: Vec::new() });
            }
            (None, Some(step)) => step.expected.push((*line).to_owned()),
            (None, None) => panic!("a block begins with '{line}', which is no command"),
        }
    }
    assert!(!steps.is_empty(), "a block without a command");
    steps
}

impl Step {
    /// Whether this was said, line by line.
    pub(crate) fn is_said_by(&self, said: &str) -> bool {
        let said: Vec<&str> = said.lines().map(str::trim_end).collect();
        let expected: Vec<&str> = self.expected.iter().map(|line| line.trim_end()).collect();
        lines_match(&expected, &said)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "$ {}", self.command)?;
        self.expected.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

fn lines_match(expected: &[&str], said: &[&str]) -> bool {
    match (expected.split_first(), said.split_first()) {
        (None, said) => said.is_none(),
        (Some((&ANYTHING, rest)), _) => {
            (0..=said.len()).any(|skipped| lines_match(rest, &said[skipped..]))
        }
        (Some(_), None) => false,
        (Some((line, expected)), Some((found, said))) => {
            line_matches(line, found) && lines_match(expected, said)
        }
    }
}

/// Blanks in the page stand for as many as there are; those beside an ellipsis for none as well.
fn line_matches(expected: &str, said: &str) -> bool {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (expected, said) = (words(expected), words(said));
    let parts: Vec<&str> = expected.split(ANYTHING).map(str::trim).collect();
    let [first, between @ .., last] = &parts[..] else { return expected == said };
    let Some(mut rest) = said.strip_prefix(first) else { return false };
    for part in between {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(expected: &str, said: &str) -> bool {
        let expected = expected.lines().map(str::to_owned).collect();
        Step { command: String::new(), expected }.is_said_by(said)
    }

    #[test]
    fn an_ellipsis_stands_for_what_is_not_told() {
        assert!(said("a … c\n…\nend", "a  b  c\nmore\nand more\nend\n"));
        assert!(said("a\n…", "a\n") && said("…", "") && said("", ""));
        assert!(!said("a … c", "a b d"), "another end");
        assert!(!said("a\nend", "a\nmore\nend"), "a line that is not told");
        assert!(!said("…\nend", "a\n") && !said("", "a"));
        assert!(said("a … c …", "a c d"), "nothing is something that is not told");
        assert!(said("x … y … z", "x 1 y 2 z") && !said("x … y … z", "x 1 z 2 z"));
    }

    #[test]
    fn blocks_of_commands_are_read_and_others_are_not() {
        let page = Page::read(
            "```console\n$ one\nsaid\n$ two\n```\n```\nno command\n```\n    $ no\n```console not-in-ci: no board\n$ three\n```\n",
        );
        assert_eq!(page.steps.len(), 2);
        assert_eq!(page.steps[0].expected, ["said"]);
        assert_eq!(page.not_run, [("three".to_owned(), "no board".to_owned())]);
    }

    #[test]
    #[should_panic(expected = "a block without a command")]
    fn a_block_without_a_command_is_a_mistake() {
        Page::read("```console\n```\n");
    }
}
