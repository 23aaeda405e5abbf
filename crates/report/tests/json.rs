//! Saving the record: the whole of it, or what was there before.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod sample;

use memtwin_report::RunRecord;
use memtwin_report::json::{JsonTarget, save};
use memtwin_report::writer::{ReportOutputs, WriteError};
use sample::{identical, run};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

fn entries(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn read(path: &Path) -> RunRecord {
    serde_json::from_reader(fs::File::open(path).unwrap()).unwrap()
}

#[test]
fn a_record_replaces_what_was_there_and_leaves_nothing_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.json");
    fs::write(&path, "x".repeat(100_000)).unwrap();
    save(&run(vec![identical()]), &path).unwrap();
    assert_eq!(read(&path), run(vec![identical()]));
    assert_eq!(entries(dir.path()), ["run.json"]);
}

#[test]
fn a_new_record_has_the_mode_of_any_new_file() {
    let dir = tempfile::tempdir().unwrap();
    let (path, other) = (dir.path().join("run.json"), dir.path().join("other"));
    save(&run(vec![]), &path).unwrap();
    fs::write(&other, "").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&path), mode(&other));
}

#[test]
fn a_link_stays_a_link() {
    let dir = tempfile::tempdir().unwrap();
    let (path, link) = (dir.path().join("run.json"), dir.path().join("latest.json"));
    fs::write(&path, "").unwrap();
    symlink("run.json", &link).unwrap();
    save(&run(vec![]), &link).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(read(&path), run(vec![]));
}

#[test]
fn a_pipe_is_written_to_and_not_replaced() {
    let (mut reader, writer) = io::pipe().unwrap();
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
    save(&run(vec![]), Path::new(&path)).unwrap();
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(serde_json::from_str::<RunRecord>(&text).unwrap(), run(vec![]));
}

#[test]
fn where_nothing_can_be_saved_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let taken = dir.path().join("run.json");
    fs::create_dir(&taken).unwrap();
    for path in [taken, dir.path().join("missing/run.json")] {
        let probed = JsonTarget::File(path.clone()).probe().unwrap_err().to_string();
        let saved = save(&run(vec![]), &path).unwrap_err().to_string();
        for said in [probed, saved] {
            assert!(said.starts_with(&format!("can't write {}: ", path.display())), "{said}");
        }
    }
    assert_eq!(entries(dir.path()), ["run.json"]);
}

#[test]
fn a_probe_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    JsonTarget::File(dir.path().join("run.json")).probe().unwrap();
    assert!(entries(dir.path()).is_empty());
}

#[test]
fn on_standard_output_the_record_takes_the_place_of_the_table() {
    let record = run(vec![identical()]);
    let json = Some(JsonTarget::from(OsStr::new("-")));
    let mut out = Vec::new();
    ReportOutputs { json, ..ReportOutputs::default() }.write(&record, &mut out).unwrap();
    assert_eq!(serde_json::from_slice::<RunRecord>(&out).unwrap(), record);
    assert_eq!(out.last(), Some(&b'\n'));
}

#[test]
fn the_record_is_saved_also_if_the_reader_of_the_table_has_gone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.json");
    let json = Some(JsonTarget::from(path.as_os_str()));
    let (reader, mut gone) = io::pipe().unwrap();
    drop(reader);
    let error = ReportOutputs { json, ..ReportOutputs::default() }
        .write(&run(vec![]), &mut gone)
        .unwrap_err();
    assert!(
        matches!(&error, WriteError::Results(error) if error.kind() == io::ErrorKind::BrokenPipe),
        "{error}"
    );
    assert_eq!(read(&path), run(vec![]));
}

#[test]
fn the_table_is_written_also_if_the_record_can_not_be() {
    let json = Some(JsonTarget::File("/proc/self/nothing/run.json".into()));
    let mut out = Vec::new();
    let error =
        ReportOutputs { json, ..ReportOutputs::default() }.write(&run(vec![identical()]), &mut out);
    assert!(matches!(error, Err(WriteError::Record(_))));
    assert!(String::from_utf8(out).unwrap().contains("1 identical"));
}
