//! What is left when the writer is killed, or the disk is full, in the middle.

use super::{child, fill, names, small};
use crate::page_store::PageAccess;
use crate::{FileTwin, is_marked_incomplete};
use memtwin_pages::RegionId;
use memtwin_replicate::Sink;
use rustix::process::{Resource, Rlimit, setrlimit};
use std::fs;
use std::process::Command;

#[test]
fn killed_while_live() {
    if let Some(dir) = child::directory() {
        let mut twin = FileTwin::create(dir.join("dest")).unwrap();
        twin.open(&small()).unwrap();
        for round in 0..3 {
            fill(&mut twin, round).unwrap();
            twin.commit(u32::from(round)).unwrap();
        }
        println!("live");
        return child::wait_to_be_killed();
    }
    for dir in super::directories() {
        let path = dir.path().join("dest");
        let mut child = child::start("deaths::killed_while_live", dir.path(), &[]);
        child.wait_for("live");
        let refused = FileTwin::create(&path).unwrap_err().to_string();
        assert!(refused.contains(&format!("(pid {})", child.pid())), "{refused}");
        let pid = child.pid();
        drop(child);
        assert_eq!(names(dir.path()), ["dest", "dest.replicating"]);
        assert_eq!(is_marked_incomplete(&path).unwrap(), Some(pid));

        // The next one takes over, and if it comes to nothing, nothing incomplete is at the path.
        let twin = FileTwin::create(&path).unwrap();
        assert_eq!(names(dir.path()), ["dest.partial", "dest.replicating"]);
        drop(twin);
        assert_eq!(names(dir.path()), ["dest.partial"]);
    }
}

#[test]
fn killed_in_pre_copy() {
    if let Some(dir) = child::directory() {
        let mut twin = FileTwin::create(dir.join("dest")).unwrap();
        twin.open(&small()).unwrap();
        fill(&mut twin, 1).unwrap();
        println!("half");
        return child::wait_to_be_killed();
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dest");
    fs::write(&path, "old").unwrap();
    let mut child = child::start("deaths::killed_in_pre_copy", dir.path(), &[]);
    child.wait_for("half");
    drop(child);
    assert_eq!(names(dir.path()), ["dest", "dest.partial", "dest.replicating"]);
    assert_eq!(is_marked_incomplete(&path).unwrap(), None, "the old file is whole");
    let mut twin = FileTwin::create(&path).unwrap();
    twin.open(&small()).unwrap();
    fill(&mut twin, 2).unwrap();
    twin.commit(0).unwrap();
    twin.finish(true).unwrap();
    assert_eq!(names(dir.path()), ["dest"]);
    assert_eq!(fs::read(&path).unwrap(), [2; 16 * 4096]);
}

#[test]
fn the_disk_is_full_in_pre_copy() {
    if let Some(dir) = child::directory() {
        for access in [PageAccess::Mapped, PageAccess::Plain] {
            let (path, filler) = (dir.join("dest"), dir.join("filler"));
            fs::write(&path, "old").unwrap();
            let mut twin = FileTwin::create(&path).unwrap().force(access);
            twin.open(&small()).unwrap();
            twin.write(RegionId(0), 0, &[1; 4096]).unwrap();
            // There was room when the twin was opened; now somebody else takes it.
            fs::write(&filler, vec![0; 104 << 10]).unwrap();
            let said = fill(&mut twin, 1).unwrap_err().to_string();
            assert!(said.contains("No space left") && said.contains("free some space"), "{said}");
            drop(twin);
            assert_eq!(names(&dir), ["dest", "filler"]);
            assert_eq!(fs::read(&path).unwrap(), b"old");

            // The control: with the room back the same goes well.
            fs::remove_file(&filler).unwrap();
            let mut twin = FileTwin::create(&path).unwrap().force(access);
            twin.open(&small()).unwrap();
            fill(&mut twin, 1).unwrap();
            twin.commit(0).unwrap();
            twin.finish(true).unwrap();
        }
        return;
    }
    let namespace: &[&str] =
        if rustix::process::geteuid().is_root() { &["unshare", "-m"] } else { &["unshare", "-rm"] };
    let dir = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size=128k none '{}'", dir.path().display());
    let may = Command::new(namespace[0])
        .args(&namespace[1..])
        .args(["sh", "-c", &mount])
        .status()
        .is_ok_and(|status| status.success());
    if !may {
        println!("skipped: no mount namespace of our own to mount a small file system in");
        return;
    }
    let prelude: Vec<&str> = namespace.iter().copied().chain([mount.as_str()]).collect();
    child::start("deaths::the_disk_is_full_in_pre_copy", dir.path(), &prelude).wait();
}

#[test]
fn a_write_fails_when_the_twin_is_live() {
    if let Some(dir) = child::directory() {
        let path = dir.join("dest");
        let mut twin = FileTwin::create(&path).unwrap().force(PageAccess::Plain);
        twin.open(&small()).unwrap();
        fill(&mut twin, 1).unwrap();
        twin.commit(0).unwrap();
        setrlimit(Resource::Fsize, Rlimit { current: Some(5 * 4096), maximum: None }).unwrap();
        // The control: below the limit a write goes well.
        twin.write(RegionId(0), 0, &[2; 4096]).unwrap();
        let said = fill(&mut twin, 2).unwrap_err().to_string();
        assert!(said.contains("File too large") && said.contains("ulimit -f"), "{said}");
        twin.finish(false).unwrap();
        assert_eq!(names(&dir), ["dest.partial"]);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    child::start("deaths::a_write_fails_when_the_twin_is_live", dir.path(), &["trap '' XFSZ"])
        .wait();
}
