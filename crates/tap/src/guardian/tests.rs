//! The guardian's words and orders, and the note of what there is to undo, as bytes: a guardian may be of
//! another build than we (its program was replaced meanwhile), and a note is read by a later run. The files
//! in `tests/golden` must never change.

use super::*;
use crate::undo_note::TakenNote;
use memtwin_qemu::ProcessId;
use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// For whatever another process does.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Set for a process that is a guardian.
const IS_GUARDIAN: &str = "MEMTWIN_TEST_IS_GUARDIAN";

fn golden(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    fs::read_to_string(folder.join(name)).unwrap()
}

/// Every word, in the order of the file: of ours four, of the guardian's one, and ours with a stream.
fn words() -> [String; 6] {
    let words: Vec<String> = golden("guardian-words.txt").lines().map(ToOwned::to_owned).collect();
    words.try_into().unwrap()
}

/// What the golden note says. Its process can't exist: the number is above the kernel's largest.
fn undo() -> Undo {
    serde_json::from_str(&golden("undo-note.json")).unwrap()
}

/// The note of the golden orders.
fn note() -> UndoNote {
    UndoNote::over(
        "/nonexistent/qemu-4194305-1234567.json".into(),
        tempfile::tempfile().unwrap().into(),
    )
}

fn word(channel: &GuardianChannel) -> String {
    match channel.receive(Some(TIMEOUT)).unwrap() {
        ChannelEvent::Word(word) => word,
        other => panic!("{other:?}"),
    }
}

/// A guardian that is a program which has ended, and who hears what it is told.
fn heard() -> (Guardian, GuardianChannel) {
    let (ours, theirs) = GuardianChannel::pair().unwrap();
    let child = Command::new("true").spawn_outliving("a test").unwrap();
    let guardian = Guardian { child, channel: Some(ours), dismiss: true, ended_in: None };
    (guardian, GuardianChannel::over(theirs))
}

#[test]
fn the_words_that_we_say_are_these() {
    let [watch, unwatch, take_over, dismissed, ended, stream] = words();
    let (mut guardian, ear) = heard();
    guardian.watch(Duration::from_millis(250)).unwrap();
    guardian.unwatch();
    assert_eq!([word(&ear), word(&ear)], [watch, unwatch]);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    guardian.give_stream(ours.as_fd()).unwrap();
    drop(ours);
    match ear.receive(Some(TIMEOUT)).unwrap() {
        ChannelEvent::WithFds(said, fds) => assert_eq!((said, fds.len()), (stream, 1)),
        other => panic!("{other:?}"),
    }
    // Ours is closed, and theirs was.
    assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
    ear.send(&ended, &[]).unwrap();
    assert_eq!(guardian.ended_in(), Some('T'));
    drop(guardian);
    assert_eq!(word(&ear), dismissed);
    let (guardian, ear) = heard();
    guardian.hand_over();
    assert_eq!(word(&ear), take_over);
}

#[test]
fn the_orders_that_we_give_are_these() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("orders");
    let mut command = Command::new("sh");
    command.args(["-c", "exec cat >\"$1\"", "sh"]).arg(&file);
    let (qmp, _qmp) = UnixStream::pair().unwrap();
    let (stream, _stream) = UnixStream::pair().unwrap();
    let guardian = Guardian::post(command, qmp.into(), stream.as_fd(), &note(), &undo()).unwrap();
    // It ends by itself when it has heard the last word.
    drop(guardian);
    let [.., dismissed, _, _] = words();
    assert_eq!(fs::read_to_string(&file).unwrap(), golden("guardian-orders.json") + &dismissed);
}

/// A guardian in a process of its own, killed if a test ends before it does.
struct GuardianProcess {
    child: Child,
    channel: GuardianChannel,
    /// The other end of its QMP connection.
    qmp: Option<UnixStream>,
    /// The other end of the stream that it ends.
    stream: UnixStream,
}

impl Drop for GuardianProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl GuardianProcess {
    /// One that has its orders, word for word as in the golden file.
    fn start() -> Self {
        let (channel, theirs) = GuardianChannel::pair().unwrap();
        let (qmp, its_qmp) = UnixStream::pair().unwrap();
        let (stream, its_stream) = UnixStream::pair().unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["guardian::tests::a_guardian_s_life", "--exact", "--nocapture"]);
        command.env(IS_GUARDIAN, "1").stdin(Stdio::from(theirs)).stdout(OwnedFd::from(its_qmp));
        let child = command.stderr(Stdio::null()).spawn_bound().unwrap();
        drop(command);
        channel
            .send(&golden("guardian-orders.json"), &[its_stream.as_fd(), note().as_fd()])
            .unwrap();
        Self { child, channel, qmp: Some(qmp), stream }
    }

    fn end(mut self) -> bool {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.success();
            }
            assert!(since.elapsed() < TIMEOUT, "it does not end");
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

/// What [`GuardianProcess`] runs; by itself it is nothing.
#[test]
fn a_guardian_s_life() {
    if std::env::var_os(IS_GUARDIAN).is_some() {
        guardian_main().unwrap();
    }
}

#[test]
fn a_guardian_understands_the_words_of_before() {
    let [watch, unwatch, take_over, dismissed, ended, _] = words();
    for last in [dismissed, take_over] {
        let mut guardian = GuardianProcess::start();
        guardian.channel.send(&watch, &[]).unwrap();
        guardian.channel.send(&unwatch, &[]).unwrap();
        guardian.channel.send(&watch, &[]).unwrap();
        // It ends the stream, and says so, in a word that differs in our state alone.
        let said = word(&guardian.channel);
        assert_eq!(said.len(), ended.len(), "{said}");
        assert_eq!(said[..ENDED.len()], ended[..ENDED.len()], "{said}");
        let mut failed = [0; 8];
        guardian.stream.read_exact(&mut failed).unwrap();
        assert_eq!(failed, [0, 1, 0, 4, 0, 0, 0, 1], "return path: SHUT, with a failure");
        // Nobody answers there: QEMU is gone, as its process is.
        guardian.qmp = None;
        guardian.channel.send(&last, &[]).unwrap();
        assert!(guardian.end(), "{last}");
    }
}

/// QEMU has connected only after the orders: the stream that is ended is that one.
#[test]
fn a_guardian_takes_a_stream_by_the_word_of_before() {
    let [watch, _, _, dismissed, _, stream] = words();
    let mut guardian = GuardianProcess::start();
    let (theirs, ours) = UnixStream::pair().unwrap();
    theirs.set_read_timeout(Some(TIMEOUT)).unwrap();
    guardian.channel.send(&stream, &[ours.as_fd()]).unwrap();
    guardian.channel.send(&watch, &[]).unwrap();
    word(&guardian.channel);
    let mut failed = [0; 8];
    (&theirs).read_exact(&mut failed).unwrap();
    assert_eq!(failed, [0, 1, 0, 4, 0, 0, 0, 1]);
    guardian.stream.set_nonblocking(true).unwrap();
    let first = guardian.stream.read(&mut failed).unwrap_err();
    assert_eq!(first.kind(), io::ErrorKind::WouldBlock, "the one of the orders was ended as well");
    guardian.channel.send(&dismissed, &[]).unwrap();
    assert!(guardian.end());
}

#[test]
fn the_note_in_the_file_is_this() {
    let dir = tempfile::tempdir().unwrap();
    let undo = undo();
    let file = dir.path().join("qemu-4194305-1234567.json");
    fs::write(&file, golden("undo-note.json")).unwrap();
    let TakenNote::Ours(note, left) = UndoNote::take(dir.path(), &undo.qemu).unwrap() else {
        panic!("in use")
    };
    assert_eq!(left.as_deref(), Some(&undo), "what was left is read");
    assert_eq!(
        undo.qemu,
        ProcessId {
            pid: 4_194_305,
            started: 1_234_567,
            boot: "5ba36fba-5d9c-4ec6-9d28-6d9b5ee9c8f6".to_owned()
        }
    );
    assert_eq!(undo.settings.parameters["max-bandwidth"], 134_217_728);
    assert_eq!(undo.parameters["downtime-limit"], [1, 2000]);
    assert!(undo.capabilities["switchover-ack"] && !undo.settings.capabilities["return-path"]);
    assert_eq!(
        (undo.ran, undo.peer, undo.monitor.to_string()),
        (true, Some(4_194_305), "/run/qemu/qmp".to_owned())
    );
    note.write(&undo).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), golden("undo-note.json"));
}
