//! The twin of a guest on another machine, kept here: its pages come over the connection by which the
//! machine is reached.

use crate::sum_checks;
use memtwin_lab::Progress;
use memtwin_lab::aeshmem::Window;
use memtwin_lab::host::{Host, Reverse};
use memtwin_remote::{Listener, ReceiverConfig, TwinReceiver};
use memtwin_replicate::CancelToken;
use memtwin_report::record::GuestSum;
use memtwin_report::{Case, Failure};
use memtwin_session::received_case;
use memtwin_wait::wait_until;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long the receiver may take to finish its file, and how often it is looked at.
const FINISH_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A receiver here, and the way to it from there.
#[derive(Debug)]
pub(crate) struct LocalReceiver {
    reverse: Reverse,
    file: PathBuf,
    stop: CancelToken,
    receiver: Option<JoinHandle<Result<Case, String>>>,
}

impl LocalReceiver {
    /// Listens on the loopback interface, and lets the machine reach it.
    ///
    /// Errors: there is no port here or there, or the file can't be obtained, or it was cancelled.
    pub(crate) fn begin(
        host: &dyn Host,
        file: PathBuf,
        progress: &mut dyn Progress,
    ) -> Result<Self, Failure> {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut door = Listener::listen(anywhere, None).map_err(Failure::environment)?;
        let port = door.address().map(|address| address.port());
        let port = port.ok_or_else(|| Failure::environment("no port to receive a twin at"))?;
        let reverse = host.reverse(port, progress).map_err(Failure::environment)?;
        let mut receiver =
            TwinReceiver::new(&file, ReceiverConfig::default()).map_err(Failure::environment)?;
        let stop = CancelToken::default();
        let enough = stop.clone();
        let receiver = thread::spawn(move || {
            let ended = receiver.run(&mut door, &enough).map_err(|error| error.to_string())?;
            Ok(received_case(&ended, &receiver))
        });
        Ok(Self { reverse, file, stop, receiver: Some(receiver) })
    }

    /// Where the twin is, seen from there.
    pub(crate) fn target(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.reverse.port())
    }

    /// The window's sum in the twin's file, once the sender has taken his leave; `sent`: it has said that
    /// it did.
    ///
    /// Errors: the twin is not what the sender has, and why.
    pub(crate) fn sum(mut self, window: &Window, sent: bool) -> Result<GuestSum, String> {
        let receiver = self.receiver.take().ok_or("no receiver")?;
        // The disk may be slow. A sender that is gone has said its last.
        if sent {
            wait_until(FINISH_TIMEOUT, POLL_INTERVAL, || receiver.is_finished());
        }
        self.stop.set();
        let case = receiver.join().map_err(|_| "the receiver broke")??;
        if !case.passed() {
            return Err(case.reason().unwrap_or("not verified").to_owned());
        }
        let failed = |error: std::io::Error| format!("{}: {error}", self.file.display());
        sum_checks::sum(&self.file, window).map_err(failed)
    }

    /// The twin's file.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }
}

impl Drop for LocalReceiver {
    fn drop(&mut self) {
        self.stop.set();
        if let Some(receiver) = self.receiver.take() {
            let _ = receiver.join();
        }
    }
}
