//! How to receive.

use super::PointHook;
use crate::frames::TIMEOUT;
use memtwin_twin::DeviceOptions;
use std::time::Duration;

/// How to receive.
#[derive(Clone, Debug)]
pub struct ReceiverConfig {
    /// How long to wait for a sender whose connection broke.
    pub wait: Duration,
    /// How long to bear a silent peer, or a stranger.
    pub patience: Duration,
    /// How long a sender that has introduced itself may take to name its regions.
    pub introduction: Duration,
    /// When a journal has this many bytes, the image is synced and the journal begun again.
    pub journal_bytes: u64,
    /// How a block device is treated.
    pub device: DeviceOptions,
    /// For tests: called at each point of a receiver's life.
    pub at: PointHook,
    /// For tests: the receiver's nonce, in place of a random one.
    pub nonce: Option<[u8; 16]>,
}

impl Default for ReceiverConfig {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(60),
            patience: TIMEOUT,
            introduction: Duration::from_secs(60),
            journal_bytes: 64 << 20,
            device: DeviceOptions::default(),
            at: PointHook::new(|_| ()),
            nonce: None,
        }
    }
}
