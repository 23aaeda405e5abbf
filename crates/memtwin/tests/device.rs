//! A twin on a block device, by the built binary: replicated, received, verified; refused; cut short.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod common;

use common::{Held, Place, expect, memtwin, until};
use memtwin_testbed::{LoopDevice, Need, lacks};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::thread;

const NEEDS: [Need; 3] = [Need::Root, Need::Program("losetup"), Need::LoopDevice];
const SIZE: usize = 1 << 20;

fn replicate(source: &str, to: &str, place: &Place) -> Command {
    let mut command = memtwin();
    command.args(["replicate", source, to, "--quiet", "--interval", "10ms", "--memory"]);
    command.arg(place.path("memory"));
    command
}

fn onto(source: &str, device: &LoopDevice, place: &Place) -> Command {
    replicate(source, &format!("file:{}", device.path().display()), place)
}

fn verify(device: &Path, image: &Path) -> Command {
    let mut command = memtwin();
    command.arg("verify").arg(device).arg(image);
    command
}

#[test]
fn a_device_holds_a_verified_twin() {
    if lacks(&NEEDS) {
        return;
    }
    let device = LoopDevice::new(4 << 20).unwrap();
    for source in ["kvm", "process"] {
        let place = Place::new();
        let mut command = onto(source, &device, &place);
        expect(0, command.args(["--guest-seconds", "500ms", "--until", "clean"]));
        let memory = place.path("memory");
        assert!(device.durable().unwrap()[..SIZE] == fs::read(&memory).unwrap(), "{source}");
        // The image alone is compared, and not what is behind it.
        expect(0, &mut verify(device.path(), &memory));
        expect(0, &mut verify(&memory, device.path()));
        // The control: a byte that differs is found.
        let file = File::options().read(true).write(true).open(device.path()).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, 5000).unwrap();
        file.write_all_at(&[!byte[0]], 5000).unwrap();
        expect(1, &mut verify(device.path(), &memory));
        assert_eq!(place.names(), ["memory"]);
    }
}

#[test]
fn one_that_was_cut_short_is_refused() {
    if lacks(&NEEDS) {
        return;
    }
    let (device, place) = (LoopDevice::new(4 << 20).unwrap(), Place::new());
    let mut held = Held::spawn(&mut onto("kvm", &device, &place));
    // Something of the image is there, in pre-copy or behind it.
    until("pages are written", || device.read().unwrap()[..SIZE].iter().any(|&byte| byte != 0));
    held.signal(9);
    held.end();
    let image = place.path("image");
    fs::write(&image, &device.read().unwrap()[..SIZE]).unwrap();
    let (_, err) = expect(11, &mut verify(device.path(), &image));
    assert!(err.contains("incomplete: process") && err.contains("--force"), "{err}");
    expect(0, verify(device.path(), &image).arg("--force"));
    // And one that was interrupted; then a finished one takes its place.
    let mut held = Held::spawn(&mut onto("kvm", &device, &place));
    let pid = format!("pid {:010}", held.0.id());
    until("the twin is begun", || {
        String::from_utf8_lossy(&device.read().unwrap()[(4 << 20) - 4096..]).contains(&pid)
    });
    held.signal(2);
    assert_eq!(held.end().code(), Some(130));
    expect(11, &mut verify(device.path(), &image));
    expect(0, onto("kvm", &device, &place).args(["--rounds", "3"]));
    expect(0, &mut verify(device.path(), &place.path("memory")));
}

#[test]
fn a_device_that_is_not_for_it_is_refused() {
    if lacks(&NEEDS) || lacks(&[Need::Program("mkfs.ext4"), Need::Program("unshare")]) {
        return;
    }
    let place = Place::new();
    let small = LoopDevice::new(SIZE as u64).unwrap();
    let (_, err) = expect(3, onto("process", &small, &place).args(["--rounds", "1"]));
    assert!(err.contains("1052672 bytes") && err.contains("got 1048576"), "{err}");
    assert!(small.read().unwrap().iter().all(|&byte| byte == 0));

    let device = LoopDevice::new(4 << 20).unwrap();
    device.run("mkfs.ext4", &["-q"]).unwrap();
    let before = device.read().unwrap();
    let mut receive = memtwin();
    receive.args(["receive", "127.0.0.1:0"]).arg(device.path());
    receive.env("XDG_STATE_HOME", place.path(""));
    for command in [&mut onto("process", &device, &place), &mut receive] {
        let (_, err) = expect(2, command);
        assert!(err.contains("holds an ext2, ext3 or ext4 file system"), "{err}");
        assert!(err.trim_end().lines().last().unwrap().contains("--force-device"), "{err}");
    }
    assert!(device.read().unwrap() == before, "it was written to");

    let mounted = device.mount().unwrap();
    let mut command = onto("process", &device, &place);
    let (_, err) = expect(3, command.args(["--force-device", "--rounds", "1"]));
    assert!(err.contains("in use") && err.trim_end().lines().count() == 1, "{err}");
    drop(mounted);
    // The control: where that is asked for, it is written over.
    let mut command = onto("process", &device, &place);
    expect(0, command.args(["--force-device", "--rounds", "1"]));
    expect(0, &mut verify(device.path(), &place.path("memory")));
}

/// A receiver, and what it has said when it has said this.
fn receive(listen: &str, device: &LoopDevice, place: &Place, word: &str) -> (Held, String) {
    let mut command = memtwin();
    command.args(["receive", listen]).arg(device.path());
    command.env("XDG_STATE_HOME", place.path("state"));
    let mut held = Held::spawn(&mut command);
    let mut lines = BufReader::new(held.0.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains(word) {
        assert!(lines.read_line(&mut said).unwrap() > 0, "it ended: {said}");
    }
    // Nobody else reads it, and it must not fill up.
    thread::spawn(move || lines.read_to_end(&mut Vec::new()));
    (held, said)
}

/// Where it has said that it listens.
fn address(said: &str) -> String {
    said.split("listening at ").nth(1).unwrap().split(' ').next().unwrap().to_owned()
}

#[test]
fn a_receiver_that_is_killed_goes_on_where_it_was() {
    if lacks(&NEEDS) {
        return;
    }
    let (device, place) = (LoopDevice::new(4 << 20).unwrap(), Place::new());
    fs::create_dir(place.path("state")).unwrap();
    let (mut receiver, said) = receive("127.0.0.1:0", &device, &place, "listening at");
    let address_of_both = address(&said);
    let mut sender = replicate("kvm", &format!("tcp://{address_of_both}"), &place);
    sender.args(["--guest-seconds", "3s", "--until", "clean", "--retry", "120s"]);
    let mut sender = Held::spawn(&mut sender);
    let journals = place.path("state").join("memtwin");
    until("rounds are promised", || {
        fs::read_dir(&journals).is_ok_and(|mut dir| {
            dir.any(|entry| entry.unwrap().path().extension().is_some_and(|it| it == "journal"))
        })
    });
    receiver.signal(9);
    receiver.end();
    let image = place.path("image");
    fs::write(&image, &device.read().unwrap()[..SIZE]).unwrap();
    expect(11, &mut verify(device.path(), &image));
    // On the same port, where its sender comes again.
    let word = "its sender may go on";
    let (mut receiver, said) = receive(&address_of_both, &device, &place, word);
    assert!(said.contains("holds round"), "{said}");
    assert_eq!(sender.end().code(), Some(0));
    assert_eq!(receiver.end().code(), Some(0));
    expect(0, &mut verify(device.path(), &place.path("memory")));
    assert_eq!(fs::read_dir(&journals).unwrap().count(), 0);
    // The control: what was there when the receiver was killed is not the twin.
    expect(1, &mut verify(device.path(), &image));
}
