//! What ends the replication of a window: the end of the guest's program; and, for a control, a change behind
//! the log's back.

use memtwin_lab::aeshmem::Window;
use memtwin_pages::Layout;
use memtwin_report::record::PageAt;
use memtwin_session::ReplicationController;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Controls a replication of the window.
#[derive(Debug)]
pub(crate) struct WindowController<'s> {
    pub(crate) memory: &'s Path,
    pub(crate) window: Window,
    pub(crate) control: bool,
    /// Set when the program has ended.
    pub(crate) over: AtomicBool,
    /// How many rounds have begun.
    pub(crate) rounds: AtomicU32,
}

impl ReplicationController for WindowController<'_> {
    fn is_over(&self) -> bool {
        // Asked once in each round.
        self.rounds.fetch_add(1, Ordering::Relaxed);
        // What the program wrote was there before we heard of its end.
        self.over.load(Ordering::Acquire)
    }

    fn is_control(&self) -> bool {
        self.control
    }

    /// Flips a word in the middle of the window, in the memory file.
    fn tamper(&self, layout: &Layout) -> Result<Vec<PageAt>, String> {
        let Some((_, region)) = layout.iter().next() else { return Err("no region".to_owned()) };
        let at = self.window.offset + self.window.bytes / 2;
        let flip = || {
            let file = File::options().read(true).write(true).open(self.memory)?;
            let mut word = [0; 8];
            file.read_exact_at(&mut word, at)?;
            file.write_all_at(&word.map(|byte| !byte), at)
        };
        flip().map_err(|error| format!("{}: {error}", self.memory.display()))?;
        let page = at / region.page_size().bytes();
        Ok(vec![PageAt::of(region, page)])
    }
}
