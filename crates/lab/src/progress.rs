//! What long work tells while it goes on, and whether it is still wanted.

/// Hears of the progress of work, from whichever thread does it.
pub trait Progress: Send {
    /// A line about what goes on.
    fn say(&mut self, line: &str);

    /// Whether the work is to be given up. It ends soon after with an error, leaves no process and
    /// nothing that is half done.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Does not listen, and never gives up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn say(&mut self, _line: &str) {}
}
