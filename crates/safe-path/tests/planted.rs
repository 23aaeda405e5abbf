//! What another user has put where everybody can write. Each refusal has its control: the same thing
//! of our own.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

use memtwin_safe_path::{Place, SafePathError, check_peer, private_dir};
use memtwin_testbed::{NOBODY, Need, as_nobody, lacks};
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A place as /tmp is, and a file of ours elsewhere.
struct Public {
    dir: TempDir,
    _elsewhere: TempDir,
    victim: PathBuf,
}

impl Public {
    fn new(mode: u32) -> Self {
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
        let victim = elsewhere.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        Self { dir, _elsewhere: elsewhere, victim }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn link(&self, name: &str, target: &Path, theirs: bool) -> PathBuf {
        let path = self.path(name);
        symlink(target, &path).unwrap();
        if theirs {
            lchown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        path
    }

    fn file(&self, name: &str, theirs: bool) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, "was there").unwrap();
        if theirs {
            chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        path
    }

    fn spared(&self) -> bool {
        fs::read_to_string(&self.victim).unwrap() == "precious"
    }
}

#[test]
fn a_planted_link_is_not_followed() {
    if lacks(&[Need::Root]) {
        return;
    }
    for mode in [0o1777, 0o777, 0o1775, 0o770] {
        let public = Public::new(mode);
        let planted = public.link("planted", &public.victim, true);
        let error = Place::find(&planted).unwrap_err();
        assert!(matches!(error, SafePathError::Link { .. }), "{mode:o}: {error}");
        let said = error.to_string();
        assert!(said.contains("planted: is a symbolic link of nobody (uid 65534)"), "{said}");
        assert!(!said.contains('\n'));
        // On the way, too; and a link that leads to a name that is still free.
        let folder = public.link("folder", public.victim.parent().unwrap(), true);
        assert!(matches!(Place::find(folder.join("new")), Err(SafePathError::Link { .. })));
        let free = public.link("free", Path::new("free-name"), true);
        assert!(matches!(Place::find(&free), Err(SafePathError::Link { .. })));
        // Ours leads to theirs.
        let ours = public.link("ours", &planted, false);
        assert!(matches!(Place::find(&ours), Err(SafePathError::Link { .. })));
        assert!(public.spared());
    }
}

#[test]
fn links_of_ours_and_those_in_private_directories_are_followed() {
    let public = Public::new(0o1777);
    let place = Place::find(public.link("ours", &public.victim, false)).unwrap();
    assert_eq!(place.path(), public.victim.canonicalize().unwrap());
    place.open_output(0o600).unwrap().write_all(b"written").unwrap();
    assert_eq!(fs::read_to_string(&public.victim).unwrap(), "written");

    let private = Public::new(0o755);
    let theirs = rustix::process::geteuid().is_root();
    let linked = Place::find(private.link("there", &private.victim, theirs)).unwrap();
    assert_eq!(linked.path(), private.victim.canonicalize().unwrap());
    // The system's own: /var/run, /dev/stdout, /proc/self/fd/N.
    if fs::symlink_metadata("/var/run").is_ok_and(|it| it.is_symlink()) {
        let run = fs::canonicalize("/var/run").unwrap();
        assert_eq!(Place::find("/var/run/x").unwrap().path(), run.join("x"));
    }
    assert_eq!(Place::find("/dev/../dev/null").unwrap().path(), Path::new("/dev/null"));
    Place::find("/dev/null").unwrap().open_output(0o600).unwrap().write_all(b"x").unwrap();
    Place::find("/dev/fd/1").unwrap().open_output(0o600).unwrap();
    let (mut read, write) = rustix::pipe::pipe().map(|(r, w)| (fs::File::from(r), w)).unwrap();
    let pipe = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&write));
    Place::find(&pipe).unwrap().open_output(0o600).unwrap().write_all(b"poured").unwrap();
    drop(write);
    let mut poured = String::new();
    read.read_to_string(&mut poured).unwrap();
    assert_eq!(poured, "poured");
}

#[test]
fn names_of_no_file_and_circles_are_errors() {
    let public = Public::new(0o755);
    let circle = public.link("circle", Path::new("circle"), false);
    for (path, part) in [
        (circle.as_path(), "symbolic links"),
        (Path::new(""), "got no name"),
        (Path::new("/"), "got a directory"),
        (public.path("free/").as_path(), "got a directory's name"),
        (public.path("missing/name").as_path(), "missing: No such file"),
        (public.victim.join("name").as_path(), "Not a directory"),
    ] {
        let said = Place::find(path).unwrap_err().to_string();
        assert!(said.contains(part), "{}: {said}", path.display());
    }
}

#[test]
fn what_must_be_ours_is() {
    if lacks(&[Need::Root]) {
        return;
    }
    let public = Public::new(0o1777);
    let theirs = as_nobody(|| public.file("theirs", false));
    let theirs = Place::find(theirs).unwrap();
    for error in [
        theirs.open_ours().unwrap_err(),
        theirs.read_ours().unwrap_err(),
        theirs.open_or_create_ours(0o600).unwrap_err(),
        theirs.open_output(0o600).unwrap_err(),
        theirs.draft(0o600).unwrap_err(),
    ] {
        let said = error.to_string();
        assert!(
            said.contains("theirs: belongs to nobody (uid 65534), expected root (uid 0)"),
            "{said}"
        );
    }
    assert_eq!(fs::read_to_string(theirs.path()).unwrap(), "was there");
    let ours = Place::find(public.file("ours", false)).unwrap();
    assert!(ours.open_ours().unwrap().is_some());
    ours.open_or_create_ours(0o600).unwrap();

    // One that others gave a second name: it may be anything of ours.
    fs::hard_link(&public.victim, public.path("named")).unwrap();
    let named = Place::find(public.path("named")).unwrap();
    assert!(matches!(named.open_ours(), Err(SafePathError::ManyNames { links: 2, .. })));
    assert!(matches!(named.open_output(0o600), Err(SafePathError::ManyNames { links: 2, .. })));
    assert!(public.spared());

    // A pipe of theirs would have us wait for ever.
    let fifo = public.path("fifo");
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, 0o666.into(), 0).unwrap();
    chown(&fifo, Some(NOBODY), Some(NOBODY)).unwrap();
    let fifo = Place::find(fifo).unwrap();
    assert!(matches!(fifo.open_output(0o600), Err(SafePathError::NotOurs { .. })));
    assert!(matches!(fifo.open_ours(), Err(SafePathError::Kind { got: "a pipe", .. })));

    // A user's own file in a directory that is his alone is written to by root as it ever was.
    let home = Public::new(0o755);
    chown(home.dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    Place::find(home.file("json", true)).unwrap().open_output(0o600).unwrap();
    assert!(Place::find(home.path("json")).unwrap().open_ours().is_err());
}

#[test]
fn a_draft_takes_its_place_or_leaves_nothing() {
    let public = Public::new(0o1777);
    let place = Place::find(public.path("out")).unwrap();
    drop(place.draft(0o600).unwrap());
    assert_eq!(fs::read_dir(public.dir.path()).unwrap().count(), 0);
    let mut draft = place.draft(0o600).unwrap();
    draft.file().write_all(b"first").unwrap();
    draft.commit().unwrap();
    let second = place.draft(0o600).unwrap();
    let Err(second) = second.commit_new().unwrap() else { panic!("it took what was taken") };
    assert_eq!(fs::read_to_string(place.path()).unwrap(), "first");
    second.commit().unwrap();
    assert_eq!(fs::read_to_string(place.path()).unwrap(), "");
    assert_eq!(fs::read_dir(public.dir.path()).unwrap().count(), 1);
    let mode = fs::metadata(place.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_directory_of_our_own_is_nobody_elses() {
    let public = Public::new(0o1777);
    let path = public.path("memtwin-0");
    let made = private_dir(&path).unwrap();
    assert_eq!(fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(private_dir(&path).unwrap(), made);
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(private_dir(&path), Err(SafePathError::Open { mode: 0o755, .. })));
    fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    private_dir(&path).unwrap();
    if lacks(&[Need::Root]) {
        return;
    }
    chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
    assert!(matches!(private_dir(&path), Err(SafePathError::NotOurs { .. })));
    let link = public.link("linked", public.victim.parent().unwrap(), true);
    assert!(matches!(private_dir(&link), Err(SafePathError::Link { .. })));
}

#[test]
fn who_listens_is_known() {
    let public = Public::new(0o1777);
    let path = public.path("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    let peer = check_peer(memtwin_safe_path::connect(&path).unwrap(), &path).unwrap();
    assert_eq!(peer.pid, Some(std::process::id()));
    if lacks(&[Need::Root]) {
        return;
    }
    let theirs = public.path("theirs");
    let _listener = as_nobody(|| UnixListener::bind(&theirs).unwrap());
    let error = memtwin_safe_path::connect(&theirs).unwrap_err();
    let said = error.to_string();
    assert!(said.contains("at its other end is nobody (uid 65534), expected root"), "{said}");
}

#[test]
fn what_is_replaced_may_have_other_names() {
    let public = Public::new(0o777);
    let path = public.file("twin", false);
    fs::hard_link(&path, public.path("snapshot")).unwrap();
    let place = Place::find(&path).unwrap();
    place.draft(0o600).unwrap().commit().unwrap();
    assert_eq!(fs::read_to_string(public.path("snapshot")).unwrap(), "was there");
    assert_eq!(fs::read_to_string(&path).unwrap(), "");
}
