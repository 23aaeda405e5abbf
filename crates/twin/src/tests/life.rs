//! A file twin's life, moment by moment as the table in `file.rs` has it, and who may not begin one.

use super::guest::Guest;
use super::{directories, fill, layout, names, small};
use crate::marker::{Inode, MarkerRecord};
use crate::page_store::PageAccess;
use crate::{FileTwin, ImageValidity, TwinError, is_marked_incomplete};
use memtwin_pages::RegionId;
use memtwin_replicate::{CancelToken, Replication, Sink};
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// A twin at `path` that went live full of `value`.
fn live(path: &Path, value: u8) -> FileTwin {
    let mut twin = FileTwin::create(path).unwrap();
    twin.open(&small()).unwrap();
    fill(&mut twin, value).unwrap();
    twin.commit(0).unwrap();
    twin
}

/// A whole image, of nothing else.
fn is_full_of(path: &Path, value: u8) -> bool {
    fs::read(path).unwrap() == vec![value; 16 * 4096]
}

/// An image with a trailer.
fn is_unfinished_and_full_of(path: &Path, value: u8) -> bool {
    let unfinished = matches!(validity(path), ImageValidity::Unfinished { bytes: 65536, .. });
    unfinished && fs::read(path).unwrap()[..16 * 4096] == [value; 16 * 4096]
}

fn validity(path: &Path) -> ImageValidity {
    ImageValidity::of(&File::open(path).unwrap(), path).unwrap()
}

#[test]
fn a_complete_twin_replaces_what_was_there_and_leaves_nothing_else() {
    for dir in directories() {
        let path = dir.path().join("dest");
        fs::write(&path, "old").unwrap();
        fs::write(dir.path().join("dest.partial"), "of an earlier run").unwrap();
        let me = Some(std::process::id());
        let mut twin = FileTwin::create(&path).unwrap();
        twin.open(&small()).unwrap();
        fill(&mut twin, 1).unwrap();
        assert_eq!(names(dir.path()), ["dest", "dest.partial", "dest.replicating"]);
        assert_eq!(fs::read(&path).unwrap(), b"old", "pre-copy is not over");
        assert_eq!(is_marked_incomplete(&path).unwrap(), None, "and the old file is complete");

        twin.commit(0).unwrap();
        assert_eq!(names(dir.path()), ["dest", "dest.replicating"]);
        assert!(is_unfinished_and_full_of(&path, 1));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(is_marked_incomplete(&path).unwrap(), me);

        fill(&mut twin, 2).unwrap();
        twin.commit(1).unwrap();
        assert!(is_unfinished_and_full_of(&path, 2), "updated in place");
        twin.finish(true).unwrap();
        assert_eq!(names(dir.path()), ["dest"]);
        assert!(is_full_of(&path, 2));
        assert_eq!(is_marked_incomplete(&path).unwrap(), None);
    }
}

#[test]
fn an_incomplete_twin_does_not_stand_at_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dest");
    live(&path, 1).finish(false).unwrap();
    assert_eq!(names(dir.path()), ["dest.partial"]);
    assert!(is_unfinished_and_full_of(&dir.path().join("dest.partial"), 1));
    drop(live(&path, 2));
    assert_eq!(names(dir.path()), ["dest.partial"]);
    assert!(is_unfinished_and_full_of(&dir.path().join("dest.partial"), 2));
}

#[test]
fn one_that_never_went_live_leaves_everything_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dest");
    fs::write(&path, "old").unwrap();
    drop(FileTwin::create(&path).unwrap());
    assert_eq!(names(dir.path()), ["dest"]);
    let mut twin = FileTwin::create(&path).unwrap();
    twin.open(&small()).unwrap();
    fill(&mut twin, 1).unwrap();
    let refused = twin.finish(true).unwrap_err();
    assert!(refused.to_string().contains("before pre-copy"), "{refused}");
    assert_eq!(names(dir.path()), ["dest"]);
    assert_eq!(fs::read(&path).unwrap(), b"old");
}

#[test]
fn a_path_has_one_writer_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dest");
    let twin = live(&path, 1);
    symlink(&path, dir.path().join("alias")).unwrap();
    for name in ["dest", "alias"] {
        let refused = FileTwin::create(dir.path().join(name)).unwrap_err();
        let said = refused.to_string();
        let pid = format!("(pid {})", std::process::id());
        assert!(said.contains("in use by another memtwin") && said.contains(&pid), "{said}");
    }
    assert!(is_unfinished_and_full_of(&path, 1), "the one at work is not disturbed");
    drop(twin);
    live(&path, 2).finish(true).unwrap();
}

#[test]
fn removing_a_marker_and_taking_it_never_lets_two_in() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dest");
    let busy = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut turns = 0;
                while turns < 1000 {
                    match FileTwin::create(&path) {
                        Ok(twin) => {
                            assert!(!busy.swap(true, Ordering::SeqCst), "two at once");
                            turns += 1;
                            std::thread::yield_now();
                            busy.store(false, Ordering::SeqCst);
                            drop(twin);
                        }
                        Err(TwinError::InUse { .. }) => std::thread::yield_now(),
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    assert!(names(dir.path()).is_empty());
}

#[test]
fn what_a_dead_writer_left_is_told_apart_and_moved_away() {
    let dir = tempfile::tempdir().unwrap();
    let (path, marker) = (dir.path().join("dest"), dir.path().join("dest.replicating"));
    fs::write(&path, "half").unwrap();
    let half = Inode::of(&fs::metadata(&path).unwrap());
    // No process has pid 0; what counts is that nobody holds the lock.
    fs::write(&marker, MarkerRecord { pid: 0, twin: half }.line()).unwrap();
    assert_eq!(is_marked_incomplete(&path).unwrap(), Some(0));
    drop(FileTwin::create(&path).unwrap());
    assert_eq!(names(dir.path()), ["dest.partial"]);

    // Killed in pre-copy: what is at PATH is another, complete file.
    fs::write(&path, "whole").unwrap();
    fs::write(&marker, MarkerRecord { pid: 0, twin: half }.line()).unwrap();
    assert_eq!(is_marked_incomplete(&path).unwrap(), None);
    drop(FileTwin::create(&path).unwrap());
    assert_eq!(fs::read(&path).unwrap(), b"whole");
    assert!(!marker.exists());
}

#[test]
fn a_twin_that_was_replaced_is_not_complete() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dest");
    for complete in [true, false] {
        let twin = live(&path, 1);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "somebody else's").unwrap();
        let finished = twin.finish(complete);
        assert_eq!(matches!(finished, Err(TwinError::Replaced { .. })), complete, "{finished:?}");
        assert_eq!(names(dir.path()), ["dest"]);
        assert_eq!(fs::read(&path).unwrap(), b"somebody else's");
    }
}

#[test]
fn a_twin_that_was_shortened_is_an_error_and_no_signal() {
    for access in [PageAccess::Mapped, PageAccess::Plain] {
        for dir in directories() {
            let path = dir.path().join("dest");
            let mut twin = FileTwin::create(&path).unwrap().force(access);
            twin.open(&small()).unwrap();
            for value in [1, 2] {
                fill(&mut twin, value).unwrap();
                twin.commit(u32::from(value) - 1).unwrap();
            }
            File::options().write(true).open(&path).unwrap().set_len(5000).unwrap();
            let said = fill(&mut twin, 3).unwrap_err().to_string();
            assert!(said.contains("expected 65536 bytes, got 5000"), "{said}");
        }
    }
}

#[test]
fn calls_out_of_order_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let mut twin = FileTwin::create(dir.path().join("dest")).unwrap();
    assert!(twin.write(RegionId(0), 0, &[0; 4096]).is_err());
    assert!(twin.commit(0).is_err());
    assert!(twin.reader().is_err());
    twin.open(&small()).unwrap();
    assert!(twin.open(&small()).is_err());
}

#[test]
fn what_can_not_fit_is_refused_before_the_first_page() {
    for dir in directories() {
        let mut twin = FileTwin::create(dir.path().join("dest")).unwrap();
        let said = twin.open(&layout(&[(1 << 38, 4096)])).unwrap_err().to_string();
        assert!(said.contains(&format!("needs {} bytes", 1u64 << 50)), "{said}");
        drop(twin);
        assert!(names(dir.path()).is_empty());
    }
}

#[test]
fn a_directory_that_takes_no_file_is_refused() {
    let said = FileTwin::create("/proc/twin").unwrap_err().to_string();
    assert!(said.starts_with("cannot create /proc/twin.replicating: "), "{said}");
    if rustix::process::geteuid().is_root() {
        println!("skipped for a directory of mode 0500: root may write it");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o500)).unwrap();
    let said = FileTwin::create(dir.path().join("dest")).unwrap_err().to_string();
    assert!(said.contains("you may write to"), "{said}");
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o400)).unwrap();
    assert!(FileTwin::create(file.path()).is_err());
}

#[test]
fn a_twin_is_lent_to_the_engine_and_finished_by_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dest");
    let mut twin = FileTwin::create(&path).unwrap();
    let mut run = Replication::start(Guest::new(), &mut twin, ()).unwrap();
    run.round(&CancelToken::default()).unwrap();
    run.source_mut().write((RegionId(1), 2), 99);
    run.pause_and_settle(&CancelToken::default()).unwrap().release().unwrap();
    let memory = run.source().memory.concat();
    run.finish().unwrap();
    twin.finish(true).unwrap();
    assert!(memory.contains(&99) && fs::read(&path).unwrap() == memory);
}
