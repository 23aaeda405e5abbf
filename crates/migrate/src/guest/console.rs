//! A guest's console over a byte stream: every line with the time at which it came, and orders
//! (`docs/guest.md`). A guest that moves leaves its source's console in the middle of a line, and goes on
//! at its destination's; [`joined`] makes one account of both.

mod error;
mod output;

pub use error::ConsoleError;
pub use output::{ConsoleLine, ConsoleOutput, joined};

use memtwin_lab::Progress;
use memtwin_wait::Deadline;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Orders of all consoles: an answer must not be taken for another's.
static ORDERS: AtomicU64 = AtomicU64::new(0);
/// How often it is seen whether a wait is still wanted.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A console.
#[derive(Debug)]
pub struct Console {
    side: String,
    stream: UnixStream,
    heard: Arc<(Mutex<ConsoleOutput>, Condvar)>,
}

impl Console {
    /// Listens from now on, from a thread that ends with the stream; what is said goes into the file
    /// `log` as well.
    ///
    /// Errors: that file can't be made.
    pub fn listen(side: &str, stream: UnixStream, log: &Path) -> Result<Self, ConsoleError> {
        let error = |error| ConsoleError::Log { path: log.to_owned(), error };
        let mut log = File::create(log).map_err(error)?;
        let mut from = stream.try_clone().map_err(error)?;
        let heard = Arc::new((Mutex::new(ConsoleOutput::default()), Condvar::new()));
        let shared = Arc::clone(&heard);
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            loop {
                let read = match from.read(&mut chunk) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    read => read.unwrap_or(0),
                };
                // A full disk must not stop the guest.
                let _ = log.write_all(&chunk[..read]);
                let mut heard = lock(&shared.0);
                heard.take_in(&chunk[..read], Instant::now());
                heard.ended |= read == 0;
                shared.1.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        Ok(Self { side: side.to_owned(), stream, heard })
    }

    /// What it has said so far.
    pub fn heard(&self) -> ConsoleOutput {
        lock(&self.heard.0).clone()
    }

    /// Waits until the guest takes orders; what it says of itself.
    ///
    /// Errors: it ends, panics, or is not ready in time.
    pub fn ready(
        &self,
        limit: Duration,
        progress: &mut dyn Progress,
    ) -> Result<String, ConsoleError> {
        const READY: &str = "MEMTWIN READY ";
        let (_, line) = self.wait(0, READY, limit, progress, |line| line.starts_with(READY))?;
        Ok(line[READY.len()..].to_owned())
    }

    /// Gives an order and waits for its answer: what it returned, and the lines that came meanwhile,
    /// those of programs that speak on the console among them.
    ///
    /// Errors: the console ends, the guest panics, or does not answer in time.
    pub fn order(
        &self,
        order: &str,
        limit: Duration,
        progress: &mut dyn Progress,
    ) -> Result<(i32, Vec<String>), ConsoleError> {
        let id = ORDERS.fetch_add(1, Ordering::Relaxed) + 1;
        let before = self.heard().lines.len();
        let what = format!("the answer to '{order}'");
        // Who is gone is found by the wait.
        let _ = writeln!(&self.stream, "{id} {order}");
        let (begin, done) = (format!("MEMTWIN BEGIN {id}"), format!("MEMTWIN DONE {id} rc="));
        let (from, _) = self.wait(before, &what, limit, progress, |line| line == begin)?;
        let (to, line) = self.wait(from, &what, limit, progress, |line| line.starts_with(&done))?;
        let heard = self.heard();
        let lines = heard.lines[from + 1..to].iter().map(|line| line.text.clone());
        Ok((line[done.len()..].trim().parse().unwrap_or(-1), lines.collect()))
    }

    /// Gives an order that must return 0.
    ///
    /// Errors: it returns something else; or as [`Console::order`].
    pub fn succeed(
        &self,
        order: &str,
        limit: Duration,
        progress: &mut dyn Progress,
    ) -> Result<Vec<String>, ConsoleError> {
        let (rc, output) = self.order(order, limit, progress)?;
        if rc == 0 {
            return Ok(output);
        }
        Err(ConsoleError::Refused { side: self.side.clone(), order: order.to_owned(), rc, output })
    }

    /// Waits for a line; its number and text. `from` is the first that may be it.
    ///
    /// Errors: as [`Console::order`].
    pub fn wait(
        &self,
        from: usize,
        what: &str,
        limit: Duration,
        progress: &mut dyn Progress,
        fits: impl Fn(&str) -> bool,
    ) -> Result<(usize, String), ConsoleError> {
        let (deadline, what) = (Deadline::after(limit), what.trim().to_owned());
        let mut seen = from;
        let mut heard = lock(&self.heard.0);
        loop {
            while let Some(line) = heard.lines.get(seen) {
                if fits(&line.text) {
                    return Ok((seen, line.text.clone()));
                }
                if line.text.contains("Kernel panic - not syncing") {
                    let last = heard.last();
                    return Err(ConsoleError::Panicked { side: self.side.clone(), what, last });
                }
                seen += 1;
            }
            let (side, last) = (self.side.clone(), || heard.last());
            if heard.ended {
                return Err(ConsoleError::Ended { side, what, last: last() });
            }
            if progress.is_cancelled() {
                return Err(ConsoleError::Cancelled);
            }
            if deadline.is_over() {
                return Err(ConsoleError::TimedOut { side, what, limit, last: last() });
            }
            let waited = self.heard.1.wait_timeout(heard, POLL_INTERVAL);
            heard = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // Wakes the thread that listens; a copy of the stream alone would not end it.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtwin_lab::Silent;
    use std::io::{BufRead, BufReader};

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn orders_are_answered_and_an_end_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let console = Console::listen("source", ours, &folder.path().join("log")).unwrap();
        let guest = thread::spawn(move || {
            let mut orders = BufReader::new(theirs.try_clone().unwrap());
            let mut order = String::new();
            orders.read_line(&mut order).unwrap();
            let id = order.split(' ').next().unwrap();
            write!(&theirs, "MEMTWIN BEGIN {id}\r\nsaid\r\n\r\nMEMTWIN DONE {id} rc=3\r\n")
                .unwrap();
        });
        let (rc, said) = console.order("run it", LONG, &mut Silent).unwrap();
        assert_eq!((rc, said[0].as_str()), (3, "said"));
        guest.join().unwrap();
        let error = console.order("run it", LONG, &mut Silent).unwrap_err();
        assert!(matches!(error, ConsoleError::Ended { .. }), "{error}");
    }
}
