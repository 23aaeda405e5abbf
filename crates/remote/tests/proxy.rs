//! What networks do: a proxy between the two ends that cuts, corrupts, repeats, delays and closes
//! half, where it is told or by a seed. The twin ends identical every time, over the wire and in the
//! file, and what goes again is one round at most.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod common;

use common::{REGIONS, Receiving, Toy, receiver_config, replicate, sender_config};
use memtwin_remote::{Compression, PointHook, ReceiverConfig, ReceiverPoint, SenderConfig};
use memtwin_wire::{CompressionMethod, HEAD};
use std::collections::VecDeque;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What happens to what the sender says on one connection.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Nothing.
    None,
    /// Both ways end before this frame.
    CutAtFrame(usize),
    /// Both ways end before this byte.
    CutAtByte(usize),
    /// A bit of this byte is flipped.
    Flip(usize, u8),
    /// This frame comes twice.
    Repeat(usize),
    /// This frame does not come.
    Swallow(usize),
    /// This frame comes after the next one.
    Swap(usize),
    /// The way to the receiver ends before this frame, the way back stays.
    HalfClose(usize),
    /// From this frame on nothing goes on for this long.
    Delay(usize, Duration),
    /// The receiver's answers end after this many bytes.
    CutAnswersAt(usize),
}

/// A proxy, and how many frames went through it on the first connection.
struct Proxy {
    address: SocketAddr,
    frames: Arc<Mutex<Vec<usize>>>,
}

impl Proxy {
    fn before(receiver: SocketAddr, faults: Vec<Fault>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let frames = Arc::new(Mutex::new(Vec::new()));
        let counts = Arc::clone(&frames);
        let mut faults = VecDeque::from(faults);
        // It ends with the test's process.
        thread::spawn(move || {
            for sender in listener.incoming() {
                let fault = faults.pop_front().unwrap_or(Fault::None);
                let (Ok(sender), Ok(receiver)) = (sender, TcpStream::connect(receiver)) else {
                    continue;
                };
                let counts = Arc::clone(&counts);
                thread::spawn(move || pass(&sender, &receiver, fault, &counts));
            }
        });
        Self { address, frames }
    }
}

fn pass(sender: &TcpStream, receiver: &TcpStream, fault: Fault, counts: &Mutex<Vec<usize>>) {
    let (mut from, mut to) = (receiver.try_clone().unwrap(), sender.try_clone().unwrap());
    let answers = thread::spawn(move || {
        let mut left = match fault {
            Fault::CutAnswersAt(bytes) => bytes,
            _ => usize::MAX,
        };
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            let read = read.min(left);
            left -= read;
            if to.write_all(&bytes[..read]).is_err() || left == 0 {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
    let frames = forward(sender, receiver, fault).unwrap_or_else(|frames| frames);
    counts.lock().unwrap().push(frames);
    if !matches!(fault, Fault::HalfClose(_)) {
        let _ = sender.shutdown(Shutdown::Both);
    }
    let _ = receiver.shutdown(Shutdown::Write);
    let _ = answers.join();
}

/// Passes frames on. Returns how many, as an error if a side is gone.
fn forward(mut from: &TcpStream, mut to: &TcpStream, fault: Fault) -> Result<usize, usize> {
    let (mut number, mut at) = (0, 0);
    let mut held: Option<Vec<u8>> = None;
    loop {
        let mut frame = vec![0; HEAD];
        from.read_exact(&mut frame).map_err(|_| number)?;
        let len = u32::from_le_bytes(frame[..4].try_into().unwrap()) as usize;
        frame.resize(HEAD + len, 0);
        from.read_exact(&mut frame[HEAD..]).map_err(|_| number)?;
        let begin = at;
        at += frame.len();
        match fault {
            Fault::CutAtFrame(n) | Fault::HalfClose(n) if n == number => return Ok(number),
            Fault::CutAtByte(byte) if byte < at => {
                let _ = to.write_all(&frame[..byte - begin]);
                return Ok(number);
            }
            Fault::Flip(byte, bit) if (begin..at).contains(&byte) => {
                frame[byte - begin] ^= 1 << bit
            }
            Fault::Repeat(n) if n == number => {
                to.write_all(&frame).map_err(|_| number)?;
            }
            Fault::Swallow(n) if n == number => frame.clear(),
            Fault::Swap(n) if n == number => held = Some(std::mem::take(&mut frame)),
            Fault::Delay(n, time) if n == number => thread::sleep(time),
            _ => {}
        }
        to.write_all(&frame).map_err(|_| number)?;
        if !frame.is_empty()
            && let Some(late) = held.take()
        {
            to.write_all(&late).map_err(|_| number)?;
        }
        number += 1;
    }
}

/// A session through a proxy with these faults, one for each connection. Returns how many frames
/// the first connection had.
fn session(seed: u64, faults: Vec<Fault>, wild: bool) -> usize {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = dir.path().join("twin");
    // Checkpoints in the middle, too.
    let config = ReceiverConfig { journal_bytes: 200 << 10, ..receiver_config() };
    let receiving = Receiving::at(&path, config);
    let proxy = Proxy::before(receiving.address, faults.clone());
    let mut guest = Toy::new(seed);
    guest.wild = wild;
    let config = SenderConfig {
        delta: seed.is_multiple_of(3) || !wild,
        compression: if wild {
            Compression::Auto
        } else {
            Compression::Always(CompressionMethod::None)
        },
        ..sender_config(proxy.address)
    };
    let sent =
        replicate(guest, config, 8, 12).unwrap_or_else(|error| panic!("{faults:?}: {error}"));
    assert!(sent.memory == sent.twin, "{faults:?}: differs over the wire");
    assert_eq!(sent.kept, Ok(()), "{faults:?}");
    receiving.end().unwrap();
    assert!(fs::read(&path).unwrap() == sent.memory, "{faults:?}: the file differs");
    let most = REGIONS.iter().map(|(pages, _)| pages).sum::<u64>();
    let broken = faults.iter().filter(|fault| !matches!(fault, Fault::None)).count() as u64;
    assert!(sent.figures.pages_again <= most * broken, "{faults:?}: {:?}", sent.figures);
    assert!(sent.figures.rounds_swallowed <= 1, "{faults:?}: {:?}", sent.figures);
    let frames = proxy.frames.lock().unwrap();
    frames.first().copied().unwrap_or(0)
}

/// The control: without a fault nothing is made again; with one, something is.
#[test]
fn a_cut_at_every_frame_of_a_session() {
    let frames = session(3, vec![Fault::None], false);
    assert!(frames > 20, "{frames}");
    // The very first call is not made again: who it reaches is to be known before anything runs.
    for frame in 1..frames {
        session(3, vec![Fault::CutAtFrame(frame)], false);
    }
}

#[test]
fn damage_repeats_and_gaps_at_every_third_frame() {
    let frames = session(3, vec![Fault::None], false);
    for frame in (1..frames).step_by(3) {
        for fault in [
            Fault::Repeat(frame),
            Fault::Swallow(frame),
            Fault::Swap(frame),
            Fault::HalfClose(frame),
            Fault::Delay(frame, Duration::from_millis(300)),
        ] {
            session(3, vec![fault], false);
        }
    }
}

#[test]
fn several_faults_one_after_the_other_at_random() {
    for seed in 0..30 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let faults = (0..rng.usize(1..5))
            .map(|_| match rng.u8(..8) {
                0 => Fault::CutAtByte(rng.usize(68..400_000)),
                1 => Fault::Flip(rng.usize(68..400_000), rng.u8(..8)),
                2 => Fault::Repeat(rng.usize(1..40)),
                3 => Fault::Swallow(rng.usize(1..40)),
                4 => Fault::Swap(rng.usize(1..40)),
                5 => Fault::HalfClose(rng.usize(1..40)),
                6 => Fault::CutAnswersAt(rng.usize(100..3000)),
                _ => Fault::CutAtFrame(rng.usize(1..40)),
            })
            .collect();
        session(seed, faults, true);
    }
}

/// Rounds as fast as they can be, to a receiver whose disk takes its time: a break swallows one ended
/// round at most, wherever it comes, and not all that the disk is behind.
#[test]
fn a_break_swallows_one_round_at_most_however_short_they_are() {
    let (mut most, mut breaks) = (0, 0);
    for seed in 0..12 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let at = PointHook::new(|point| {
            if matches!(point, ReceiverPoint::RoundSynced | ReceiverPoint::RoundAcknowledged) {
                thread::sleep(Duration::from_millis(3));
            }
        });
        let receiving =
            Receiving::at(&dir.path().join("twin"), ReceiverConfig { at, ..receiver_config() });
        let faults = (0..4).map(|_| Fault::CutAtFrame(rng.usize(12..60))).collect();
        let proxy = Proxy::before(receiving.address, faults);
        let mut guest = Toy::with(seed, &[(64, 4096)]);
        guest.wild = false;
        let sent = replicate(guest, sender_config(proxy.address), 80, 3).unwrap();
        assert_eq!(sent.kept, Ok(()));
        receiving.end().unwrap();
        most = most.max(sent.figures.rounds_swallowed);
        breaks += sent.figures.reconnects;
    }
    assert!(breaks >= 30, "{breaks} breaks only");
    assert_eq!(most, 1, "the most that one break swallowed");
}
