//! Words and numbers as every format writes them.

use crate::record::{Case, Verdict};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

/// The text as one harmless line: names and reasons come from a guest, a peer or a file, and may
/// hold line breaks, which would forge a result line, or escape sequences, which would rewrite the
/// terminal. White space becomes one space, any other control character its escape.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in text.split(|c: char| c.is_whitespace()).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        escape(word, &mut line);
    }
    line
}

/// The text as one harmless line of at most `most` characters: one that was longer ends in `…`.
pub fn clipped(text: &str, most: usize) -> String {
    // White space at the cut goes with it, so the text that is kept is never longer than it was.
    match text.char_indices().nth(most) {
        None => one_line(text),
        Some((end, _)) => {
            let line = one_line(&text[..end]);
            let cut = line.char_indices().nth(most).map_or(line.len(), |(cut, _)| cut);
            format!("{}…", &line[..cut])
        }
    }
}

/// The text without what would steer a terminal: what a peer, a guest, a file's name or QEMU says may hold
/// escape sequences. Each control character becomes its escape, spaces stay as they are, so what is aligned
/// stays so. A line break is a control character too: lines are split before.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    escape(text, &mut plain);
    plain
}

/// A path as a part of one line: a name may hold line breaks too.
pub fn shown(path: &Path) -> String {
    plain(&path.to_string_lossy())
}

fn escape(text: &str, to: &mut String) {
    for c in text.chars() {
        if c.is_control() || steers(c) {
            // Writing to a string can't fail.
            let _ = write!(to, "{}", c.escape_default());
        } else {
            to.push(c);
        }
    }
}

/// Whether a character is no control character but turns the direction of what follows.
fn steers(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `1 page`, `2 pages`.
pub fn count(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// A duration in the unit that suits it: `412 us`, `3.1 ms`, `12.4 s`.
pub fn time(time: Duration) -> String {
    let us = time.as_micros();
    match us {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.1} s", us as f64 / 1e6),
    }
}

/// A case's verdict in words, and whether its log was not put to the test; of a control: how much of what was injected was found.
pub fn outcome(case: &Case) -> String {
    let control = match (case.verdict(), case.control()) {
        (Verdict::Identical | Verdict::Differs, Some(control)) => control,
        (verdict @ Verdict::Identical, None) if case.is_idle() => {
            return format!("{verdict}, not exercised");
        }
        (verdict, _) => return verdict.to_string(),
    };
    let more = control.found.len() - control.hits();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("found {} of {}{more} (control)", control.hits(), control.injected.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_a_line() {
        assert_eq!(one_line("a b"), "a b");
        assert_eq!(one_line(" a\n\r\t b\u{2028}c\u{85}"), "a b c");
        assert_eq!(one_line("\u{1b}[2J\u{7}\u{202e}é"), r"\u{1b}[2J\u{7}\u{202e}é");
        assert_eq!(one_line("\n"), "");
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        assert_eq!(clipped("a  b", 4), "a b");
        assert_eq!(clipped("abcd", 4), "abcd");
        assert_eq!(clipped("éééé\n", 3), "ééé…");
        assert_eq!(clipped("\u{1b}\u{1b}", 1), r"\…");
    }

    #[test]
    fn a_terminal_is_not_steered() {
        assert_eq!(plain("a  b é"), "a  b é");
        assert_eq!(
            plain("\u{1b}]0;x\u{7}\u{9b}2J\r\n\u{7f}"),
            r"\u{1b}]0;x\u{7}\u{9b}2J\r\n\u{7f}"
        );
    }

    #[test]
    fn a_time_has_the_unit_that_suits_it() {
        let said =
            [0, 999, 1_000, 3_149, 999_900, 12_440_000].map(|us| time(Duration::from_micros(us)));
        assert_eq!(said, ["0 us", "999 us", "1.0 ms", "3.1 ms", "999.9 ms", "12.4 s"]);
    }
}
