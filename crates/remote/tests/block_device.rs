//! A twin that is received onto a block device: it survives broken connections and a receiver that
//! ends, and rounds that were promised are not written over.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod common;

use common::{Receiving, Toy, receiver_config, replicate, sender_config};
use memtwin_remote::{ReceiveEnd, ReceiverConfig, RemoteError, RemoteTwin, TwinReceiver};
use memtwin_replicate::{CancelToken, Replication};
use memtwin_testbed::{LoopDevice, Need, lacks};
use memtwin_twin::{DeviceOptions, FileTwin, ImageValidity, TwinError};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;

const NEEDS: [Need; 3] = [Need::Root, Need::Program("losetup"), Need::LoopDevice];
const REGION: [(u64, u64); 1] = [(300, 4096)];
const BYTES: usize = 300 * 4096;
const DEVICE: u64 = 4 << 20;

/// A device and the directory of its journals.
struct Bay {
    device: LoopDevice,
    dir: tempfile::TempDir,
}

impl Bay {
    fn new() -> Self {
        let device = LoopDevice::new(DEVICE).unwrap();
        // Noise: what a ZERO record says must be written here.
        let file = File::options().write(true).open(device.path()).unwrap();
        file.write_all_at(&vec![0x5a; DEVICE as usize], 0).unwrap();
        Self { device, dir: tempfile::tempdir().unwrap() }
    }

    fn options(&self, force: bool) -> DeviceOptions {
        DeviceOptions { force, journals: Some(self.dir.path().join("journals")) }
    }

    fn config(&self, force: bool) -> ReceiverConfig {
        // A journal that is begun again several times.
        let journal_bytes = 60 << 10;
        ReceiverConfig { device: self.options(force), journal_bytes, ..receiver_config() }
    }

    fn journals(&self) -> usize {
        fs::read_dir(self.dir.path().join("journals")).unwrap().count()
    }

    fn image(&self) -> Vec<u8> {
        self.device.durable().unwrap()[..BYTES].to_vec()
    }

    fn validity(&self) -> ImageValidity {
        validity(self.device.path())
    }
}

fn validity(path: &Path) -> ImageValidity {
    ImageValidity::of(&File::open(path).unwrap(), path).unwrap()
}

/// A way to a receiver that breaks after this many bytes, once for each number.
fn breaking(receiver: SocketAddr, after: Vec<u64>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut after = after.into_iter();
    // It ends with the test's process.
    thread::spawn(move || {
        for sender in listener.incoming() {
            let most = after.next().unwrap_or(u64::MAX);
            let (Ok(sender), Ok(receiver)) = (sender, TcpStream::connect(receiver)) else {
                continue;
            };
            let copy = |from: &TcpStream, to: &TcpStream, most: u64| {
                let (from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                thread::spawn(move || {
                    let mut from = from.take(most);
                    let mut bytes = [0; 4096];
                    while let Ok(read @ 1..) = from.read(&mut bytes) {
                        // Its other end may be gone.
                        let _ = to.write_all(&bytes[..read]);
                    }
                    let _ = to.shutdown(Shutdown::Both);
                    let _ = from.into_inner().shutdown(Shutdown::Both);
                })
            };
            copy(&sender, &receiver, most);
            copy(&receiver, &sender, u64::MAX);
        }
    });
    address
}

#[test]
fn it_survives_broken_connections() {
    if lacks(&NEEDS) {
        return;
    }
    let bay = Bay::new();
    let receiving = Receiving::at(bay.device.path(), bay.config(false));
    // In the first round, in it again, behind it, and behind that.
    let address = breaking(receiving.address, vec![20_000, 200_000, 900_000, 900_000]);
    let sent = replicate(Toy::with(4, &REGION), sender_config(address), 20, 100).unwrap();
    assert_eq!(sent.kept, Ok(()));
    assert!(sent.figures.reconnects >= 2, "{:?}", sent.figures);
    assert!(matches!(receiving.end().unwrap(), ReceiveEnd::Judged { kept: Ok(()), .. }));
    assert!(bay.image() == sent.memory && sent.twin == sent.memory);
    assert_eq!(bay.validity(), ImageValidity::OnDevice { bytes: BYTES as u64 });
    assert_eq!(bay.journals(), 0);
    // What is behind the twin is as it was, but for its state.
    let device = bay.device.read().unwrap();
    assert!(device[BYTES..DEVICE as usize - 4096].iter().all(|&byte| byte == 0x5a));
}

#[test]
fn what_the_judge_refuses_is_no_twin() {
    if lacks(&NEEDS) {
        return;
    }
    let bay = Bay::new();
    let receiving = Receiving::at(bay.device.path(), bay.config(false));
    let mut guest = Toy::with(4, &REGION);
    guest.hides = (0..300).map(|page| (0, page)).collect();
    let sent = replicate(guest, sender_config(receiving.address), 5, 100).unwrap();
    assert!(sent.kept.is_err());
    receiving.end().unwrap();
    assert!(matches!(bay.validity(), ImageValidity::Unfinished { .. }));
    assert_eq!(bay.journals(), 0);
}

/// Leaves rounds on a device whose sender may come again. Returns the last.
fn left_behind(bay: &Bay) -> u32 {
    let receiving = Receiving::at(bay.device.path(), bay.config(false));
    let stop = CancelToken::default();
    let mut twin = RemoteTwin::connect(sender_config(receiving.address), stop.clone()).unwrap();
    let mut replication = Replication::start(Toy::with(8, &REGION), &mut twin, ()).unwrap();
    for _ in 0..6 {
        replication.source_mut().write(50);
        replication.round(&stop).unwrap();
    }
    replication.pause_and_settle(&stop).unwrap();
    receiving.stop.set();
    assert!(matches!(receiving.end(), Err(RemoteError::Stopped)));
    let receiver = TwinReceiver::new(bay.device.path(), bay.config(false)).unwrap();
    receiver.recovered().unwrap()
}

#[test]
fn rounds_that_were_promised_are_not_written_over() {
    if lacks(&NEEDS) {
        return;
    }
    let bay = Bay::new();
    let round = left_behind(&bay);
    assert!(round >= 3);
    let before = bay.device.read().unwrap();
    assert!(matches!(bay.validity(), ImageValidity::Unfinished { .. }));
    // By a replication of this host.
    let refused = FileTwin::create_with(bay.device.path(), &bay.options(false)).unwrap_err();
    assert!(matches!(refused, TwinError::ReceivedOnDevice { .. }), "{refused}");
    // By another sender.
    let receiving = Receiving::at(bay.device.path(), bay.config(false));
    let guest = || Toy::with(9, &REGION);
    let refused = replicate(guest(), sender_config(receiving.address), 1, 10).unwrap_err();
    assert!(refused.to_string().contains("holds rounds of another session"), "{refused}");
    receiving.stop.set();
    let _ = receiving.end();
    assert!(bay.device.read().unwrap() == before);
    assert_eq!(bay.journals(), 1);
    // The control: where that is asked for.
    let receiving = Receiving::at(bay.device.path(), bay.config(true));
    let sent = replicate(guest(), sender_config(receiving.address), 1, 10).unwrap();
    assert_eq!(sent.kept, Ok(()));
    receiving.end().unwrap();
    assert!(bay.image() == sent.memory);
    assert_eq!(bay.journals(), 0);
}

#[test]
fn a_journal_without_its_image_is_nothing_and_an_image_without_its_journal_begins_again() {
    if lacks(&NEEDS) {
        return;
    }
    let bay = Bay::new();
    left_behind(&bay);
    // As after a boot that has emptied the directory.
    fs::remove_dir_all(bay.dir.path().join("journals")).unwrap();
    let receiver = TwinReceiver::new(bay.device.path(), bay.config(false)).unwrap();
    assert_eq!(receiver.recovered(), None);
    drop(receiver);
    let receiving = Receiving::at(bay.device.path(), bay.config(false));
    let sent = replicate(Toy::with(9, &REGION), sender_config(receiving.address), 3, 30).unwrap();
    assert_eq!(sent.kept, Ok(()));
    receiving.end().unwrap();
    assert!(bay.image() == sent.memory);
}

#[test]
fn a_twin_of_several_regions_is_refused_and_nothing_is_written() {
    if lacks(&NEEDS) {
        return;
    }
    let bay = Bay::new();
    let before = bay.device.read().unwrap();
    let receiving = Receiving::at(bay.device.path(), bay.config(false));
    let config = || sender_config(receiving.address);
    let refused = replicate(Toy::new(1), config(), 1, 10).unwrap_err().to_string();
    assert!(refused.contains("a block device holds one region, the twin has 3"), "{refused}");
    let large = replicate(Toy::with(1, &[(1024, 4096)]), config(), 1, 10).unwrap_err().to_string();
    assert!(large.contains("4198400 bytes") && large.contains("got 4194304"), "{large}");
    receiving.stop.set();
    let _ = receiving.end();
    assert!(bay.device.read().unwrap() == before);
}
