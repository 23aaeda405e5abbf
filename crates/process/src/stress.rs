//! A writer: a thread that obeys its block of the control page, and dirties pages in the
//! stressor's way. The same ways as the embedded guest's program, write by write.

use crate::store;
use memtwin_mapping::Mapping;
use memtwin_stressor::{Stressor, control};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

/// How long a writer sleeps that has to wait for leave to write more, or for another command.
const NAP: Duration = Duration::from_micros(200);

/// What one turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WriterStep {
    /// This many pages were written.
    Wrote(u64),
    /// It was another writer's turn.
    NotMine,
    /// Everything is written.
    Finished,
    /// A process can't do that.
    Unable,
}

/// A writer and where it stands.
#[derive(Debug)]
pub(crate) struct PageWriter {
    window: Arc<Mapping>,
    controls: Arc<Mapping>,
    block: usize,
    stressor: Option<Stressor>,
    pages: u64,
    shift: u64,
    stride: u64,
    writer: u64,
    writers: u64,
    mask: u64,
    /// The state of a 64-bit LCG: no value comes twice, so a store of it changes what was there.
    random: u64,
    written: u64,
    /// For `sequential` and `strided`: the next page. For `once`: the last number.
    next: u64,
    /// For `strided`: where this walk began. For `once`: how many numbers there were.
    walked: u64,
}

impl PageWriter {
    /// The writer whose block begins at `block`. The control page must have been filled in.
    pub(crate) fn new(window: Arc<Mapping>, controls: Arc<Mapping>, block: usize) -> Self {
        let get = |at: usize| controls.word(block + at).load(Ordering::Acquire);
        let (stressor, writer) =
            (Stressor::from_code(get(control::STRESSOR)), get(control::WRITER));
        Self {
            stressor,
            pages: get(control::PAGES),
            shift: get(control::SHIFT),
            stride: get(control::STRIDE),
            writer,
            writers: get(control::WRITERS),
            mask: get(control::MASK),
            random: get(control::SEED),
            written: 0,
            next: if stressor == Some(Stressor::Once) { 0 } else { writer },
            walked: 0,
            window,
            controls,
            block,
        }
    }

    /// Writes until everything is written or the host says stop.
    pub(crate) fn run(&mut self) {
        self.say(control::STATE, control::STATE_UP);
        let state = loop {
            match self.hear(control::COMMAND) {
                control::RUN if self.written < self.hear(control::ALLOWED) => {}
                control::STOP => break control::STATE_STOPPED,
                _ => {
                    thread::sleep(NAP);
                    continue;
                }
            }
            match self.turn() {
                WriterStep::Wrote(pages) => {
                    self.written += pages;
                    self.say(control::WRITTEN, self.written);
                }
                WriterStep::NotMine => {}
                WriterStep::Finished => break control::STATE_FINISHED,
                WriterStep::Unable => break control::STATE_UNABLE,
            }
        };
        self.say(control::STATE, state);
    }

    fn turn(&mut self) -> WriterStep {
        // Knuth's multiplier for 2^64.
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        match self.stressor {
            Some(Stressor::Random) => self.store(self.random_page(self.pages)),
            Some(Stressor::Sequential) => {
                let page = self.next % self.pages;
                self.next = page + 1;
                self.store(page)
            }
            Some(Stressor::Strided) => self.strided(),
            Some(Stressor::Atomic) => {
                let at = self.word_in(self.random_page(self.pages));
                // An odd number: added to anything, it changes it.
                self.window.word(at).fetch_add(self.random | 1, Ordering::Relaxed);
                WriterStep::Wrote(1)
            }
            Some(Stressor::Zero) => self.zero(),
            Some(Stressor::Straddle) => self.straddle(),
            Some(Stressor::Once) => self.once(),
            Some(Stressor::Walker) | None => WriterStep::Unable,
        }
    }

    fn strided(&mut self) -> WriterStep {
        if self.next >= self.pages {
            self.walked = (self.walked + 1) % self.stride;
            self.next = self.walked;
        }
        let page = self.next;
        self.next += self.stride;
        self.store(page)
    }

    /// A page that begins with zero gets a word, any other is cleared.
    fn zero(&mut self) -> WriterStep {
        let at = (self.random_page(self.pages) << self.shift) as usize;
        let first = self.window.word(at);
        if first.load(Ordering::Relaxed) == 0 {
            first.store(self.random | 1, Ordering::Relaxed);
        } else {
            store::zero_page(&self.window, at, 1 << self.shift);
        }
        WriterStep::Wrote(1)
    }

    /// Four bytes on each side of a page's end.
    fn straddle(&mut self) -> WriterStep {
        let page = self.random_page(self.pages - 1) + 1;
        // The generator's lower half changes from one value to the next, all 2^32 of them; so both
        // halves of the store are made of it.
        let half = self.random & u64::from(u32::MAX);
        store::unaligned(&self.window, (page << self.shift) as usize - 4, half << 32 | half);
        WriterStep::Wrote(2)
    }

    /// All writers walk through the same order of all numbers up to the mask (an LCG of full
    /// period), from the same beginning; of W writers, each takes every W-th.
    fn once(&mut self) -> WriterStep {
        if self.walked > self.mask {
            return WriterStep::Finished;
        }
        let mine = self.walked % self.writers == self.writer;
        self.walked += 1;
        self.next = self.next.wrapping_mul(1_664_525).wrapping_add(1_013_904_223) & self.mask;
        if mine && self.next < self.pages { self.store(self.next) } else { WriterStep::NotMine }
    }

    /// Stores a word that this page never had, somewhere in it.
    fn store(&self, page: u64) -> WriterStep {
        self.window.word(self.word_in(page)).store(self.random, Ordering::Relaxed);
        WriterStep::Wrote(1)
    }

    fn random_page(&self, pages: u64) -> u64 {
        ((u128::from(self.random) * u128::from(pages)) >> 64) as u64
    }

    /// The offset of a random word of a page.
    fn word_in(&self, page: u64) -> usize {
        let words = (1 << self.shift) - 8;
        ((page << self.shift) | ((self.random >> 13) & words)) as usize
    }

    fn hear(&self, at: usize) -> u64 {
        self.controls.word(self.block + at).load(Ordering::Acquire)
    }

    fn say(&self, at: usize, value: u64) {
        self.controls.word(self.block + at).store(value, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
