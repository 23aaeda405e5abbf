//! A twin in a file or in a directory, and a power loss after every system call of its life: what is
//! taken for whole is whole.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end at what it did not expect")]

mod common;

use common::{crash_everywhere, directory, losses, on_disk, recorded, said, taken_for_whole};
use memtwin_pages::{Gpa, Layout, PageSize, Region};
use memtwin_powerloss::{Op, Recording};
use memtwin_replicate::Sink;
use memtwin_twin::{DirTwin, FileTwin};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

const ROUNDS: u8 = 4;
const OLD: [u8; 8192] = [0x01; 8192];

fn layout() -> Layout {
    let region = |name: &str, pages: u64, page: u64| {
        Region::new(name, Gpa(0), pages * page, PageSize::new(page).unwrap()).unwrap()
    };
    Layout::new(vec![region("a", 3, 4096), region("b", 5, 512)])
}

/// What a region holds after a round.
fn content(region: usize, bytes: u64, round: u8) -> Vec<u8> {
    let sector = |n: u64| [0x10 * (region as u8 + 1) + round, n as u8 + 1];
    (0..bytes / 512).flat_map(|n| sector(n).repeat(256)).collect()
}

fn image(round: u8) -> Vec<u8> {
    let layout = layout();
    layout.iter().flat_map(|(id, region)| content(id.0, region.bytes(), round)).collect()
}

fn rounds(twin: &mut impl Sink) {
    let layout = layout();
    twin.open(&layout).unwrap();
    for round in 0..ROUNDS {
        for (id, region) in layout.iter() {
            let page = region.page_size().as_usize();
            let bytes = content(id.0, region.bytes(), round);
            for (n, bytes) in bytes.chunks(page).enumerate() {
                twin.write(id, n as u64, bytes).unwrap();
            }
        }
        twin.commit(u32::from(round)).unwrap();
    }
}

fn say(word: &str) {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{word}").unwrap();
    stdout.flush().unwrap();
}

/// Not a test: what is recorded for the others.
#[test]
fn a_file_is_written() {
    let Some(dir) = directory() else { return };
    let mut twin = FileTwin::create(dir.join("twin")).unwrap();
    rounds(&mut twin);
    twin.finish(std::env::var_os("MEMTWIN_POWERLOSS_GIVES_UP").is_none()).unwrap();
    say("finished");
}

/// Not a test: what is recorded for another.
#[test]
fn a_directory_is_written() {
    let Some(dir) = directory() else { return };
    let mut twin = DirTwin::create(dir.join("new")).unwrap();
    rounds(&mut twin);
    twin.finish(true).unwrap();
    say("finished");
}

/// Not a test, but the control: a twin as it was written when it did not carry its own state.
#[test]
fn a_file_is_written_without_a_state() {
    let Some(dir) = directory() else { return };
    let (path, partial) = (dir.join("twin"), dir.join("twin.partial"));
    let file = File::options().write(true).create_new(true).open(&partial).unwrap();
    file.set_len(image(0).len() as u64).unwrap();
    for round in 0..ROUNDS {
        file.write_all_at(&image(round), 0).unwrap();
        fs::rename(&partial, &path).unwrap_or_default();
    }
    file.sync_data().unwrap();
    File::open(&dir).unwrap().sync_all().unwrap();
    say("finished");
}

fn record(test: &str, variables: &[(&str, &str)]) -> Recording {
    let dir = on_disk();
    fs::write(dir.path().join("twin"), OLD).unwrap();
    recorded(test, dir.path(), variables)
}

/// Whether a file that is taken for whole is the old one or the last round, and the last round when
/// the program has said so.
fn check(dir: &Path, done: usize, finished: usize) -> Result<(), String> {
    for name in ["twin", "twin.partial"] {
        match taken_for_whole(&dir.join(name)) {
            None => {}
            // What was there before; if names may change in any order, by either of them.
            Some(bytes) if bytes == OLD => {}
            Some(bytes) if bytes == image(ROUNDS - 1) && name == "twin" => {}
            Some(_) => return Err(format!("{name}: taken for whole, and is no round")),
        }
    }
    if done > finished && taken_for_whole(&dir.join("twin")) != Some(image(ROUNDS - 1)) {
        return Err("twin: it was called complete, and is not".to_owned());
    }
    Ok(())
}

#[test]
fn no_file_is_whole_that_is_not() {
    let recording = record("a_file_is_written", &[]);
    let finished = said(&recording, "finished");
    let found = crash_everywhere(&recording, losses(12), |dir, _, done| check(dir, done, finished));
    assert!(found.wrong.is_empty(), "{found:?}");
    println!("{} operations, {} states", recording.ops.len(), found.states);
    assert!(found.states > 200, "{found:?}");
}

#[test]
fn nor_one_that_came_to_nothing() {
    let recording = record("a_file_is_written", &[("MEMTWIN_POWERLOSS_GIVES_UP", "1")]);
    said(&recording, "finished");
    let found =
        crash_everywhere(&recording, losses(12), |dir, _, done| check(dir, done, usize::MAX));
    assert!(found.wrong.is_empty(), "{found:?}");
}

#[test]
fn nor_an_image_in_a_directory() {
    let dir = on_disk();
    let recording = recorded("a_directory_is_written", dir.path(), &[]);
    let finished = said(&recording, "finished");
    let layout = layout();
    let found = crash_everywhere(&recording, losses(6), |dir, _, done| {
        for (id, region) in layout.iter() {
            let last = content(id.0, region.bytes(), ROUNDS - 1);
            let path = dir.join("new").join(region.name());
            let whole = taken_for_whole(&path);
            let partial = taken_for_whole(&path.with_extension("partial"));
            if partial.is_some() || whole.as_ref().is_some_and(|bytes| *bytes != last) {
                return Err(format!("{}: taken for whole, and is no round", region.name()));
            }
            if done > finished && whole.is_none() {
                return Err(format!("{}: it was called complete, and is not", region.name()));
            }
        }
        Ok(())
    });
    assert!(found.wrong.is_empty(), "{found:?}");
    assert!(found.states > 200, "{found:?}");
}

/// The controls: a twin without a state of its own is taken for whole when it is not, and so is one
/// whose syncs do nothing, all of them or one that matters.
#[test]
fn and_without_its_state_or_a_sync_it_is_found() {
    let recording = record("a_file_is_written_without_a_state", &[]);
    let finished = said(&recording, "finished");
    let look = |recording: &Recording| {
        crash_everywhere(recording, losses(12), |dir, _, done| check(dir, done, finished))
    };
    let found = look(&recording);
    assert!(found.wrong.iter().any(|wrong| wrong.contains("is no round")), "{found:?}");

    let recording = record("a_file_is_written", &[]);
    let finished = said(&recording, "finished");
    let look = |recording: &Recording| {
        crash_everywhere(recording, losses(40).first(), |dir, _, done| check(dir, done, finished))
    };
    let syncs = recording.syncs();
    assert!(look(&recording.without(&syncs)).count > 0);
    // One at a time: which of them matter to the file, and which to its name.
    let caught: Vec<usize> =
        syncs.iter().copied().filter(|&i| look(&recording.without(&[i])).count > 0).collect();
    let describe = |i: &usize| match &recording.ops[*i] {
        Op::SyncFile { file, .. } => format!("{i}: file {}", file.0),
        _ => format!("{i}: names"),
    };
    let names: Vec<String> = syncs.iter().map(describe).collect();
    let caught_names: Vec<String> = caught.iter().map(describe).collect();
    println!("of {names:?} these are missed: {caught_names:?}");
    // The trailer before the first page, the image before its trailer goes, and that it went.
    let image = recording.ops.iter().find_map(|op| match op {
        Op::Create { name, file } if name == Path::new("twin.partial") => Some(*file),
        _ => None,
    });
    let of_image =
        |i: &&usize| matches!(recording.ops[**i], Op::SyncFile { file, .. } if Some(file) == image);
    assert_eq!(syncs.iter().filter(of_image).count(), 3, "{names:?}");
    assert_eq!(caught.iter().filter(of_image).count(), 3, "{caught_names:?}");
    // And that its name is there when it is called complete.
    let of_names = |i: &usize| matches!(recording.ops[*i], Op::SyncDirectory { .. });
    let of_names: Vec<usize> = syncs.into_iter().filter(of_names).collect();
    assert!(look(&recording.without(&of_names)).count > 0, "{caught_names:?}");
}
