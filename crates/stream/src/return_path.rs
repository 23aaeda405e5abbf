//! What a destination may say to the source, on the same connection in the other direction.
//!
//! A message is u16 type, u16 length, then this many bytes, all big-endian (QEMU's
//! migration/migration.c, `enum mig_rp_message_type` and `source_return_path_thread`). The source
//! listens once it has the capability `return-path` on and has sent
//! [`StreamCommand::OpenReturnPath`](crate::StreamCommand::OpenReturnPath).

const SHUT: u8 = 1;
const PONG: u8 = 2;
const SWITCHOVER_ACK: u8 = 7;

/// How the load went, for [`shut`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadOutcome {
    /// Everything has arrived. A source that waits for this is then `completed` (run state
    /// `postmigrate`): it hands the guest over, and `cont` is needed to make it run there again.
    Loaded,
    /// It failed. The source's migration is then `failed`, and its guest runs on by itself if it
    /// ran before.
    Failed,
}

/// SHUT: the destination's last word. A source that has sent everything waits for it.
pub fn shut(outcome: LoadOutcome) -> [u8; 8] {
    [0, SHUT, 0, 4, 0, 0, 0, u8::from(outcome == LoadOutcome::Failed)]
}

/// PONG: the answer to [`StreamCommand::Ping`](crate::StreamCommand::Ping), with its number. The source only
/// notes it; nothing waits for it in pre-copy.
pub fn pong(number: u32) -> [u8; 8] {
    let [a, b, c, d] = number.to_be_bytes();
    [0, PONG, 0, 4, a, b, c, d]
}

/// SWITCHOVER_ACK: the source may stop the guest and send the rest, as soon as it finds that the
/// rest is small enough. With the capability `switchover-ack` (QEMU 8.1 and later) it stays in
/// pre-copy until it has this, unless the guest is stopped otherwise. Sent twice it is an error.
pub fn switchover_ack() -> [u8; 4] {
    [0, SWITCHOVER_ACK, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_as_qemu_reads_them() {
        assert_eq!(shut(LoadOutcome::Loaded), [0, 1, 0, 4, 0, 0, 0, 0]);
        assert_eq!(shut(LoadOutcome::Failed), [0, 1, 0, 4, 0, 0, 0, 1]);
        assert_eq!(pong(0x0102_0304), [0, 2, 0, 4, 1, 2, 3, 4]);
        assert_eq!(switchover_ack(), [0, 7, 0, 0]);
    }
}
