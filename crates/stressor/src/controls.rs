//! The host's side of the control page: start, pace, stop, and count.

use crate::control::{self, BLOCK};
use crate::{StallWatch, StalledWriter, Stressor};
use memtwin_mapping::Mapping;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often a paced writer is given leave to write more.
const PACE_TICK: Duration = Duration::from_millis(1);

/// The memory that the writers write, as they see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriterWindow {
    /// Its address, in the writers' own addresses.
    pub base: u64,
    /// Its size in pages.
    pub pages: u64,
    /// The binary logarithm of the page size.
    pub shift: u32,
}

/// The control page and everything that the host does through it.
#[derive(Debug)]
pub struct Controls {
    page: Arc<Mapping>,
    writers: usize,
    pacer: Option<PaceThread>,
    watch: StallWatch,
}

impl Controls {
    /// How many bytes the blocks of this many writers take.
    pub const fn bytes(writers: usize) -> usize {
        writers * BLOCK
    }

    /// Fills in every writer's block; nobody writes before [`Controls::start`].
    ///
    /// Panics if the mapping is smaller than [`Controls::bytes`].
    pub fn new(
        page: Arc<Mapping>,
        writers: usize,
        stressor: Stressor,
        window: WriterWindow,
        seed: u64,
    ) -> Self {
        let this = Self { page, writers, pacer: None, watch: StallWatch::new(writers) };
        for writer in 0..writers {
            let set = |at, value| this.word(writer, at).store(value, Ordering::Relaxed);
            set(control::COMMAND, control::HOLD);
            set(control::ALLOWED, u64::MAX);
            set(control::WRITTEN, 0);
            set(control::STRESSOR, stressor.code());
            set(control::BASE, window.base);
            set(control::PAGES, window.pages);
            set(control::SHIFT, u64::from(window.shift));
            set(control::SEED, mix(seed.wrapping_add(writer as u64)) | 1);
            set(control::STRIDE, stride(window.pages));
            set(control::WRITER, writer as u64);
            set(control::WRITERS, writers as u64);
            set(control::MASK, window.pages.next_power_of_two() - 1);
            this.word(writer, control::STATE).store(control::STATE_NEW, Ordering::Release);
        }
        this
    }

    /// How many writers there are.
    pub fn writers(&self) -> usize {
        self.writers
    }

    /// Sets a word of the part of a block that belongs to one architecture alone.
    pub fn set_arch(&self, writer: usize, word: usize, value: u64) {
        self.word(writer, control::ARCH + 8 * word).store(value, Ordering::Release);
    }

    /// Lets the writers write.
    pub fn start(&mut self) {
        self.watch.reset();
        self.command(control::RUN);
    }

    /// Tells the writers to write no more, for good. [`Controls::over`] says when all have heard.
    pub fn stop(&mut self) {
        self.watch.reset();
        self.command(control::STOP);
    }

    /// Lets all writers together write this many pages a second from now on; `None` lifts it.
    pub fn pace(&mut self, pages_per_second: Option<u64>) {
        self.pacer = None;
        match pages_per_second {
            Some(rate) => {
                self.pacer = Some(PaceThread::start(Arc::clone(&self.page), self.writers, rate));
            }
            None => (0..self.writers).for_each(|writer| {
                self.word(writer, control::ALLOWED).store(u64::MAX, Ordering::Release);
            }),
        }
    }

    /// How many pages all writers have written.
    pub fn written(&self) -> u64 {
        (0..self.writers).map(|writer| self.get(writer, control::WRITTEN)).sum()
    }

    /// How many pages one writer has written.
    pub fn written_by(&self, writer: usize) -> u64 {
        self.get(writer, control::WRITTEN)
    }

    /// Whether no writer will write again.
    pub fn over(&self) -> bool {
        (0..self.writers).all(|writer| {
            matches!(
                self.get(writer, control::STATE),
                control::STATE_FINISHED | control::STATE_STOPPED | control::STATE_UNABLE
            )
        })
    }

    /// Whether a writer has found that its CPU can't do what the stressor needs.
    pub fn unable(&self) -> bool {
        (0..self.writers).any(|writer| self.get(writer, control::STATE) == control::STATE_UNABLE)
    }

    /// Errors if a writer that should write has not done so for a while.
    pub fn check_progress(&mut self) -> Result<(), StalledWriter> {
        for writer in 0..self.writers {
            let over = self.get(writer, control::STATE) >= control::STATE_FINISHED;
            let command = self.get(writer, control::COMMAND);
            let written = self.get(writer, control::WRITTEN);
            let wanted = !over
                && match command {
                    control::RUN => written < self.get(writer, control::ALLOWED),
                    // One that was told to stop has to say that it did.
                    control::STOP => true,
                    _ => false,
                };
            self.watch.look(writer, wanted, written)?;
        }
        Ok(())
    }

    /// Forgets how long nobody has written: the writers were paused.
    pub fn reset_watchdog(&mut self) {
        self.watch.reset();
    }

    fn command(&self, command: u64) {
        for writer in 0..self.writers {
            self.word(writer, control::COMMAND).store(command, Ordering::Release);
        }
    }

    fn get(&self, writer: usize, at: usize) -> u64 {
        self.word(writer, at).load(Ordering::Acquire)
    }

    fn word(&self, writer: usize, at: usize) -> &std::sync::atomic::AtomicU64 {
        self.page.word(writer * BLOCK + at)
    }
}

/// `dirtyram` dirties one page in 200 of the reference setup's guest; a small window gets a smaller step, so
/// that a walk still has many writes.
fn stride(pages: u64) -> u64 {
    (pages / 16).clamp(1, 200)
}

/// Spreads a small seed over 64 bits (the finalizer of SplitMix64).
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A thread that raises what the writers are allowed, at a steady rate.
#[derive(Debug)]
struct PaceThread {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl PaceThread {
    fn start(page: Arc<Mapping>, writers: usize, rate: u64) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let word = move |writer: usize, at| writer * BLOCK + at;
        let from: Vec<u64> = (0..writers)
            .map(|writer| page.word(word(writer, control::WRITTEN)).load(Ordering::Acquire))
            .collect();
        for (writer, written) in from.iter().enumerate() {
            page.word(word(writer, control::ALLOWED)).store(*written, Ordering::Release);
        }
        let began = Instant::now();
        let thread = thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let due = (began.elapsed().as_secs_f64() * rate as f64) as u64;
                for (writer, written) in from.iter().enumerate() {
                    let share =
                        due / writers as u64 + u64::from(due % writers as u64 > writer as u64);
                    page.word(word(writer, control::ALLOWED))
                        .store(written + share, Ordering::Release);
                }
                thread::sleep(PACE_TICK);
            }
        });
        Self { end, thread: Some(thread) }
    }
}

impl Drop for PaceThread {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A pacer that panicked has paced its last; the watch will notice.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn controls(writers: usize) -> Controls {
        let page = Arc::new(Mapping::anonymous(4096, 1).unwrap());
        let window = WriterWindow { base: 0x2000_0000, pages: 256, shift: 12 };
        Controls::new(page, writers, Stressor::Once, window, 1)
    }

    #[test]
    fn a_paced_writer_gets_its_share_and_no_more() {
        let mut controls = controls(2);
        controls.pace(Some(1000));
        thread::sleep(Duration::from_millis(50));
        let allowed = |controls: &Controls| -> u64 {
            (0..2).map(|writer| controls.get(writer, control::ALLOWED)).sum()
        };
        let some = allowed(&controls);
        assert!(some > 0 && some < 100_000, "{some} in 50 ms at 1000 a second");
        controls.pace(None);
        assert_eq!(controls.get(0, control::ALLOWED), u64::MAX);
    }

    #[test]
    fn it_is_over_when_every_writer_says_so() {
        let controls = controls(2);
        assert!(!controls.over());
        controls.word(0, control::STATE).store(control::STATE_FINISHED, Ordering::Relaxed);
        assert!(!controls.over());
        controls.word(1, control::STATE).store(control::STATE_STOPPED, Ordering::Relaxed);
        assert!(controls.over());
    }
}
