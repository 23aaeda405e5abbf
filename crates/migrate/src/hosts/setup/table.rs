//! Tables of steps: a row says what is set up, how to see that nobody has it already, what sets it up and
//! what undoes it. Another step is another row.

use super::SetupStep;
use memtwin_lab::host::quoted;

/// A row. In its texts `{name}` stands for a word of the host's ([`HostWords`]), and `{it}` for the word
/// that the row is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SetupRow<H> {
    /// Whether this host needs it.
    pub(crate) needed: fn(&H) -> bool,
    /// The name of the word that `{it}` stands for.
    pub(crate) of: &'static str,
    /// What it is, for a person.
    pub(crate) says: &'static str,
    /// A line that fails if somebody has it already.
    pub(crate) free: &'static str,
    /// A line that sets it up.
    pub(crate) does: &'static str,
    /// A line that undoes it, as far as there is something to undo.
    pub(crate) undoes: &'static str,
}

/// What a host's rows may name: devices, addresses, paths and programs there.
pub(crate) trait HostWords {
    /// The word of a name, as its shell takes it; none if the host has no such thing.
    fn word(&self, name: &str) -> Option<String>;
}

impl<H> SetupRow<H> {
    /// A folder of ours, with what will be in it.
    pub(crate) const fn folder(needed: fn(&H) -> bool, of: &'static str) -> Self {
        Self {
            needed,
            of,
            says: "{it}",
            free: "[ ! -e {it} ]",
            does: "mkdir -m 700 {it}",
            // Who writes there ends at the same time as we do, and not before.
            undoes: "rm -rf {it} || { sleep 1; rm -rf {it}; }",
        }
    }
}

/// The steps that a host needs, in the order of the rows.
pub(crate) fn steps<H: HostWords>(rows: &[SetupRow<H>], host: &H) -> Vec<SetupStep> {
    let needed = rows.iter().filter(|row| (row.needed)(host));
    needed.map(|row| step(row, host)).collect()
}

/// The step that makes a folder of ours.
pub(crate) fn folder_step(path: &str) -> SetupStep {
    let row = SetupRow::folder(|_| true, "path");
    SetupStep { says: path.to_owned(), ..step(&row, &OwnFolder(path.to_owned())) }
}

/// A host of which nothing is known but the path of a folder of ours.
struct OwnFolder(String);

impl HostWords for OwnFolder {
    fn word(&self, name: &str) -> Option<String> {
        (name == "path").then(|| quoted(&self.0))
    }
}

fn step<H: HostWords>(row: &SetupRow<H>, host: &H) -> SetupStep {
    let word = |name: &str| host.word(if name == "it" { row.of } else { name });
    SetupStep {
        says: filled(row.says, &word),
        free: filled(row.free, &word),
        does: filled(row.does, &word),
        undoes: filled(row.undoes, &word),
    }
}

/// A text with its words put in. Braces about anything else are the shell's, and stay.
fn filled(text: &str, word: &dyn Fn(&str) -> Option<String>) -> String {
    let (mut filled, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let named = after.split_once('}').filter(|(name, _)| is_name(name));
        let named = named.and_then(|(name, rest)| Some((word(name)?, rest)));
        match named {
            Some((word, after)) => {
                filled.push_str(&word);
                rest = after;
            }
            None => {
                filled.push('{');
                rest = after;
            }
        }
    }
    filled.push_str(rest);
    filled
}

/// Whether this may be a word's name; what else stands in braces is a line of the shell's.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_put_in_once_and_the_braces_of_the_shell_stay() {
        let word = |name: &str| match name {
            "tap" => Some("tap0".to_owned()),
            "odd" => Some("{tap}".to_owned()),
            _ => None,
        };
        assert_eq!(
            filled("ip {tap} || { x; }; {odd} {no}", &word),
            "ip tap0 || { x; }; {tap} {no}"
        );
    }
    #[test]
    fn a_folder_is_removed_even_if_somebody_still_writes_there() {
        let SetupStep { says, free, does, undoes } = folder_step("/tmp/a b");
        assert_eq!((says.as_str(), free.as_str()), ("/tmp/a b", "[ ! -e '/tmp/a b' ]"));
        assert_eq!(does, "mkdir -m 700 '/tmp/a b'");
        assert_eq!(undoes, "rm -rf '/tmp/a b' || { sleep 1; rm -rf '/tmp/a b'; }");
    }
}
