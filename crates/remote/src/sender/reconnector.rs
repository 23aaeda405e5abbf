//! The way to the receiver, over as many connections as it takes.

use super::SenderConfig;
use super::figures::FigureMeter;
use super::sender_link::SenderLink;
use crate::RemoteError;
use memtwin_replicate::CancelToken;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many breaks in a row, without a round acknowledged, are too many.
const MOST_BREAKS: u32 = 20;

/// Between two calls of a receiver that is not there.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The connection, when there is one, and what to say first on the next.
#[derive(Debug)]
pub(super) struct Reconnector {
    pub(super) link: Option<SenderLink>,
    /// The layout's body, once there is a layout.
    pub(super) layout: Option<Vec<u8>>,
    /// What the receiver held when the link was made; nobody has looked at it yet.
    pub(super) news: Option<Option<u32>>,
    pub(super) breaks: u32,
    /// Why there will be no connection any more. It stays, for everyone who asks.
    pub(super) ended: Option<Arc<RemoteError>>,
    pub(super) acked_at_break: Option<u32>,
}

impl Reconnector {
    /// Errors if there will be no connection any more.
    pub(super) fn check(&self) -> Result<(), RemoteError> {
        match &self.ended {
            Some(error) => Err(RemoteError::Final(Arc::clone(error))),
            None => Ok(()),
        }
    }

    /// This error is the last, unless it is a stop, after which the verdict may still be told.
    pub(super) fn end(&mut self, error: RemoteError) -> RemoteError {
        if matches!(error.root(), RemoteError::Stopped) {
            return error;
        }
        let error = Arc::new(error);
        self.ended = Some(Arc::clone(&error));
        RemoteError::Final(error)
    }

    /// Makes a new connection in place of one that broke of `error`.
    pub(super) fn anew(
        &mut self,
        config: &SenderConfig,
        session: &[u8; 16],
        stop: &CancelToken,
        meter: &FigureMeter,
        mut error: RemoteError,
    ) -> Result<(), RemoteError> {
        if let Some(link) = self.link.take() {
            let acked = link.acked();
            if acked != self.acked_at_break {
                self.breaks = 0;
            }
            self.acked_at_break = acked;
        }
        self.breaks += 1;
        if self.breaks > MOST_BREAKS {
            return Err(RemoteError::Hopeless { times: self.breaks, last: Box::new(error) });
        }
        let began = Instant::now();
        // A receiver that refuses each time is not called in a hurry.
        let mut pause = FIRST_PAUSE * self.breaks.min(20);
        if self.breaks == 1 {
            pause = Duration::ZERO;
        }
        loop {
            if stop.wait(pause) {
                return Err(RemoteError::Stopped);
            }
            match SenderLink::make(config, session, self.layout.as_deref(), stop) {
                Ok((link, held)) => {
                    meter.reconnected(began.elapsed());
                    self.link = Some(link);
                    self.news = Some(held);
                    return Ok(());
                }
                Err(again) if again.may_pass() || is_starting(&again) => error = again,
                Err(fatal) => return Err(fatal),
            }
            if began.elapsed() >= config.retry {
                return Err(RemoteError::GaveUp { waited: config.retry, last: Box::new(error) });
            }
            pause = (pause.max(FIRST_PAUSE) * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Over ssh each connection starts a receiver, which may find the last one still at its file.
fn is_starting(error: &RemoteError) -> bool {
    matches!(error, RemoteError::Refused { code, .. } if *code == memtwin_wire::RefuseCode::Busy)
}

/// Sixteen random bytes, for a session or a connection.
pub(crate) fn nonce() -> Result<[u8; 16], RemoteError> {
    let mut bytes = [0; 16];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| std::io::Error::other("no random numbers"))?;
    Ok(bytes)
}
