//! Orders that come by a pipe, a line each (docs/guest.md). A terminal keeps 4 KiB that were not read,
//! and drops the rest: so each order waits for the answer to the one before.

use super::hand::ConsoleHand;
use memtwin_report::Failure;

/// How long a line may be that a terminal takes (`N_TTY_BUF_SIZE`, termios(3)).
const LONGEST: usize = 4095;

/// The orders, and how far we are.
pub(super) struct PipedOrders {
    board: String,
    input: Vec<u8>,
    ended: bool,
    /// The order that is carried out, and how the last line of its answer begins.
    given: Option<(String, Vec<u8>)>,
    /// The line that the console is saying.
    line: Vec<u8>,
}

impl PipedOrders {
    /// Those that a board is given.
    pub(super) fn of(board: &str) -> Self {
        let board = board.to_owned();
        Self { board, input: Vec::new(), ended: false, given: None, line: Vec::new() }
    }

    fn end_of_line(&self) -> Option<usize> {
        self.input.iter().position(|&byte| byte == b'\n')
    }
}

impl ConsoleHand for PipedOrders {
    fn wants(&self) -> bool {
        !self.ended && self.end_of_line().is_none()
    }

    fn takes(&mut self, input: &[u8]) -> Result<(), Failure> {
        self.input.extend_from_slice(input);
        if input.is_empty() {
            self.ended = true;
            if !self.input.is_empty() {
                self.input.push(b'\n');
            }
        }
        let mut lines = self.input.split(|&byte| byte == b'\n');
        match lines.find(|line| line.len() > LONGEST) {
            Some(line) => {
                let begin = String::from_utf8_lossy(&line[..40]).into_owned();
                Err(Failure::usage(format!(
                    "the order '{begin}…': expected {LONGEST} bytes at most, as a terminal's line has; put \
                     a script on the board, by `memtwin lab ssh`"
                )))
            }
            None => Ok(()),
        }
    }

    fn hears(&mut self, said: &[u8]) {
        for part in said.split_inclusive(|&byte| byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let done = |(_, end): &(String, Vec<u8>)| self.line.starts_with(end);
                if self.given.as_ref().is_some_and(done) {
                    self.given = None;
                }
                self.line.clear();
            }
        }
    }

    fn next(&mut self) -> Vec<u8> {
        while self.given.is_none()
            && let Some(end) = self.end_of_line()
        {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            let order = String::from_utf8_lossy(&line).trim().to_owned();
            // An empty line has no answer.
            if let Some(id) = order.split_whitespace().next() {
                let answered = format!("MEMTWIN DONE {id} rc=").into_bytes();
                self.given = Some((order, answered));
                return line;
            }
        }
        Vec::new()
    }

    fn is_done(&self) -> bool {
        self.ended && self.given.is_none() && self.input.is_empty()
    }

    fn ended(&self) -> Result<(), Failure> {
        let Self { board, given, .. } = self;
        Err(Failure::environment(match given {
            Some((order, _)) => format!("board {board} ended before it had answered '{order}'"),
            None => format!("board {board} ended before all orders were given"),
        }))
    }
}
