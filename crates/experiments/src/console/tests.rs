use super::*;
use memtwin_lab::Silent;
use memtwin_report::ExitCode;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// A board that answers its orders, and ends at the order `die`; what it was given.
struct FakeBoard {
    folder: tempfile::TempDir,
    given: Receiver<String>,
}

impl FakeBoard {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut log = File::create(folder.path().join("log")).unwrap();
        write!(log, "MEMTWIN READY\r\nMEMTWIN DONE 1 rc=0\r\n").unwrap();
        let listener = UnixListener::bind(folder.path().join("keyboard")).unwrap();
        let (give, given) = channel();
        thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            stream.set_nonblocking(false).unwrap();
            let mut lines = BufReader::new(stream);
            let mut line = String::new();
            while lines.read_line(&mut line).unwrap() > 0 {
                let order = line.trim_end().to_owned();
                line.clear();
                let (id, what) = order.split_once(' ').unwrap();
                write!(log, "{order}\r\nMEMTWIN BEGIN {id}\r\n").unwrap();
                // The next order must not have come yet.
                thread::sleep(Duration::from_millis(100));
                lines.get_ref().set_nonblocking(true).unwrap();
                let early =
                    !lines.buffer().is_empty() || lines.fill_buf().is_ok_and(|b| !b.is_empty());
                lines.get_ref().set_nonblocking(false).unwrap();
                give.send(if early { format!("{order}: too early") } else { order.clone() })
                    .unwrap();
                write!(log, "said\r\n").unwrap();
                if what == "die" {
                    return;
                }
                write!(log, "\r\nMEMTWIN DONE {id} rc=0\r\n").unwrap();
            }
        });
        Self { folder, given }
    }

    /// Attends to it; what was shown.
    fn attend(
        &self,
        input: impl AsFd,
        hand: &mut dyn ConsoleHand,
    ) -> (Result<(), Failure>, String) {
        let (mut shown, mut silent) = (Vec::new(), Silent);
        let path = |name| self.folder.path().join(name);
        let mut screen = ConsoleScreen::of(&path("log"), &mut shown, &mut silent).unwrap();
        let keyboard = keyboard(&path("keyboard")).unwrap().unwrap();
        let attended = screen.attend(&keyboard, input.as_fd(), hand, &CancelToken::default());
        (attended, String::from_utf8(shown).unwrap())
    }
}

fn piped(text: &str) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    io::Seek::rewind(&mut file).unwrap();
    file
}

#[test]
fn orders_by_a_pipe_wait_for_each_others_answers() {
    let board = FakeBoard::new();
    // The first has the number of one that was answered before.
    let input = piped("1 run one\n\n  \nx run it's \\two\n3 last");
    let (attended, shown) = board.attend(input, &mut PipedOrders::of("a"));
    attended.unwrap();
    let given: Vec<String> = board.given.try_iter().collect();
    assert_eq!(given, ["1 run one", "x run it's \\two", "3 last"]);
    assert!(shown.starts_with("MEMTWIN READY"), "{shown}");
    assert!(shown.ends_with("MEMTWIN DONE 3 rc=0\r\n"), "{shown}");
    // Nothing to be given: what was said is shown.
    let (attended, shown) = FakeBoard::new().attend(piped(""), &mut PipedOrders::of("a"));
    attended.unwrap();
    assert_eq!(shown, "MEMTWIN READY\r\nMEMTWIN DONE 1 rc=0\r\n");
}

#[test]
fn a_board_that_ends_before_it_has_answered_is_named() {
    let failed =
        |text| FakeBoard::new().attend(piped(text), &mut PipedOrders::of("a")).0.unwrap_err();
    let Failure { code, message } = failed("1 run one\n2 die\n3 run\n");
    assert_eq!(code, ExitCode::Environment);
    assert_eq!(message, "board a ended before it had answered '2 die'");
    let long = format!("1 run {}", "x".repeat(5000));
    let Failure { code, message } = failed(&long);
    assert_eq!(code, ExitCode::Usage);
    assert!(message.contains("4095 bytes at most"), "{message}");
}

#[test]
fn a_person_types_until_the_key_that_leaves() {
    let (board, mut keys) = (FakeBoard::new(), TypedKeys::new(&Arc::default()));
    let (attended, _) = board.attend(piped("1 run\n\x1d2 run\n"), &mut keys);
    attended.unwrap();
    assert_eq!(board.given.recv().unwrap(), "1 run");
    // What stands behind it is not the board's.
    assert!(board.given.recv().is_err());
    // The end of the terminal is the end.
    let (board, mut keys) = (FakeBoard::new(), TypedKeys::new(&Arc::default()));
    board.attend(piped("1 run\n"), &mut keys).0.unwrap();
    // A board that ends by a person's order is no failure.
    let (board, mut keys) = (FakeBoard::new(), TypedKeys::new(&Arc::default()));
    let (mut typing, input) = io::pipe().map(|(input, typing)| (typing, input)).unwrap();
    typing.write_all(b"1 die\n").unwrap();
    let (attended, shown) = board.attend(input, &mut keys);
    attended.unwrap();
    assert!(shown.ends_with("said\r\n"), "{shown}");
}

#[test]
fn a_look_ends_when_we_are_told_to() {
    let board = FakeBoard::new();
    let stop = CancelToken::default();
    let path = |name| board.folder.path().join(name);
    let (mut shown, mut silent) = (Vec::new(), Silent);
    let mut screen = ConsoleScreen::of(&path("log"), &mut shown, &mut silent).unwrap();
    let there = keyboard(&path("keyboard")).unwrap().unwrap();
    let stopper = stop.clone();
    let began = Instant::now();
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(100));
        stopper.set();
    });
    let failure = screen.attend(&there, piped("").as_fd(), &mut OnlyWatching, &stop).unwrap_err();
    assert_eq!(failure.code, ExitCode::Interrupted);
    assert!(began.elapsed() >= Duration::from_millis(100));
    assert!(String::from_utf8(shown).unwrap().starts_with("MEMTWIN READY"));
    assert!(keyboard(&path("none")).unwrap().is_none(), "a lab that has ended");
    drop(UnixListener::bind(path("left")).unwrap());
    assert!(keyboard(&path("left")).unwrap().is_none(), "a board that has ended");
}

/// A terminal.
fn terminal() -> (OwnedFd, File) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    (master, File::options().read(true).write(true).open(name).unwrap())
}

#[test]
fn a_terminal_is_as_it_was_whatever_happens() {
    let (_master, terminal) = terminal();
    let modes = || {
        let modes = tcgetattr(&terminal).unwrap();
        (modes.local_modes, modes.input_modes, modes.output_modes)
    };
    let before = modes();
    assert!(before.0.contains(LocalModes::ICANON | LocalModes::ISIG));
    let broken = std::panic::catch_unwind(|| {
        let _raw = RawTerminal::enter(terminal.as_fd()).unwrap();
        let (local, _, output) = modes();
        assert!(!local.intersects(LocalModes::ICANON | LocalModes::ISIG | LocalModes::ECHO));
        assert_eq!(output, before.2);
        panic!("by order");
    });
    let said = broken.unwrap_err();
    assert_eq!(said.downcast_ref::<&str>(), Some(&"by order"));
    assert_eq!(modes(), before);
    assert!(RawTerminal::enter(piped("").as_fd()).is_err(), "no terminal");
}
