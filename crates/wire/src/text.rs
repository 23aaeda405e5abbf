//! A text that a peer wrote, so that it can't move a terminal's cursor.

use std::fmt::{self, Write};

/// A text from a peer, or for one. What is displayed has its control characters escaped, and those
/// that change the direction of writing; there is no other way to read it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerText<'a>(&'a str);

impl<'a> PeerText<'a> {
    /// The bytes that go over the wire.
    pub(crate) fn raw(self) -> &'a str {
        self.0
    }
}

impl<'a> From<&'a str> for PeerText<'a> {
    fn from(text: &'a str) -> Self {
        Self(text)
    }
}

impl fmt::Display for PeerText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if is_shown(character) {
                f.write_char(character)?;
            } else {
                write!(f, "{}", character.escape_default())?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for PeerText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Whether a terminal shows a character as itself and does nothing else: no control character (C0,
/// DEL, C1), no line or paragraph separator, no mark that turns the direction of what follows.
pub(crate) fn is_shown(character: char) -> bool {
    !character.is_control()
        && !matches!(character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_character_reaches_a_terminal_but_those_that_it_shows() {
        let evil = "\x1b]0;title\x07 \x1b[2J\r\n\u{9b}31m\u{202e}drowssap ünïcode 'q' \\ \u{2066}";
        let shown = PeerText::from(evil).to_string();
        assert!(shown.chars().all(is_shown), "{shown:?}");
        assert_eq!(
            shown,
            "\\u{1b}]0;title\\u{7} \\u{1b}[2J\\r\\n\\u{9b}31m\\u{202e}drowssap ünïcode 'q' \\ \\u{2066}"
        );
        assert_eq!(PeerText::from("as it is").to_string(), "as it is");
    }
}
