//! What is set up on a machine that is somebody's, and undone again on every way out.
//!
//! A shell there does it, step by step, and another in a session of its own undoes it, in reverse order, once the
//! first has ended. That one ends with its standard input (`memtwin_lab::host`), so whatever ends us, kill -9 or a
//! cable, undoes all. How a step is undone is told before it is done, so that one that was cut short is undone as
//! well; that does nothing where there is nothing.

use crate::failure::Failure;
use memtwin_lab::Progress;
use memtwin_lab::host::{Host, quoted};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long all steps may take, a mount among them; and all undoing.
const BEGIN: Duration = Duration::from_secs(120);
const END: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(100);
/// How many of the last lines an error shows.
const LAST: usize = 4;
/// How the shell's own words begin. Everything else is what its programs say.
const WORD: &str = "MEMTWIN ";

/// One thing that is set up.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// What it is, for a person.
    pub(super) what: String,
    /// A line that fails if somebody has it already: then it is left alone.
    pub(super) free: String,
    pub(super) line: String,
    /// Undoes it, as far as there is something to undo.
    pub(super) undo: String,
}

impl Step {
    /// What vanishes with something else, and can be nobody's.
    pub(super) fn plain(what: &str, line: String) -> Self {
        Self { what: what.to_owned(), free: "true".to_owned(), line, undo: "true".to_owned() }
    }

    /// A folder of ours, with what will be in it.
    pub(super) fn folder(path: &str) -> Self {
        let word = quoted(path);
        Self {
            what: path.to_owned(),
            free: format!("[ ! -e {word} ]"),
            line: format!("mkdir -m 700 {word}"),
            // Who writes there ends at the same time as we do, and not before.
            undo: format!("rm -rf {word} || {{ sleep 1; rm -rf {word}; }}"),
        }
    }
}

/// What could not be undone, for the machines' owner.
#[derive(Clone, Debug, Default)]
pub(super) struct Left(Arc<Mutex<Vec<String>>>);

impl Left {
    pub(super) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn push(&self, line: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

/// Steps that are done there until this is dropped.
#[derive(Debug)]
pub(crate) struct Holder {
    host: String,
    steps: Vec<Step>,
    child: Child,
    said: Receiver<String>,
    last: Vec<String>,
    left: Left,
}

impl Holder {
    /// Does them.
    ///
    /// Errors: one can't be done, or would touch what is somebody's; then all are undone.
    pub(super) fn start(
        host: &dyn Host,
        steps: Vec<Step>,
        left: &Left,
        progress: &dyn Progress,
    ) -> Result<Self, Failure> {
        let mut command = host.command(&script(&steps));
        command.process_group(0).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let spawned = command.spawn();
        let mut child =
            spawned.map_err(|error| Failure::environment(format!("{}: {error}", host.name())))?;
        let (sender, said) = mpsc::channel();
        child.stdout.take().into_iter().for_each(|stream| forward(stream, sender.clone()));
        child.stderr.take().into_iter().for_each(|stream| forward(stream, sender.clone()));
        // What they say ends with the last of them.
        drop(sender);
        let (host, left) = (host.name().to_owned(), left.clone());
        let mut this = Self { host, steps, child, said, last: Vec::new(), left };
        let began = Instant::now();
        let why = loop {
            match this.word() {
                Ok(Some(word)) if word == "READY" => return Ok(this),
                Ok(Some(word)) => {
                    if let Some(step) = this.step(&word, "TAKEN ") {
                        break format!("{} is there already", step.what);
                    }
                    if let Some(step) = this.step(&word, "FAILED ") {
                        break format!("{}: {}", step.what, this.last.join("; "));
                    }
                }
                Ok(None) => {}
                Err(Gone) => break format!("nothing can be set up: {}", this.last.join("; ")),
            }
            if progress.is_cancelled() {
                break "interrupted".to_owned();
            }
            if began.elapsed() >= BEGIN {
                break format!("not set up after {} s", BEGIN.as_secs());
            }
        };
        Err(Failure::environment(format!("{}: {why}", this.host)))
    }

    /// Why it does not hold any more, if that is so: what was set up is undone then, in the midst of things.
    pub(super) fn lost(&mut self) -> Option<String> {
        let ended = !matches!(self.child.try_wait(), Ok(None));
        let what: Vec<&str> = self.steps.iter().map(|step| step.what.as_str()).collect();
        ended.then(|| {
            format!(
                "{}: the connection that kept {} broke off, and they with it: nothing is judged",
                self.host,
                what.join(", ")
            )
        })
    }

    fn step(&self, word: &str, begins: &str) -> Option<&Step> {
        self.steps.get(word.strip_prefix(begins)?.parse::<usize>().ok()?)
    }

    /// The next of the shell's words, if one comes soon.
    fn word(&mut self) -> Result<Option<String>, Gone> {
        match self.said.recv_timeout(TICK) {
            Ok(line) => match line.strip_prefix(WORD) {
                Some(word) => Ok(Some(word.to_owned())),
                None => {
                    self.last.push(line);
                    let many = self.last.len().saturating_sub(LAST);
                    self.last.drain(..many);
                    Ok(None)
                }
            },
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Gone),
        }
    }
}

/// Nothing more will be said.
struct Gone;

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let began = Instant::now();
        let undone = loop {
            match self.word() {
                Ok(Some(word)) if word == "GONE" => break true,
                Ok(Some(word)) => {
                    if let Some(step) = self.step(&word, "LEFT ") {
                        self.left
                            .push(format!("{}: {} is left: {}", self.host, step.what, step.undo));
                    }
                }
                Ok(None) if began.elapsed() < END => {}
                _ => break false,
            }
        };
        if !undone {
            let undo: Vec<&str> = self.steps.iter().rev().map(|step| step.undo.as_str()).collect();
            self.left.push(format!(
                "{}: nobody says whether all was undone; this does it: {}",
                self.host,
                undo.join("; ")
            ));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The shells' part: what the first tells on descriptor 4, the second hears until nobody has the other end any
/// more, so no step's program is still at work when it is undone. SIGTERM is for the first alone: the second may
/// not be in its session yet, and the leader waits for both.
fn script(steps: &[Step]) -> String {
    let mut script = format!(
        "trap '' PIPE INT HUP TERM; exec 3>&1; {{ trap - TERM; exec 4>&1 >&3 2>&1 3>&-\n\
         no() {{ echo \"{WORD}$1\"; exit 1; }}\n"
    );
    for (n, Step { free, line, undo, .. }) in steps.iter().enumerate() {
        let undo = quoted(&format!("{{ {undo}; }} || echo '{WORD}LEFT {n}'"));
        script.push_str(&format!(
            "{{ {free}; }} || no 'TAKEN {n}'\nprintf '%s\\n' {undo} >&4\n\
             {{ {line}; }} || no 'FAILED {n}'\n"
        ));
    }
    let undo = format!(
        "undo=; while read -r line; do undo=\"$line\n$undo\"; done; eval \"$undo\"; echo '{WORD}GONE'"
    );
    script.push_str(&format!(
        "echo '{WORD}READY'; while :; do sleep 3600; done; }} | setsid sh -c {} >&3 2>&3 3>&-",
        quoted(&undo)
    ));
    script
}

/// Sends the lines of a stream from a thread, which ends with the stream.
fn forward(stream: impl Read + Send + 'static, sender: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim().to_owned();
            if !line.is_empty() && sender.send(line).is_err() {
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use memtwin_lab::Silent;
    use memtwin_lab::host::Local;
    use std::fs;
    use std::path::Path;

    /// A step that makes a file, and whose undoing writes its name into `log`.
    fn file(place: &Path, name: &str) -> Step {
        let path = place.join(name).display().to_string();
        let log = place.join("log").display().to_string();
        Step {
            what: name.to_owned(),
            free: format!("[ ! -e {path} ]"),
            line: format!("echo made >{path}"),
            undo: format!("[ ! -e {path} ] || {{ rm {path}; echo {name} >>{log}; }}"),
        }
    }

    fn log(place: &Path) -> String {
        fs::read_to_string(place.join("log")).unwrap_or_default().replace('\n', " ")
    }

    fn until(what: &str, so: impl Fn() -> bool) {
        let began = Instant::now();
        while !so() {
            assert!(began.elapsed() < END, "never: {what}");
            thread::sleep(TICK);
        }
    }

    #[test]
    fn what_was_set_up_is_undone_in_reverse_order() {
        let place = tempfile::tempdir().unwrap();
        let (place, left) = (place.path(), Left::default());
        let steps = vec![file(place, "a"), file(place, "b"), file(place, "c")];
        let mut held = Holder::start(&Local, steps, &left, &Silent).unwrap();
        assert!(["a", "b", "c"].iter().all(|name| place.join(name).exists()));
        assert_eq!((held.lost(), log(place).as_str()), (None, ""));
        drop(held);
        assert_eq!((log(place).as_str(), left.lines()), ("c b a ", Vec::new()));
    }

    #[test]
    fn what_is_somebodys_stays_and_what_fails_is_said() {
        let place = tempfile::tempdir().unwrap();
        let (place, left) = (place.path(), Left::default());
        fs::write(place.join("b"), "theirs").unwrap();
        let start = |steps| Holder::start(&Local, steps, &left, &Silent).unwrap_err().message;
        let why = start(vec![file(place, "a"), file(place, "b"), file(place, "c")]);
        assert_eq!(why, "local: b is there already");
        assert_eq!(fs::read_to_string(place.join("b")).unwrap(), "theirs");
        assert_eq!(log(place), "a ");
        let broken = Step::plain("the moon", "touch /no/such/moon".to_owned());
        let why = start(vec![file(place, "a"), broken]);
        assert!(why.starts_with("local: the moon: ") && why.contains("/no/such/moon"), "{why}");
        assert_eq!((log(place).as_str(), left.lines()), ("a a ", Vec::new()));
    }

    #[test]
    fn what_can_not_be_undone_is_told() {
        let place = tempfile::tempdir().unwrap();
        let left = Left::default();
        let stuck = Step { undo: "false".to_owned(), ..file(place.path(), "a") };
        drop(Holder::start(&Local, vec![stuck], &left, &Silent).unwrap());
        assert_eq!(left.lines(), ["local: a is left: false"]);
        // The shell that undoes is torn away.
        let left = Left::default();
        let torn = Step { undo: "kill -s KILL $$".to_owned(), ..file(place.path(), "b") };
        drop(Holder::start(&Local, vec![torn], &left, &Silent).unwrap());
        let lines = left.lines();
        assert_eq!(
            lines,
            ["local: nobody says whether all was undone; this does it: kill -s KILL $$"]
        );
    }

    #[test]
    fn a_shell_that_is_torn_away_amid_its_steps_has_all_undone() {
        let place = tempfile::tempdir().unwrap();
        let (place, left) = (place.path(), Left::default());
        let torn = Step::plain("the shell", "sleep 1; kill -s KILL 0".to_owned());
        let steps = vec![file(place, "a"), file(place, "b"), torn];
        Holder::start(&Local, steps, &left, &Silent).unwrap_err();
        until("all undone", || log(place) == "b a ");
    }

    #[test]
    fn one_that_ended_amid_the_run_is_lost() {
        let place = tempfile::tempdir().unwrap();
        let left = Left::default();
        let mut held =
            Holder::start(&Local, vec![file(place.path(), "a")], &left, &Silent).unwrap();
        drop(held.child.stdin.take());
        let began = Instant::now();
        let lost = loop {
            match held.lost() {
                Some(lost) => break lost,
                None => assert!(began.elapsed() < END, "never lost"),
            }
            thread::sleep(TICK);
        };
        assert!(lost.contains("kept a broke off"), "{lost}");
    }

    /// As a kill -9 of ours does: nobody listens any more, and a step is in the midst of things.
    #[test]
    fn a_step_that_is_cut_short_is_undone_without_us() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path();
        let mut slow = file(place, "slow");
        slow.line.push_str("; sleep 1000");
        let mut command = Local.command(&script(&[file(place, "a"), slow, file(place, "b")]));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        until("amid the slow step", || place.join("slow").exists());
        drop((child.stdout.take(), child.stdin.take()));
        until("all undone", || log(place) == "slow a ");
        child.wait().unwrap();
        assert!(!place.join("a").exists() && !place.join("b").exists());
    }
}
