//! What is given to `--plan`: as much is read as a plan may have, and of a regular file alone.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod common;

use common::{Place, expect, memtwin};
use std::fs::{self, File};
use std::path::Path;

fn refused(plan: &Path, words: &str) {
    let mut migrate = memtwin();
    migrate.args(["migrate", "--hosts", "ssh://127.0.0.1,ssh://127.0.0.1", "--plan"]).arg(plan);
    let (out, err) = expect(2, &mut migrate);
    assert!(err.contains(words) && err.contains(&plan.display().to_string()), "{err}");
    assert_eq!((out.as_str(), err.trim_end().lines().count()), ("", 1), "{err}");
}

#[test]
fn what_is_no_plan_is_refused_at_once() {
    let place = Place::new();
    refused(Path::new("/dev/zero"), "expected a regular file");
    refused(&place.path("none"), "No such file");
    refused(place.0.path(), "expected a regular file");
    let fifo = place.path("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    refused(&fifo, "expected a regular file");
    let large = place.path("large");
    File::create(&large).unwrap().set_len(8 << 30).unwrap();
    refused(&large, "at most 1048576 bytes");
    let (seed, _) = expect(0, memtwin().args(["lab", "plan", "seed"]));
    let escapes = place.path("escapes");
    for out in ["../../etc/cron.d/x", "/etc/passwd", ".."] {
        fs::write(&escapes, seed.replace("\"migr.root\"", &format!("\"{out}\""))).unwrap();
        refused(&escapes, "storage.image");
    }
}
