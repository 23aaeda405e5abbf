//! Ethernet frames for a guest, from us: a QEMU with `-netdev dgram` takes a datagram for a frame.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How many frames at once, and how long to sleep then.
const BURST: u32 = 4;
const PAUSE: Duration = Duration::from_millis(10);
/// The largest frame.
const FRAME: usize = 1514;

/// Sends frames until it is dropped.
#[derive(Debug)]
pub(super) struct Flood {
    stop: Arc<AtomicBool>,
    sender: Option<JoinHandle<()>>,
}

impl Flood {
    /// To the guest whose QEMU listens at `to`; `from` is where QEMU would send.
    pub(super) fn start(from: &Path, to: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::bind(from)?;
        socket.set_nonblocking(true)?;
        let (stop, to) = (Arc::new(AtomicBool::new(false)), to.to_owned());
        let told = Arc::clone(&stop);
        let sender = thread::spawn(move || {
            // To everyone, of a type for local experiments (IEEE 802).
            let mut frame = vec![0xff; 6];
            frame.extend([0x52, 0x54, 0, 0, 0, 1, 0x88, 0xb5]);
            frame.resize(FRAME, 0);
            let mut sent = 0u64;
            while !told.load(Ordering::Relaxed) {
                for _ in 0..BURST {
                    sent += 1;
                    // Each has bytes of its own.
                    let bytes = sent.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
                    for word in frame[14..].chunks_mut(8) {
                        word.copy_from_slice(&bytes[..word.len()]);
                    }
                    // While the guest is paused nobody takes them.
                    let _ = socket.send_to(&frame, &to);
                }
                thread::sleep(PAUSE);
            }
        });
        Ok(Self { stop, sender: Some(sender) })
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(sender) = self.sender.take() {
            let _ = sender.join();
        }
    }
}
