//! A twin on a block device: a real loop device, made by each test.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

use memtwin_pages::{Gpa, Layout, PageSize, Region, RegionId};
use memtwin_replicate::Sink;
use memtwin_testbed::{LoopDevice, Need, lacks};
use memtwin_twin::{DeviceOptions, DirTwin, FileTwin, ImageValidity, TwinError, TwinMarker};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

const NEEDS: [Need; 3] = [Need::Root, Need::Program("losetup"), Need::LoopDevice];
const PAGE: u64 = 4096;
const PAGES: u64 = 16;
const BYTES: usize = (PAGE * PAGES) as usize;

fn layout(regions: usize) -> Layout {
    let size = PageSize::new(PAGE).unwrap();
    let region = |i| Region::new(format!("r{i}"), Gpa(i << 30), PAGE * PAGES, size).unwrap();
    Layout::new((0..regions as u64).map(region).collect())
}

fn forced() -> DeviceOptions {
    DeviceOptions { force: true, ..DeviceOptions::default() }
}

fn fill(twin: &mut FileTwin, value: u8) {
    twin.write(RegionId(0), 0, &[value; BYTES]).unwrap();
}

fn validity(path: &Path) -> ImageValidity {
    ImageValidity::of(&File::open(path).unwrap(), path).unwrap()
}

/// The state as text, of bytes that are a whole device's.
fn state(device: &[u8]) -> String {
    String::from_utf8_lossy(&device[device.len() - 4096..][..512]).into_owned()
}

#[test]
fn its_state_is_durable_before_the_first_page_and_after_the_last() {
    if lacks(&NEEDS) {
        return;
    }
    let device = LoopDevice::new(1 << 20).unwrap();
    let whole = ImageValidity::OnDevice { bytes: BYTES as u64 };
    for value in [1, 2] {
        let before = device.durable().unwrap();
        let mut twin = FileTwin::create(device.path()).unwrap();
        assert!(device.durable().unwrap() == before, "it was only looked at");
        twin.open(&layout(1)).unwrap();
        let durable = device.durable().unwrap();
        assert!(state(&durable).contains("state unfinished\n"), "{}", state(&durable));
        assert!(durable[..BYTES] == before[..BYTES], "no page was written yet");
        fill(&mut twin, 9);
        twin.commit(0).unwrap();
        fill(&mut twin, value);
        twin.commit(1).unwrap();
        let unfinished = validity(device.path());
        assert!(matches!(unfinished, ImageValidity::Unfinished { bytes: 65536, .. }));
        let mut read = vec![0; BYTES];
        twin.reader().unwrap().read_exact_at(&mut read, 0).unwrap();
        assert!(read == [value; BYTES]);
        twin.finish(true).unwrap();
        let durable = device.durable().unwrap();
        assert!(state(&durable).contains("state finished"), "{}", state(&durable));
        assert!(durable[..BYTES] == [value; BYTES]);
        assert_eq!(validity(device.path()), whole);
        assert!(!Path::new(&format!("{}.replicating", device.path().display())).exists());
    }
    // One that came to nothing is no twin any more, whatever it was before.
    let mut twin = FileTwin::create(device.path()).unwrap();
    drop(FileTwin::create(device.path()).unwrap_err());
    twin.open(&layout(1)).unwrap();
    drop(twin);
    assert!(matches!(validity(device.path()), ImageValidity::Unfinished { .. }));
    // And a damaged state proves nothing.
    let at = (1 << 20) - 4096 + 100;
    File::options().write(true).open(device.path()).unwrap().write_all_at(b"?", at).unwrap();
    assert!(matches!(validity(device.path()), ImageValidity::Unproven { .. }));
}

#[test]
fn what_does_not_fit_is_refused_with_what_is_needed_and_nothing_is_written() {
    if lacks(&NEEDS) {
        return;
    }
    for (bytes, fits) in [(PAGE * PAGES, false), (PAGE * (PAGES + 1), true)] {
        let device = LoopDevice::new(bytes).unwrap();
        let mut twin = FileTwin::create(device.path()).unwrap();
        match twin.open(&layout(1)) {
            Ok(()) => assert!(fits),
            Err(error) => {
                let said = error.to_string();
                assert!(!fits, "{said}");
                assert!(said.contains("69632 bytes") && said.contains("got 65536"), "{said}");
                assert!(device.read().unwrap().iter().all(|&byte| byte == 0));
            }
        }
    }
    let tiny = LoopDevice::new(PAGE).unwrap();
    let refused = FileTwin::create(tiny.path()).unwrap_err();
    assert!(matches!(refused, TwinError::DeviceTooSmall { .. }), "{refused}");
}

#[test]
fn it_holds_one_region() {
    if lacks(&NEEDS) {
        return;
    }
    let device = LoopDevice::new(1 << 20).unwrap();
    let mut twin = FileTwin::create(device.path()).unwrap();
    let said = twin.open(&layout(2)).unwrap_err().to_string();
    assert!(said.contains("one region, the twin has 2") && said.contains("--block"), "{said}");
    drop(twin);
    let said = DirTwin::create(device.path()).unwrap_err().to_string();
    assert!(said.contains("needs a directory, got a block device"), "{said}");
    assert!(device.read().unwrap().iter().all(|&byte| byte == 0));
}

#[test]
fn one_writer_at_a_time_and_none_beside_a_mount() {
    if lacks(&NEEDS) || lacks(&[Need::Program("mkfs.ext4"), Need::Program("unshare")]) {
        return;
    }
    let device = LoopDevice::new(4 << 20).unwrap();
    let held = FileTwin::create(device.path()).unwrap();
    let refused = FileTwin::create_with(device.path(), &forced()).unwrap_err();
    assert!(matches!(refused, TwinError::DeviceInUse { .. }), "{refused}");
    drop(held);
    device.run("mkfs.ext4", &["-q"]).unwrap();
    let mounted = device.mount().unwrap();
    // Even who would write over anything is kept out.
    let refused = FileTwin::create_with(device.path(), &forced()).unwrap_err();
    assert!(matches!(refused, TwinError::DeviceInUse { .. }), "{refused}");
    assert_eq!(refused.to_string().lines().count(), 1);
    drop(mounted);
    FileTwin::create_with(device.path(), &forced()).unwrap();
}

#[test]
fn what_somebody_has_put_there_is_left_alone() {
    let makers: [(&str, &[&str]); 2] = [("mkfs.ext4", &["-q"]), ("mkswap", &[])];
    if lacks(&NEEDS) || lacks(&[Need::Program("mkfs.ext4"), Need::Program("mkswap")]) {
        return;
    }
    for (program, arguments) in makers {
        let device = LoopDevice::new(4 << 20).unwrap();
        // A finished twin was there before: its state may outlast what is made in front of it.
        let finished = || {
            let mut twin = FileTwin::create_with(device.path(), &forced()).unwrap();
            twin.open(&layout(1)).unwrap();
            fill(&mut twin, 7);
            twin.commit(0).unwrap();
            twin.finish(true).unwrap();
        };
        finished();
        FileTwin::create(device.path()).unwrap();
        device.run(program, arguments).unwrap();
        if program == "mkswap" {
            // mke2fs clears the end of a device, where a RAID may have its mark.
            assert!(state(&device.read().unwrap()).contains("state finished"));
        }
        let before = device.read().unwrap();
        let refused = FileTwin::create(device.path()).unwrap_err();
        let said = refused.to_string();
        assert!(refused.is_usage() && said.contains("--force-device"), "{said}");
        assert!(said.contains(if program == "mkswap" { "swap" } else { "ext4" }), "{said}");
        assert!(device.read().unwrap() == before, "{program}: it was written to");
        // The control: where that is asked for, it is written over.
        finished();
        assert!(device.read().unwrap()[..BYTES] == [7; BYTES]);
        FileTwin::create(device.path()).unwrap();
    }
}

/// A guest's memory may look like anything.
#[test]
fn a_twin_that_looks_like_something_else_is_still_ours() {
    if lacks(&NEEDS) {
        return;
    }
    let device = LoopDevice::new(1 << 20).unwrap();
    let mut image = [0; BYTES];
    image[..4].copy_from_slice(b"XFSB");
    let mut twin = FileTwin::create(device.path()).unwrap();
    twin.open(&layout(1)).unwrap();
    twin.write(RegionId(0), 0, &image).unwrap();
    twin.commit(0).unwrap();
    twin.finish(true).unwrap();
    drop(FileTwin::create(device.path()).unwrap());
    // The control: with a byte changed since, it may be somebody's.
    let file = File::options().write(true).open(device.path()).unwrap();
    file.write_all_at(b"x", 100).unwrap();
    let refused = FileTwin::create(device.path()).unwrap_err();
    assert!(matches!(refused, TwinError::DeviceHolds { .. }), "{refused}");
}

#[test]
fn a_link_to_a_device_is_followed() {
    if lacks(&NEEDS) {
        return;
    }
    let (device, dir) = (LoopDevice::new(1 << 20).unwrap(), tempfile::tempdir().unwrap());
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(device.path(), &link).unwrap();
    assert_eq!(FileTwin::create(&link).unwrap().path(), device.path());
    // No marker is made beside it, which is what locks a file.
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    let (path, twin) = (dir.path().join("twin.replicating"), dir.path().join("twin"));
    TwinMarker::take(path, &twin).unwrap();
}
