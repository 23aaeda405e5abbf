//! How much of a record a page shows. What is left out is counted, and the record has it.

/// A page is smaller than this, in bytes.
pub const MAX_BYTES: usize = 5 << 20;

/// What the sections of all records may have together, the frame aside.
pub(crate) const BUDGET: usize = MAX_BYTES - (256 << 10);

/// Cases in the matrix or the list of a record.
pub(crate) const LISTED_CASES: usize = 4_000;

/// Columns of a matrix.
pub(crate) const COLUMNS: usize = 16;

/// Lost pages that a case lists.
pub(crate) const LOST_PAGES: usize = 200;

/// Regions that a case draws.
pub(crate) const REGIONS: usize = 48;

/// Places in a region that are drawn page by page.
pub(crate) const ZOOMED: usize = 8;

/// Bars of a chart; more rounds than that share them.
pub(crate) const BARS: usize = 240;

/// Rounds in a table of numbers.
pub(crate) const ROUNDS: usize = 100;

/// Notes of a run.
pub(crate) const NOTES: usize = 100;

/// Rows of any other table.
pub(crate) const ROWS: usize = 200;

/// Characters of a name.
pub(crate) const NAME: usize = 160;

/// Characters of a sentence, a reason, a command.
pub(crate) const SENTENCE: usize = 600;
