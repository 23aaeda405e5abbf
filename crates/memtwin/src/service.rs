//! As a service of systemd: the socket that it hands over (sd_listen_fds(3)), and what it is told
//! (sd_notify(3)). Where systemd has not started us, nothing is sent.

use listenfd::ListenFd;
use memtwin_report::Failure;
use sd_notify::NotifyState;
use std::net::TcpListener;

/// The one listening TCP socket that this process was started with.
///
/// Errors: there is none, or it is of another kind, or there are several.
pub(crate) fn listening_socket() -> Result<TcpListener, Failure> {
    let mut handed = ListenFd::from_env();
    let wrong = |got: String| {
        Failure::environment(format!(
            "systemd handed over {got}, expected one listening TCP socket: give the .socket unit one \
             ListenStream=PORT and Accept=no, or listen at HOST:PORT"
        ))
    };
    match handed.len() {
        1 => match handed.take_tcp_listener(0) {
            Ok(Some(listener)) => Ok(listener),
            Ok(None) => Err(wrong("no socket".to_owned())),
            Err(error) => Err(wrong(format!("something else ({error})"))),
        },
        0 => Err(wrong("no socket".to_owned())),
        several => Err(wrong(format!("{several} sockets"))),
    }
}

/// Who waits for us to listen may go on.
pub(crate) fn say_ready() {
    tell(&[NotifyState::Ready]);
}

/// A line that `systemctl status` shows.
pub(crate) fn say_status(line: &str) {
    tell(&[NotifyState::Status(line)]);
}

/// We were told to stop, and do.
pub(crate) fn say_stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("systemd is not told {states:?}: {error}");
    }
}
