//! `--metrics`, as the built program writes it.

use crate::common::{Place, memtwin};
use std::fs;

/// The value of the series that begins so.
fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with(series))?;
    Some(line.rsplit_once(' ')?.1.parse().unwrap())
}

#[test]
fn a_failure_keeps_the_time_of_the_last_success() {
    let place = Place::new();
    let (a, b, file) = (place.path("a"), place.path("b"), place.path("nightly.prom"));
    let verify = |to: &std::path::Path| {
        memtwin().arg("verify").args([&a, to]).arg("--metrics").arg(&file).output().unwrap()
    };
    let said = || fs::read_to_string(&file).unwrap();
    let success =
        |text: &str| value(text, "memtwin_last_success_timestamp_seconds{run=\"nightly\"}");
    fs::write(&a, [7; 8192]).unwrap();
    fs::write(&b, [7; 8192]).unwrap();
    assert_eq!(verify(&b).status.code(), Some(0));
    let first = success(&said()).unwrap();
    assert_eq!(value(&said(), "memtwin_lost_pages{"), Some(0.0));

    fs::write(&b, [8; 8192]).unwrap();
    assert_eq!(verify(&b).status.code(), Some(1));
    assert!(value(&said(), "memtwin_lost_pages{").unwrap() > 0.0);
    assert_eq!(value(&said(), "memtwin_last_run_exit_code{"), Some(1.0));
    assert_eq!(success(&said()), Some(first));

    // Without a record: nothing of the run before is left but that.
    assert_eq!(verify(&place.path("none")).status.code(), Some(3));
    assert_eq!(value(&said(), "memtwin_last_run_exit_code{"), Some(3.0));
    assert_eq!(success(&said()), Some(first));
    assert_eq!(value(&said(), "memtwin_lost_pages{"), None);
}

#[test]
fn a_file_of_somebody_else_s_is_refused_before_the_run() {
    let place = Place::new();
    let file = place.path("node.prom");
    fs::write(&file, "node_x 1\n").unwrap();
    let out =
        memtwin().args(["check", "--source", "process", "--metrics"]).arg(&file).output().unwrap();
    assert_eq!(out.status.code(), Some(3));
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(said.contains("expected metrics of Memtwin's") && said.lines().count() == 1, "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "node_x 1\n");
}

#[test]
fn a_preview_writes_none() {
    let place = Place::new();
    let file = place.path("x.prom");
    let words = ["check", "--source", "process", "--dry-run", "--metrics"];
    assert!(memtwin().args(words).arg(&file).output().unwrap().status.success());
    assert!(!file.exists());
}
