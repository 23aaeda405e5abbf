//! Who decides what is typed on a console.

use memtwin_report::{ExitCode, Failure};

/// Who decides what is typed.
pub(super) trait ConsoleHand {
    /// Whether it wants more of the input now.
    fn wants(&self) -> bool;

    /// Takes what came of the input; nothing is its end.
    ///
    /// Errors: it can't be typed.
    fn takes(&mut self, input: &[u8]) -> Result<(), Failure>;

    /// Hears what the console says.
    fn hears(&mut self, said: &[u8]);

    /// What is typed next, if anything is.
    fn next(&mut self) -> Vec<u8>;

    /// Whether this is all.
    fn is_done(&self) -> bool;

    /// The board has ended.
    ///
    /// Errors: something is left undone.
    fn ended(&self) -> Result<(), Failure>;
}

/// What is said of a console that was interrupted.
pub(super) fn interrupted() -> Failure {
    Failure { code: ExitCode::Interrupted, message: "interrupted".to_owned() }
}
