use super::*;
use crate::Silent;

const LONG: Duration = Duration::from_secs(60);

fn machine(script: &str) -> (tempfile::TempDir, Machine) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    let machine = Machine::start(&mut command, &folder.path().join("console")).unwrap();
    (folder, machine)
}

/// What a guest says, by a shell that has no guest.
const GUEST: &str = r#"
    echo 'firmware'; printf 'MEMTWIN READY aarch64 6.12 page 4K\r\n'
    while read -r id verb rest; do
        printf 'MEMTWIN BEGIN %s\r\nsaid %s\r\n' "$id" "$rest"
        printf '\nMEMTWIN DONE %s rc=%s\r\n' "$id" "$verb"
    done"#;

#[test]
fn orders_are_answered() {
    let (folder, mut machine) = machine(GUEST);
    assert_eq!(machine.ready(LONG, &mut Silent).unwrap(), "aarch64 6.12 page 4K");
    assert_eq!(machine.succeed("0 hello", LONG, &mut Silent).unwrap(), ["said hello"]);
    let reply = machine.order("7 again", LONG, &mut Silent).unwrap();
    assert_eq!(reply, Reply { rc: 7, output: vec!["said again".to_owned()] });
    let error = machine.succeed("7 again", LONG, &mut Silent).unwrap_err().to_string();
    assert_eq!(error, "'7 again' returned 7\n    said again");
    let log = std::fs::read_to_string(folder.path().join("console")).unwrap();
    assert!(log.starts_with("firmware\n"), "{log}");
}

#[test]
fn a_machine_that_ends_panics_or_hangs_is_told_apart() {
    let (_folder, mut ended) = machine("echo 'no such disk' >&2; exit 3");
    let error = ended.ready(LONG, &mut Silent).unwrap_err();
    assert!(matches!(&error, MachineError::Ended { last, .. } if last == &["no such disk"]));
    assert!(error.to_string().contains("(exit status: 3) before MEMTWIN READY"), "{error}");

    let (_folder, mut panicked) = machine("echo '[1.0] Kernel panic - not syncing: x'; cat");
    let error = panicked.ready(LONG, &mut Silent).unwrap_err();
    assert!(matches!(error, MachineError::Panicked { .. }), "{error}");

    let (_folder, mut hung) = machine("cat >/dev/null");
    let error = hung.ready(Duration::from_millis(300), &mut Silent).unwrap_err();
    assert!(matches!(error, MachineError::TimedOut { .. }), "{error}");
}

#[test]
fn a_dropped_machine_is_dead() {
    let (_folder, machine) = machine("exec sleep 1000");
    let stat = format!("/proc/{}", machine.pid());
    assert!(Path::new(&stat).exists());
    drop(machine);
    assert!(!Path::new(&stat).exists());
}
