//! Ethernet frames for a guest, from us: a QEMU with `-netdev dgram` takes a datagram for a frame.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How many frames at once, how long to sleep then, and how long it may go on.
const BURST: u32 = 4;
const PAUSE: Duration = Duration::from_millis(2);
const LIMIT: Duration = Duration::from_secs(120);

/// Sends frames until it is dropped.
pub(crate) struct Flood {
    stop: Arc<AtomicBool>,
    sender: Option<JoinHandle<()>>,
}

impl Flood {
    /// To the guest whose QEMU listens at `to`; `from` is where QEMU would send.
    pub(crate) fn start(from: &Path, to: &Path) -> Self {
        let socket = UnixDatagram::bind(from).unwrap();
        socket.set_nonblocking(true).unwrap();
        let (stop, to) = (Arc::new(AtomicBool::new(false)), to.to_owned());
        let told = Arc::clone(&stop);
        let sender = thread::spawn(move || {
            // To everyone, of a type for local experiments (IEEE 802), the largest that fits.
            let mut frame = vec![0xff; 6];
            frame.extend([0x52, 0x54, 0, 0, 0, 1, 0x88, 0xb5]);
            frame.resize(1514, 0);
            let (began, mut sent) = (Instant::now(), 0u64);
            while !told.load(Ordering::Relaxed) && began.elapsed() < LIMIT {
                for _ in 0..BURST {
                    sent += 1;
                    // Each has bytes of its own.
                    frame[14..].chunks_mut(8).for_each(|word| {
                        let bytes = sent.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
                        word.copy_from_slice(&bytes[..word.len()]);
                    });
                    // While the guest is paused nobody takes them.
                    let _ = socket.send_to(&frame, &to);
                }
                thread::sleep(PAUSE);
            }
        });
        Self { stop, sender: Some(sender) }
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
