//! A person's keys: the board gets each of them, but for the one that leaves.

use super::hand::ConsoleHand;
use memtwin_report::Failure;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Ctrl-].
const LEAVE: u8 = 0x1d;

/// What was typed and not sent yet.
pub(super) struct TypedKeys {
    typed: Vec<u8>,
    left: bool,
    quit: Arc<AtomicBool>,
}

impl TypedKeys {
    pub(super) fn new(quit: &Arc<AtomicBool>) -> Self {
        Self { typed: Vec::new(), left: false, quit: Arc::clone(quit) }
    }
}

impl ConsoleHand for TypedKeys {
    fn wants(&self) -> bool {
        true
    }

    fn takes(&mut self, input: &[u8]) -> Result<(), Failure> {
        let keys = input.split(|&key| key == LEAVE).next().unwrap_or_default();
        self.typed.extend_from_slice(keys);
        self.left |= keys.len() < input.len() || input.is_empty();
        Ok(())
    }

    fn hears(&mut self, _: &[u8]) {}

    fn next(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.typed)
    }

    fn is_done(&self) -> bool {
        self.left || self.quit.load(Ordering::Relaxed)
    }

    fn ended(&self) -> Result<(), Failure> {
        Ok(())
    }
}
