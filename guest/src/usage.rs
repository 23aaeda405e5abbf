//! How the programs read their arguments and end: 0, 1 (failed), 2 (usage).

use crate::quantity::{self, Unreadable};
use std::process::ExitCode;

/// Why a program ends before its work is done.
#[derive(Debug, thiserror::Error)]
pub enum UsageFault {
    /// It was called in a way that it does not know.
    #[error("{0}")]
    Usage(String),
    /// The machine did not do its part.
    #[error("{0}")]
    Failed(String),
}

impl UsageFault {
    /// A failure, in the words of an error.
    pub fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<Unreadable> for UsageFault {
    fn from(unreadable: Unreadable) -> Self {
        Self::Usage(unreadable.to_string())
    }
}

/// The arguments of a program: words, and options that begin with `--`.
#[derive(Debug)]
pub struct Arguments {
    words: Vec<String>,
    options: Vec<(String, Option<String>)>,
}

impl Arguments {
    /// Takes apart what the program was called with. `flags` are the options without a value,
    /// `valued` those that have one, as `--size 1M` or `--size=1M`.
    ///
    /// Errors: an unknown option, an option without its value, one given twice.
    pub fn parse(
        arguments: impl Iterator<Item = String>,
        flags: &[&str],
        valued: &[&str],
    ) -> Result<Self, UsageFault> {
        let mut arguments = arguments;
        let mut parsed = Self { words: Vec::new(), options: Vec::new() };
        while let Some(argument) = arguments.next() {
            let Some(option) = argument.strip_prefix("--") else {
                parsed.words.push(argument);
                continue;
            };
            let (name, inline) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (option, None),
            };
            let value = if valued.contains(&name) {
                let value = inline.or_else(|| arguments.next());
                Some(
                    value
                        .ok_or_else(|| UsageFault::Usage(format!("--{name}: expected a value")))?,
                )
            } else if !flags.contains(&name) {
                return Err(UsageFault::Usage(format!("unknown option --{name}")));
            } else if inline.is_some() {
                return Err(UsageFault::Usage(format!("--{name} takes no value")));
            } else {
                None
            };
            if parsed.options.iter().any(|(other, _)| other == name) {
                return Err(UsageFault::Usage(format!("--{name} is given twice")));
            }
            parsed.options.push((name.to_owned(), value));
        }
        Ok(parsed)
    }

    /// The words, which must be as many as there are names for them.
    pub fn words<const N: usize>(&self, names: [&str; N]) -> Result<[&str; N], UsageFault> {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        words.try_into().map_err(|words: Vec<&str>| {
            let expected = if N == 0 { "no word".to_owned() } else { names.join(" ") };
            UsageFault::Usage(format!("expected {expected}, got {} words", words.len()))
        })
    }

    /// Whether an option was given.
    pub fn has(&self, name: &str) -> bool {
        self.options.iter().any(|(option, _)| option == name)
    }

    /// The number that an option gives.
    pub fn number(&self, name: &str) -> Result<Option<u64>, UsageFault> {
        let value = self.options.iter().find(|(option, _)| option == name);
        let Some((_, Some(value))) = value else { return Ok(None) };
        Ok(Some(quantity::parse(value)?))
    }
}

/// Runs a program's body; says what went wrong, in one line, and after a wrong call the usage.
pub fn run(name: &str, usage: &str, body: impl FnOnce() -> Result<(), UsageFault>) -> ExitCode {
    use std::io::Write as _;
    let asked = std::env::args().skip(1).any(|argument| argument == "--help" || argument == "-h");
    if asked {
        // Whoever closes the pipe has seen enough.
        let _ = writeln!(std::io::stdout(), "{usage}");
        return ExitCode::SUCCESS;
    }
    match body() {
        Ok(()) => ExitCode::SUCCESS,
        Err(UsageFault::Failed(what)) => {
            let _ = writeln!(std::io::stderr(), "{name}: {what}");
            ExitCode::from(1)
        }
        Err(UsageFault::Usage(what)) => {
            let _ = writeln!(std::io::stderr(), "{name}: {what}\n\n{usage}");
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, UsageFault> {
        Arguments::parse(line.split_whitespace().map(str::to_owned), &["fine"], &["size"])
    }

    #[test]
    fn words_and_options_may_be_mixed() {
        for line in ["dirty --size 1M auto", "--size=1M dirty auto"] {
            let arguments = parse(line).unwrap();
            assert_eq!(arguments.words(["WHAT", "ADDRESS"]).unwrap(), ["dirty", "auto"]);
            assert_eq!(arguments.number("size").unwrap(), Some(1 << 20));
            assert!(!arguments.has("fine"));
        }
        assert!(parse("--fine").unwrap().has("fine"));
    }

    #[test]
    fn a_wrong_call_is_named() {
        let wrong = |line| parse(line).unwrap_err().to_string();
        assert_eq!(wrong("--speed 1"), "unknown option --speed");
        assert_eq!(wrong("--size"), "--size: expected a value");
        assert_eq!(wrong("--fine=1"), "--fine takes no value");
        assert_eq!(wrong("--fine --fine"), "--fine is given twice");
        let words = parse("1 2").unwrap();
        let words = words.words(["PAGES", "DIRTY", "INTERVAL_MS"]).unwrap_err();
        assert_eq!(words.to_string(), "expected PAGES DIRTY INTERVAL_MS, got 2 words");
        let size = parse("--size nonsense").unwrap().number("size").unwrap_err();
        assert!(matches!(size, UsageFault::Usage(_)), "{size}");
    }
}
