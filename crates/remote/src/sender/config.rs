//! How to send.

use crate::frames::TIMEOUT;
use crate::{RemoteTarget, Security};
use std::ffi::OsString;
use std::time::Duration;

/// Whether frames are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// By what pays, on this link and this processor.
    Auto,
    /// Always so.
    Always(memtwin_wire::CompressionMethod),
}

/// How to send.
#[derive(Clone, Debug)]
pub struct SenderConfig {
    /// Where to.
    pub target: RemoteTarget,
    /// What protects the connection.
    pub security: Security,
    /// Whether to keep a copy of the twin: it costs the guest's memory once, and saves sending what
    /// is there already.
    pub delta: bool,
    /// Whether frames are compressed.
    pub compression: Compression,
    /// At most this many bytes a second.
    pub bandwidth: Option<u64>,
    /// How long to try to have a broken connection back.
    pub retry: Duration,
    /// How long to bear a silent peer.
    pub patience: Duration,
    /// The program that is ssh.
    pub ssh: OsString,
    /// Hears each line that ssh, and what it runs on the far side, says on standard error. It is as they
    /// said it: a terminal must not see its control characters.
    pub ssh_said: fn(&str),
}

impl SenderConfig {
    /// With deltas and compression where it pays, without a limit.
    pub fn new(target: RemoteTarget, security: Security) -> Self {
        Self {
            target,
            security,
            delta: true,
            compression: Compression::Auto,
            bandwidth: None,
            retry: Duration::from_secs(60),
            patience: TIMEOUT,
            ssh: "ssh".into(),
            ssh_said: |reconnector| tracing::warn!(reconnector, "ssh"),
        }
    }
}
