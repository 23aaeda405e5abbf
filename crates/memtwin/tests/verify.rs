//! `memtwin verify` on what people will feed it.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod common;

use common::{Held, Place, expect, json, memtwin, until};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::Command;

fn verify(place: &Place, a: &str, b: &str) -> Command {
    let mut command = memtwin();
    command.args(["verify", "--page-size", "4k"]).arg(place.path(a)).arg(place.path(b));
    command
}

#[test]
fn equal_images_are_identical_and_a_flipped_bit_is_named() {
    let place = Place::new();
    let mut image: Vec<u8> = (0..1_000_000u32).flat_map(|i| i.to_le_bytes()).collect();
    image.truncate(3 << 20);
    fs::write(place.path("a"), &image).unwrap();
    fs::write(place.path("b"), &image).unwrap();
    let (out, _) = expect(0, &mut verify(&place, "a", "b"));
    assert!(out.contains("identical"), "{out}");
    image[0x12345] ^= 4;
    image[0x12347] ^= 4;
    fs::write(place.path("b"), &image).unwrap();
    let record = place.path("out.json");
    let (out, _) = expect(1, verify(&place, "a", "b").arg("--json").arg(&record));
    assert!(out.contains("0x12000"), "{out}");
    let case = &json(&record)["cases"][0];
    assert_eq!(case["lost_pages"], 1);
    assert_eq!(case["lost"][0]["gpa"], "0x12000");
    assert_eq!(case["lost"][0]["first_byte"], 0x345);
    assert_eq!(case["lost"][0]["bytes"], 2);
}

#[test]
fn odd_and_different_sizes() {
    let place = Place::new();
    fs::write(place.path("odd"), vec![7; 10_001]).unwrap();
    fs::write(place.path("same"), vec![7; 10_001]).unwrap();
    fs::write(place.path("short"), vec![7; 10_000]).unwrap();
    fs::write(place.path("empty"), b"").unwrap();
    expect(0, &mut verify(&place, "odd", "same"));
    let (out, _) = expect(1, &mut verify(&place, "odd", "short"));
    assert!(out.contains("10001") && out.contains("10000"), "{out}");
    for (a, b) in [("empty", "odd"), ("odd", "empty"), ("empty", "empty")] {
        let (_, err) = expect(3, &mut verify(&place, a, b));
        assert!(err.contains("empty"), "{err}");
    }
    let (_, err) = expect(3, &mut verify(&place, "odd", "missing"));
    assert!(err.contains("missing"), "{err}");
    fs::create_dir(place.path("dir")).unwrap();
    expect(3, &mut verify(&place, "odd", "dir"));
    expect(2, memtwin().arg("verify").arg(place.path("odd")));
}

#[test]
fn events_are_logged_as_asked() {
    let place = Place::new();
    fs::write(place.path("a"), vec![7; 4096]).unwrap();
    let logged = |how: &str, code| {
        let mut command = verify(&place, "a", "a");
        expect(code, command.env("MEMTWIN_LOG", how)).1
    };
    for how in ["", "error", "memtwin_tap=trace,info"] {
        assert_eq!(logged(how, 0), "", "{how}");
    }
    let refused = logged("memtwin=loud", 2);
    assert!(
        refused.starts_with("memtwin: MEMTWIN_LOG=memtwin=loud: expected a level"),
        "{refused}"
    );
}

/// A file that is written to while it is compared was at no moment what was read of it.
#[test]
fn a_file_that_grows_meanwhile_is_not_identical() {
    let place = Place::new();
    let bytes = 64 << 20;
    for name in ["a", "b"] {
        fs::write(place.path(name), vec![7; bytes]).unwrap();
    }
    // The control: as long as nobody writes, they are.
    expect(0, &mut verify(&place, "a", "b"));
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (stop, path) = (&stop, place.path("b"));
        let grower = scope.spawn(move || {
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            let mut more = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                // Holes cost nothing.
                more += 1;
                file.set_len((bytes + more) as u64).unwrap();
            }
        });
        let output = common::run(&mut verify(&place, "a", "b"));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        grower.join().unwrap();
        let err = common::text(&output.stderr);
        assert_eq!(output.status.code(), Some(11), "{err}");
        assert!(err.contains("b: it grew from ") && err.contains("verify again"), "{err}");
        assert_eq!(common::text(&output.stdout), "");
    });
}

/// What holds a memory in another form is no image of it.
#[test]
fn files_of_other_kinds_are_named() {
    let place = Place::new();
    let mut core = b"\x7fELF\x02\x01\x01".to_vec();
    core.resize(16, 0);
    core.extend([4, 0]);
    for (name, begins, words) in [
        ("core", &core[..], "is an ELF core, not a memory image"),
        ("mapped-ram", b"QEVM\0\0\0\x03", "is a QEMU migration stream"),
        ("snapshot", b"QFI\xfb\0\0\0\x03", "is a qcow2 disk image"),
        ("saved", b"LibvirtQemudSave", "that libvirt saved"),
    ] {
        let mut bytes = begins.to_vec();
        bytes.resize(1 << 20, 0);
        fs::write(place.path(name), &bytes).unwrap();
        fs::write(place.path("image"), vec![1; 1 << 20]).unwrap();
        for (a, b) in [(name, "image"), ("image", name)] {
            let (out, err) = expect(3, &mut verify(&place, a, b));
            assert!(err.contains(name) && err.contains(words) && out.is_empty(), "{err}");
            assert_eq!(err.trim_end().lines().count(), 1, "{err}");
        }
        // Two that are equal are equal, whatever they are.
        expect(0, &mut verify(&place, name, name));
    }
}

/// A twin that is being written is refused by every name and in a copy, while it is written and after
/// its writer was killed; `--force` compares what there is of it.
#[test]
fn an_unfinished_twin_is_refused_by_every_name() {
    let place = Place::new();
    let mut command = memtwin();
    command.args(["replicate", "process", "--quiet", "--seconds", "170", "--memory"]);
    command.arg(place.path("memory")).arg(format!("file:{}", place.path("twin").display()));
    let mut held = Held::spawn(&mut command);
    until("the twin is there", || place.path("twin").exists());
    fs::hard_link(place.path("twin"), place.path("link")).unwrap();
    fs::copy(place.path("twin"), place.path("copy")).unwrap();
    let pid = held.0.id();
    let descriptor = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|fd| fs::read_link(fd).is_ok_and(|to| to == place.path("twin")))
        .unwrap();
    let refuse = |path: &std::path::Path| {
        let mut command = memtwin();
        let (out, err) = expect(11, command.arg("verify").arg(path).arg(path));
        assert!(out.is_empty() && err.contains("incomplete") && err.contains("--force"), "{err}");
        assert_eq!(err.lines().count(), 1, "{err}");
    };
    for path in [descriptor, place.path("twin"), place.path("link"), place.path("copy")] {
        refuse(&path);
    }
    held.0.kill().unwrap();
    held.end();
    fs::remove_file(place.path("twin.replicating")).unwrap();
    fs::rename(place.path("twin"), place.path("renamed")).unwrap();
    for name in ["renamed", "link", "copy"] {
        refuse(&place.path(name));
    }
    // What there is of it has the length of the memory.
    let (out, _) = expect(0, verify(&place, "renamed", "link").arg("--force"));
    assert!(out.contains("incomplete") && out.contains("identical"), "{out}");
    fs::write(place.path("zeros"), vec![0; 1 << 20]).unwrap();
    let (out, _) = expect(1, verify(&place, "zeros", "link").arg("--force"));
    assert!(!out.contains("the sizes differ"), "{out}");
}

#[test]
fn what_can_not_be_told_from_an_unfinished_twin_is_refused() {
    let place = Place::new();
    // What a power loss leaves of one whose trailer was not on the disk yet.
    let zeros = File::create(place.path("zeros")).unwrap();
    zeros.set_len(8192 + 511).unwrap();
    fs::write(place.path("marked"), [0; 8192]).unwrap();
    fs::write(place.path("marked.replicating"), "").unwrap();
    for (name, why) in [("zeros", "zeros for its trailer"), ("marked", "marker")] {
        let (_, err) = expect(3, &mut verify(&place, name, name));
        assert!(err.contains(why) && err.contains("--force"), "{err}");
        assert_eq!(err.lines().count(), 1, "{err}");
        expect(0, verify(&place, name, name).arg("--force"));
    }
    // The control: the same without what speaks against it.
    fs::remove_file(place.path("marked.replicating")).unwrap();
    expect(0, &mut verify(&place, "marked", "marked"));
    zeros.write_all_at(b"x", 8300).unwrap();
    expect(0, &mut verify(&place, "zeros", "zeros"));
}
