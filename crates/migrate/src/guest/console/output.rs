//! What a console has said, line by line; and the account of a guest that went from one to the next.

use std::time::Instant;

/// How many of the last lines an error shows.
const LAST: usize = 12;

/// A line, and when its end came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleLine {
    /// When.
    pub at: Instant,
    /// What, without the end.
    pub text: String,
}

/// What a console has said.
#[derive(Clone, Debug, Default)]
pub struct ConsoleOutput {
    /// Its whole lines.
    pub lines: Vec<ConsoleLine>,
    /// What came after the last of them.
    pub rest: String,
    pub(super) ended: bool,
}

/// The account of a guest that went from one console to the next.
pub fn joined(heard: &[ConsoleOutput]) -> Vec<ConsoleLine> {
    let (mut lines, mut rest) = (Vec::new(), String::new());
    for heard in heard {
        let mut further = heard.lines.iter().cloned();
        if let Some(mut first) = further.next() {
            first.text.insert_str(0, &std::mem::take(&mut rest));
            lines.push(first);
        }
        lines.extend(further);
        rest.push_str(&heard.rest);
    }
    lines
}
impl ConsoleOutput {
    pub(super) fn take_in(&mut self, bytes: &[u8], at: Instant) {
        self.rest.push_str(&String::from_utf8_lossy(bytes).replace('\r', ""));
        while let Some(end) = self.rest.find('\n') {
            let text: String = self.rest.drain(..=end).collect();
            self.lines.push(ConsoleLine { at, text: text.trim_end().to_owned() });
        }
    }

    pub(super) fn last(&self) -> Vec<String> {
        let from = self.lines.len().saturating_sub(LAST);
        self.lines[from..].iter().map(|line| line.text.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_cut_by_the_move_is_one() {
        let now = Instant::now();
        let (mut source, mut destination) = (ConsoleOutput::default(), ConsoleOutput::default());
        source.take_in(b"heartbeat 1\r\nheart", now);
        destination.take_in(b"beat 2\r\nheartbeat 3\r\n", now);
        let texts: Vec<String> =
            joined(&[source, destination]).into_iter().map(|line| line.text).collect();
        assert_eq!(texts, ["heartbeat 1", "heartbeat 2", "heartbeat 3"]);
    }
}
