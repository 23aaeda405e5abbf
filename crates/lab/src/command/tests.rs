use super::*;
use crate::Silent;

const LONG: Duration = Duration::from_secs(60);

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

struct Heard(Vec<String>, bool);

impl Progress for Heard {
    fn say(&mut self, line: &str) {
        self.0.push(line.to_owned());
    }

    fn is_cancelled(&self) -> bool {
        self.1
    }
}

#[test]
fn what_a_program_says_is_heard_or_returned() {
    let mut heard = Heard(Vec::new(), false);
    run(&mut shell("echo one; echo two"), LONG, &mut heard).unwrap();
    assert_eq!(heard.0, ["one", "two"]);
    let said = output(&mut shell("echo three; echo no >&2"), LONG, &mut Silent).unwrap();
    assert_eq!(said, "three\n");
}

#[test]
fn a_failure_shows_the_last_lines() {
    let script = "echo fine; for i in $(seq 20); do echo bad $i >&2; done; exit 7";
    let error = run(&mut shell(script), LONG, &mut Silent).unwrap_err();
    let CommandError::Failed { status, last, .. } = &error else { panic!("{error}") };
    assert_eq!(status.code(), Some(7));
    assert_eq!(last.len(), LAST);
    assert_eq!(last.last().unwrap(), "bad 20");
    let error = run(&mut shell("echo only; exit 1"), LONG, &mut Silent).unwrap_err();
    assert!(error.to_string().ends_with("\n    only"), "{error}");
    let missing = run(&mut Command::new("/no/such/program"), LONG, &mut Silent).unwrap_err();
    assert!(missing.to_string().starts_with("can't start /no/such/program"), "{missing}");
}

#[test]
fn what_takes_too_long_or_is_not_wanted_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}; wait", pid.display());
    let limit = Duration::from_millis(500);
    let error = run(&mut shell(&script), limit, &mut Silent).unwrap_err();
    assert!(matches!(error, CommandError::TimedOut { .. }), "{error}");
    let stat = format!("/proc/{}/stat", std::fs::read_to_string(pid).unwrap().trim());
    let alive = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
    let began = Instant::now();
    while alive() && began.elapsed() < LONG {
        std::thread::sleep(POLL_INTERVAL);
    }
    assert!(!alive(), "its child lives on");

    let cancelled = run(&mut shell("sleep 1000"), LONG, &mut Heard(Vec::new(), true));
    assert!(matches!(cancelled, Err(CommandError::Cancelled)));
}
