//! Holding the guest and letting it go.

use crate::{config, guest, wait_for};
use memtwin_process::ProcessGuest;
use memtwin_replicate::{GuestState, Source};
use std::time::Duration;

fn memory(guest: &ProcessGuest) -> Vec<u8> {
    let mut bytes = vec![0; guest.window().len()];
    guest.window().read(0, &mut bytes);
    bytes
}

fn writing() -> ProcessGuest {
    let mut guest = guest(config());
    guest.start();
    wait_for("the first write", || guest.written() > 0);
    guest
}

pub(crate) fn nothing_writes_while_held() {
    let mut guest = writing();
    for _ in 0..10 {
        guest.pause().unwrap();
        let (at_once, written) = (memory(&guest), guest.written());
        std::thread::sleep(Duration::from_millis(8));
        assert!(memory(&guest) == at_once, "the memory changed");
        assert_eq!(guest.written(), written);
        guest.resume().unwrap();
        // The control: without a hold the same look sees it change.
        wait_for("a change", || memory(&guest) != at_once);
    }
}

pub(crate) fn resume_makes_it_write_again() {
    let mut guest = writing();
    guest.resume().unwrap();
    guest.pause().unwrap();
    // Twice is as once, and longer than a writer may be idle otherwise.
    guest.pause().unwrap();
    std::thread::sleep(Duration::from_millis(3200));
    assert_eq!(guest.guest().unwrap(), GuestState::Running);
    guest.resume().unwrap();
    guest.resume().unwrap();
    assert_eq!(guest.guest().unwrap(), GuestState::Running);
    let written = guest.written();
    wait_for("a write", || guest.written() > written);
}

pub(crate) fn stop_ends_it() {
    let mut guest = writing();
    guest.stop();
    wait_for("the stop", || guest.guest().unwrap() == GuestState::Stopped);
    let written = guest.written();
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(guest.written(), written);
}
