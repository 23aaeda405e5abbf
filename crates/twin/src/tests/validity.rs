//! An unfinished twin is known by whatever way it is reached, and nothing else is taken for one.

use super::{directories, fill, names, small};
use crate::marker::{Inode, MarkerRecord};
use crate::{FileTwin, ImageValidity, MemoryTwin, TwinError};
use memtwin_replicate::Sink;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

fn validity(path: &Path) -> ImageValidity {
    ImageValidity::of(&File::open(path).unwrap(), path).unwrap()
}

fn is_unfinished(path: &Path) -> bool {
    matches!(validity(path), ImageValidity::Unfinished { bytes: 65536, .. })
}

fn by_descriptor(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

#[test]
fn by_every_name_and_in_every_copy() {
    for dir in directories() {
        let at = |name: &str| dir.path().join(name);
        let mut twin = FileTwin::create(at("dest")).unwrap();
        twin.open(&small()).unwrap();
        assert!(is_unfinished(&at("dest.partial")), "before the first page");
        fill(&mut twin, 1).unwrap();
        assert!(is_unfinished(&at("dest.partial")), "in pre-copy");
        twin.commit(0).unwrap();
        let reader = twin.reader().unwrap();
        fs::hard_link(at("dest"), at("link")).unwrap();
        std::os::unix::fs::symlink(at("dest"), at("symlink")).unwrap();
        fs::copy(at("dest"), at("copy")).unwrap();
        let ways = |names: &[&str]| names.iter().all(|name| is_unfinished(&at(name)));
        assert!(ways(&["dest", "link", "symlink", "copy"]));
        assert!(is_unfinished(&by_descriptor(&reader)));
        // Without its marker, as on a disk that lost it, and under another name.
        fs::remove_file(at("dest.replicating")).unwrap();
        fs::rename(at("link"), at("renamed")).unwrap();
        assert!(ways(&["dest", "renamed", "copy"]));
        twin.finish(true).unwrap();
        // The control: the whole one is known as such by each of its names. A copy of the time
        // before stays what it was.
        for name in ["dest", "renamed", "symlink"] {
            assert_eq!(validity(&at(name)), ImageValidity::Whole, "{name}");
        }
        assert!(ways(&["copy"]));
    }
}

#[test]
fn one_in_memory_by_its_descriptor() {
    let mut twin = MemoryTwin::new();
    twin.open(&small()).unwrap();
    fill(&mut twin, 1).unwrap();
    twin.commit(0).unwrap();
    let reader = twin.reader().unwrap();
    assert!(is_unfinished(&by_descriptor(&reader)));
}

#[test]
fn what_a_power_loss_leaves_of_an_earlier_version() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for name in ["dest", "dest.partial", "other"] {
        fs::write(at(name), [0; 8192]).unwrap();
        assert_eq!(validity(&at(name)), ImageValidity::Whole);
    }
    for marker in [&[][..], &[0; 64]] {
        fs::write(at("dest.replicating"), marker).unwrap();
        for name in ["dest", "dest.partial"] {
            let ImageValidity::Unproven { bytes: 8192, why } = validity(&at(name)) else {
                panic!("{name}")
            };
            assert!(why.contains("dest.replicating is empty") && !why.contains('\n'), "{why}");
        }
    }
    assert_eq!(validity(&at("other")), ImageValidity::Whole);
    // One that names another file says nothing about these.
    let other = Inode::of(&fs::metadata(at("other")).unwrap());
    fs::write(at("dest.replicating"), MarkerRecord { pid: 7, twin: other }.line()).unwrap();
    assert_eq!(validity(&at("dest")), ImageValidity::Whole);
    let partial = Inode::of(&fs::metadata(at("dest.partial")).unwrap());
    fs::write(at("dest.replicating"), MarkerRecord { pid: 7, twin: partial }.line()).unwrap();
    assert_eq!(validity(&at("dest.partial")), ImageValidity::Unfinished { bytes: 8192, pid: 7 });
    assert_eq!(validity(&at("dest")), ImageValidity::Whole);
}

#[test]
fn a_marker_that_says_nothing_is_not_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("dest"), "whole").unwrap();
    fs::write(at("dest.journal"), "promised").unwrap();
    let refused = FileTwin::create(at("dest")).unwrap_err();
    assert!(matches!(refused, TwinError::Received { .. }), "{refused}");
    assert_eq!(names(dir.path()), ["dest", "dest.journal"]);
    assert_eq!(fs::read(at("dest.journal")).unwrap(), b"promised");
    fs::remove_file(at("dest.journal")).unwrap();
    drop(FileTwin::create(at("dest")).unwrap());
    assert_eq!(names(dir.path()), ["dest"]);
}

#[test]
fn an_unfinished_one_is_moved_away_whoever_has_left_it() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let mut twin = FileTwin::create(at("dest")).unwrap();
    twin.open(&small()).unwrap();
    fill(&mut twin, 1).unwrap();
    twin.commit(0).unwrap();
    fs::copy(at("dest"), at("copy")).unwrap();
    drop(twin);
    fs::rename(at("copy"), at("dest")).unwrap();
    // There is no marker, and it is another file than the marker ever named.
    drop(FileTwin::create(at("dest")).unwrap());
    assert_eq!(names(dir.path()), ["dest.partial"]);
    assert!(is_unfinished(&at("dest.partial")));
}
