//! The metrics of a run: what is in them, what survives, and that Prometheus's own checker takes them.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

mod sample;

use memtwin_report::metrics::{MetricsTarget, probe, save, save_failure};
use memtwin_report::record::{Clock, Migration, MigrationRound};
use memtwin_report::{Case, ExitCode, RunRecord};
use sample::{every_kind, identical, layout, lost, run, trial};
use std::fs;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

fn target(path: &Path, code: ExitCode) -> MetricsTarget {
    MetricsTarget { path: path.to_owned(), code }
}

/// The metrics of these cases, in a file `nightly.prom`.
fn text(record: &RunRecord, code: ExitCode) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nightly.prom");
    save(record, &target(&path, code)).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "something is left beside it");
    fs::read_to_string(&path).unwrap()
}

/// The value of the series that begins so.
fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with(series))?;
    Some(line.rsplit_once(' ')?.1.parse().unwrap())
}

const SUCCESS: &str = "memtwin_last_success_timestamp_seconds{run=\"nightly\"}";

#[test]
fn a_loss_is_a_number_and_a_case_without_a_verdict_has_none() {
    let source = "qemu:/run/a.qmp";
    let of = |name: &str| memtwin_report::CaseBuilder::new(name, source, &layout());
    let pause = Some(Duration::from_millis(68));
    let cases = vec![
        of("audit/ram")
            .judged(vec![lost(3, None), lost(4, None)], sample::digest(1, 2))
            .with_guest_pause(pause),
        of("audit/bios").inconclusive("it died", Vec::new()),
        identical(),
    ];
    let text = text(&run(cases), ExitCode::Mismatch);
    let labels = "run=\"nightly\",hypervisor=\"qemu\",guest=\"/run/a.qmp\"";
    let series = |name: &str, rest: &str| value(&text, &format!("{name}{{{labels}{rest}}} "));
    assert_eq!(series("memtwin_lost_pages", ",case=\"audit/ram\""), Some(2.0));
    assert_eq!(series("memtwin_lost_pages", ",case=\"audit/bios\""), None);
    assert_eq!(series("memtwin_guest_pause_seconds", ""), Some(0.068));
    let verdict = |case, verdict| {
        series("memtwin_case_verdict", &format!(",case=\"{case}\",verdict=\"{verdict}\""))
    };
    assert_eq!(verdict("audit/ram", "differs"), Some(1.0));
    assert_eq!(verdict("audit/ram", "identical"), Some(0.0));
    assert_eq!(verdict("audit/bios", "inconclusive"), Some(1.0));
    assert_eq!(value(&text, "memtwin_last_run_exit_code{"), Some(1.0));
    assert_eq!(value(&text, SUCCESS), None);
}

#[test]
fn a_control_that_was_found_is_no_alarm() {
    let text = text(&run(every_kind()), ExitCode::Mismatch);
    let controls: Vec<_> = text.lines().filter(|line| line.contains("/control\"")).collect();
    assert!(!controls.is_empty());
    assert!(
        controls.iter().all(|line| line.starts_with("memtwin_control_verdict{")),
        "{controls:?}"
    );
    assert!(controls.iter().any(|line| line.ends_with("verdict=\"found\"} 1")), "{controls:?}");
}

#[test]
fn the_last_success_survives_what_fails() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nightly.prom");
    let said = || fs::read_to_string(&path).unwrap();
    let began = SystemTime::now();
    save(&run(vec![identical()]), &target(&path, ExitCode::Verified)).unwrap();
    let success = value(&said(), SUCCESS).unwrap();
    assert_eq!(value(&said(), "memtwin_last_run_timestamp_seconds{"), Some(success));

    // A failure of the run that has written its metrics changes nothing.
    save_failure(&target(&path, ExitCode::Environment), began).unwrap();
    assert_eq!(value(&said(), "memtwin_last_run_exit_code{"), Some(0.0));

    save(&run(vec![]), &target(&path, ExitCode::AllSkipped)).unwrap();
    assert_eq!(value(&said(), SUCCESS), Some(success));
    // One that ended without a record: no case is left to look like a pass.
    save_failure(&target(&path, ExitCode::Environment), SystemTime::now()).unwrap();
    assert_eq!(value(&said(), "memtwin_last_run_exit_code{"), Some(3.0));
    assert_eq!(value(&said(), SUCCESS), Some(success));
    assert!(!said().contains("verdict"));

    // A time that is yet to come would hide every failure until then.
    fs::write(&path, said().replace(&success.to_string(), "1e300")).unwrap();
    save(&run(vec![]), &target(&path, ExitCode::AllSkipped)).unwrap();
    assert!(value(&said(), SUCCESS).unwrap() < success + 1e6);
}

#[test]
fn what_is_no_metrics_file_of_ours_is_refused_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nightly.prom");
    for foreign in ["root:x:0:0\n", "# HELP node_x A metric of another.\n", "\u{0}\u{1}"] {
        fs::write(&path, foreign).unwrap();
        let error = probe(&path).unwrap_err().to_string();
        assert!(
            error.contains("expected metrics of Memtwin's") && error.lines().count() == 1,
            "{error}"
        );
        assert!(save(&run(vec![]), &target(&path, ExitCode::Verified)).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), foreign);
    }
    // What a power loss may leave.
    fs::write(&path, "").unwrap();
    probe(&path).unwrap();
    let nowhere = probe(Path::new("/proc/nowhere/x.prom")).unwrap_err().to_string();
    assert!(nowhere.ends_with("give --metrics another path"), "{nowhere}");
}

/// Prometheus's checker, where the set-up of the tests has put it, or the system has it.
fn promtool() -> Option<PathBuf> {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/promtool");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join("promtool"))
        .chain([ours])
        .find(|program| program.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI must have promtool");
        eprintln!("skipped: no promtool; `cargo xtask test` fetches it");
    }
    found
}

/// Whether it takes the text; what it says.
fn checked(promtool: &Path, text: &str) -> (bool, String) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.rewind().unwrap();
    let out = Command::new(promtool).args(["check", "metrics"]).stdin(file).output().unwrap();
    (out.status.success(), String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned())
}

#[test]
fn promtool_takes_them_whatever_a_guest_is_called() {
    let Some(promtool) = promtool() else { return };
    let mut cases = every_kind();
    for source in ["qemu:a\"} 1\n# TYPE", "qemu:\\", "QEMU process 7 (\u{1f431}\u{0}\r)", ""] {
        cases.push(Case::skipped("audit/a\"b\\c\nd", source, "no"));
        cases.push(Case::skipped("audit/a\"b\\c\nd", source, "no"));
        let named = memtwin_report::CaseBuilder::new("x,y=\"z\"", source, &layout());
        cases.push(
            named
                .judged(Vec::new(), sample::digest(1, 1))
                .with_guest_pause(Some(Duration::from_micros(1))),
        );
    }
    cases.push(trial("x").judged(vec![lost(1, None)], sample::digest(1, 2)));
    let round = |n| MigrationRound {
        n,
        pages: 1,
        zero_pages: 1,
        bytes: 1,
        us: 1,
        dirty_pages_per_second: u64::MAX,
    };
    let clock = |name: &str| Clock { name: name.to_owned(), us: 5, without_verify_us: 4 };
    let migration = Migration {
        clocks: vec![clock("heartbeat"), clock("q\"e\nmu")],
        rounds: vec![round(1), round(2)],
        ..Migration::default()
    };
    let record = RunRecord { migration: Some(migration), ..run(cases) };
    let text = text(&record, ExitCode::Verified);
    let (taken, said) = checked(&promtool, &text);
    assert!(taken && said.trim().is_empty(), "{said}\n{text}");

    // The same series twice it does not see, but the collector does.
    let series = |line: &&str| !line.starts_with('#');
    let mut names: Vec<_> = text.lines().filter(series).map(|line| line.rsplit_once(' ')).collect();
    let all = names.len();
    names.sort_by_key(|name| name.map(|(series, _)| series));
    names.dedup_by_key(|name| name.map(|(series, _)| series));
    assert_eq!(names.len(), all);

    // The controls: a name as it came, and a name against the conventions.
    let line = "memtwin_x{guest=\"a\"b\"} 1\n".to_owned();
    let odd = "# HELP memtwin_x_total A gauge.\n# TYPE memtwin_x_total gauge\nmemtwin_x_total 1\n";
    for bad in [line, odd.to_owned()] {
        assert!(!checked(&promtool, &bad).0, "{bad}");
    }
}
