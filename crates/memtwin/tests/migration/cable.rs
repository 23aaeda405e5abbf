//! A cable between two QEMUs that a test can cut, as cables are: nothing comes through any more, and
//! nobody says so.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// What all that is at work knows.
#[derive(Debug, Default)]
struct JobState {
    /// The cable is cut. A new one may be laid.
    cut: AtomicBool,
    /// No new one is.
    gone: AtomicBool,
    /// It cuts itself once it has carried this many bytes to the destination.
    limit: AtomicU64,
    carried: AtomicU64,
    over: AtomicBool,
}

/// The cable.
#[derive(Debug)]
pub(crate) struct Cable {
    state: Arc<JobState>,
    workers: Arc<Mutex<Vec<JoinHandle<()>>>>,
    accepts: Option<JoinHandle<()>>,
}

impl Cable {
    /// From a socket that it makes to another.
    pub(crate) fn new(from: &Path, to: &Path) -> Self {
        let listener = UnixListener::bind(from).unwrap();
        listener.set_nonblocking(true).unwrap();
        let state = Arc::new(JobState { limit: u64::MAX.into(), ..JobState::default() });
        let workers = Arc::new(Mutex::new(Vec::new()));
        let accepts = thread::spawn({
            let (state, workers, to) = (Arc::clone(&state), Arc::clone(&workers), to.to_owned());
            move || accept(&listener, &to, &state, &workers)
        });
        Self { state, workers, accepts: Some(accepts) }
    }

    /// Cuts it. A connection that is made later goes through.
    pub(crate) fn cut(&self) {
        self.state.cut.store(true, Ordering::SeqCst);
    }

    /// Cuts it, and no connection goes through any more.
    pub(crate) fn cut_for_good(&self) {
        self.state.gone.store(true, Ordering::SeqCst);
        self.cut();
    }

    /// Cuts it once it has carried so much.
    pub(crate) fn cut_after(&self, bytes: u64) {
        self.state.limit.store(bytes, Ordering::SeqCst);
    }

    /// Whether it is cut.
    pub(crate) fn is_cut(&self) -> impl Fn() -> bool + Send + 'static {
        let state = Arc::clone(&self.state);
        move || state.cut.load(Ordering::SeqCst) || state.over.load(Ordering::SeqCst)
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::SeqCst);
        if let Some(accepts) = self.accepts.take() {
            accepts.join().unwrap();
        }
        for worker in self.workers.lock().unwrap().drain(..) {
            worker.join().unwrap();
        }
    }
}

fn accept(
    listener: &UnixListener,
    to: &PathBuf,
    state: &Arc<JobState>,
    workers: &Mutex<Vec<JoinHandle<()>>>,
) {
    while !state.over.load(Ordering::SeqCst) {
        let Ok((source, _)) = listener.accept() else {
            thread::sleep(POLL_INTERVAL);
            continue;
        };
        if state.gone.load(Ordering::SeqCst) {
            continue;
        }
        let Ok(destination) = UnixStream::connect(to) else { continue };
        // Each connection is cut with those before it, and not with those after it.
        let cut = Arc::new(AtomicBool::new(false));
        state.cut.store(false, Ordering::SeqCst);
        let (back, forth) = (source.try_clone().unwrap(), destination.try_clone().unwrap());
        for (mut from, mut to, counts) in [(source, destination, true), (forth, back, false)] {
            let (state, cut) = (Arc::clone(state), Arc::clone(&cut));
            let carry = move || carry(&mut from, &mut to, &state, &cut, counts);
            workers.lock().unwrap().push(thread::spawn(carry));
        }
    }
}

/// Carries bytes until an end closes or all is over. What is cut stays open.
fn carry(
    from: &mut UnixStream,
    to: &mut UnixStream,
    state: &JobState,
    cut: &AtomicBool,
    counts: bool,
) {
    from.set_read_timeout(Some(POLL_INTERVAL)).unwrap();
    let mut bytes = vec![0; 1 << 16];
    while !state.over.load(Ordering::SeqCst) {
        if state.cut.load(Ordering::SeqCst) {
            cut.store(true, Ordering::SeqCst);
        }
        if cut.load(Ordering::SeqCst) {
            thread::sleep(POLL_INTERVAL);
            continue;
        }
        let read = match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                continue;
            }
            Err(_) => break,
        };
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
        if counts {
            let carried = state.carried.fetch_add(read as u64, Ordering::SeqCst) + read as u64;
            if carried >= state.limit.load(Ordering::SeqCst) {
                state.limit.store(u64::MAX, Ordering::SeqCst);
                state.cut.store(true, Ordering::SeqCst);
            }
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}
