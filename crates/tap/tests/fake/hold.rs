//! What holds a QEMU in pre-copy, or does not.

use crate::server::Faults;
use crate::{CHANGES, Nowhere, TIMEOUT, connected, guardian, is_as_it_was, target};
use memtwin_pages::RegionId;
use memtwin_replicate::{CancelToken, PageReceiver, RoundKind, SinkError, Source};
use memtwin_tap::{HoldKind, MigrationTap, OpenError};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A QEMU that ignores that it is held (11.1 with a machine type of its own): it goes to its end by itself,
/// and lets the guest run afterwards, which somebody who had paused it would not.
#[test]
fn a_qemu_that_leaves_pre_copy_by_itself_was_not_held() {
    for kind in [RoundKind::PreCopy, RoundKind::Delta, RoundKind::Final] {
        for runs_after in [true, false] {
            let (server, mut qmp) = connected(Faults { unheld: true, ..Faults::default() });
            let stop = CancelToken::default();
            let mut tap =
                MigrationTap::open(&mut qmp, &target(&server), &[], guardian, &stop).unwrap();
            {
                let mut state = server.state.lock().unwrap();
                (state.running, state.runs_after) = (false, runs_after);
            }
            let push_source = tap.push_source().unwrap();
            let mut done = push_source.deliver(kind, &mut Nowhere, &stop);
            if kind != RoundKind::PreCopy {
                done =
                    done.and_then(|()| push_source.deliver(RoundKind::Final, &mut Nowhere, &stop));
                done = done.and_then(|()| Ok(tap.close()?));
            }
            assert_eq!(done.is_err(), runs_after, "{kind:?}: {done:?}");
            if let Err(error) = done {
                let said = error.to_string();
                assert!(said.contains("left pre-copy before it was asked to"), "{said}");
            }
            drop(tap);
            drop(qmp);
            server.done();
        }
    }
}

/// Waits with the first page until the guardian has heard this.
struct Waiting<'w> {
    file: &'w Path,
    word: &'w str,
}

impl Waiting<'_> {
    fn wait(&self) {
        let since = Instant::now();
        while !heard(self.file).contains(self.word) {
            assert!(since.elapsed() < TIMEOUT, "the guardian has not heard {:?}", self.word);
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl PageReceiver for Waiting<'_> {
    fn pages(&mut self, _: RegionId, _: u64, _: &[u8]) -> Result<(), SinkError> {
        self.wait();
        Ok(())
    }

    fn filled(&mut self, _: RegionId, _: u64, _: u8) -> Result<(), SinkError> {
        self.wait();
        Ok(())
    }
}

fn heard(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

/// As long as a hold may fail, QEMU may pause the guest at any time: the guardian counts before the first page
/// is taken, and until QEMU was seen to be held. Where the hold is known it does not count.
#[test]
fn a_pause_that_was_not_asked_for_is_counted_as_long_as_it_may_be() {
    for (version, counts) in [((11, 1), true), ((10, 0), false)] {
        let faults = Faults { version: Some(version), ..Faults::default() };
        let (server, mut qmp) = connected(faults);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("words");
        let guardian = || {
            let mut command = Command::new("sh");
            command.args(["-c", "exec cat >\"$1\"", "sh"]).arg(&file);
            command
        };
        let stop = CancelToken::default();
        let mut tap = MigrationTap::open(&mut qmp, &target(&server), &[], guardian, &stop).unwrap();
        let word = if counts { "}watch " } else { "}" };
        let mut receiver = Waiting { file: &file, word };
        let push_source = tap.push_source().unwrap();
        push_source.deliver(RoundKind::PreCopy, &mut receiver, &stop).unwrap();
        let word = if counts { "unwatch" } else { "}" };
        Waiting { file: &file, word }.wait();
        // Held as it is, it is let alone.
        push_source.deliver(RoundKind::Delta, &mut Nowhere, &stop).unwrap();
        assert_eq!(heard(&file).ends_with("unwatch"), counts, "{}", heard(&file));
        assert_eq!(heard(&file).contains("watch "), counts, "{}", heard(&file));
        drop(tap);
        drop(qmp);
        server.done();
    }
}

/// The next way of holding it is tried before that is said; here it can't hold either, as nothing of it is in
/// the stream.
#[test]
fn the_next_hold_is_tried_and_leaves_nothing_behind() {
    let faults = Faults { version: Some((11, 1)), unheld: true, ..Faults::default() };
    let (server, mut qmp) = connected(faults);
    let stop = CancelToken::default();
    let mut tap = MigrationTap::open(&mut qmp, &target(&server), &[], guardian, &stop).unwrap();
    assert_eq!(tap.hold(), HoldKind::SwitchoverAck);
    {
        let mut state = server.state.lock().unwrap();
        (state.running, state.runs_after) = (false, true);
        state.commands.clear();
    }
    let push_source = tap.push_source().unwrap();
    let error = push_source.deliver(RoundKind::PreCopy, &mut Nowhere, &stop).unwrap_err();
    assert!(error.to_string().contains("does not migrate the dirty bitmap"), "{error}");
    drop(tap);
    drop(qmp);
    let state = server.done();
    let state = state.lock().unwrap();
    is_as_it_was(&state);
    assert!(state.commands.iter().any(|command| command == "blockdev-add"), "{state:?}");
    assert_eq!(state.node, None, "our block node stays");
}

/// It is held by a dirty bitmap of ours, and a bitmap of its own would be taken out of its image.
#[test]
fn a_guest_with_a_dirty_bitmap_of_its_own_is_not_touched() {
    for (own_bitmap, touched) in [(true, false), (false, true)] {
        let faults = Faults { version: Some((7, 2)), own_bitmap, ..Faults::default() };
        let (server, mut qmp) = connected(faults);
        let stop = CancelToken::default();
        server.state.lock().unwrap().capabilities.remove("switchover-ack");
        let error =
            MigrationTap::open(&mut qmp, &target(&server), &[], guardian, &stop).unwrap_err();
        assert_eq!(matches!(error, OpenError::CannotHold { .. }), own_bitmap, "{error}");
        assert_eq!(error.to_string().contains("disk0/b0"), own_bitmap, "{error}");
        drop(qmp);
        let state = server.done();
        let state = state.lock().unwrap();
        let changes = |command: &String| CHANGES.contains(&&**command) || command == "blockdev-add";
        assert_eq!(state.commands.iter().any(changes), touched, "{state:?}");
        assert_eq!(state.node, None);
    }
}
