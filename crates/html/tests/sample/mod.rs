//! Records to show: recorded ones, and some that nobody would record.

#![allow(dead_code, reason = "each test file uses its part")]

use memtwin_pages::{Gpa, Layout, PageSize, Region};
use memtwin_report::record::LostPage;
use memtwin_report::{CaseBuilder, RunRecord};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

pub(crate) const PAGE: u64 = 4096;

/// A file of the repository.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// A record of this crate's own.
pub(crate) fn recorded(name: &str) -> RunRecord {
    memtwin_report::json::read(&path(&format!("tests/records/{name}.json"))).unwrap()
}

/// The record of a run on three boards.
pub(crate) fn matrix() -> RunRecord {
    let packed = File::open(path("../../docs/records/matrix.json.xz")).unwrap();
    let mut text = Vec::new();
    lzma_rust2::XzReader::new(packed, true).read_to_end(&mut text).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// Every fourth page of a region of 16 GiB is lost, so many in all.
pub(crate) fn lost(pages: u64) -> RunRecord {
    let size = PageSize::new(PAGE).unwrap();
    let region = Region::new("pc.ram", Gpa(0), 16 << 30, size).unwrap();
    let lost = |n: u64| LostPage {
        region: "pc.ram".to_owned(),
        gpa: Gpa(n * 4 * PAGE),
        last_round: 3,
        first_byte: 8,
        bytes: 16,
        hint: Some("an access flag".to_owned()),
        detail: None,
    };
    let layout = Layout::new(vec![region]);
    let case = CaseBuilder::new("audit/pc.ram", "qemu:qmp.sock", &layout);
    let case = case.judged((0..pages).map(lost).collect(), BTreeMap::new());
    RunRecord::new("memtwin audit qmp.sock", vec![case])
}

/// Text that would be markup, a script, or the end of something.
pub(crate) const HOSTILE: [&str; 6] = [
    "<script>console.error('ran')</script>",
    "\"><img src=x onerror=console.error(1)>",
    "</style></title></svg><iframe src='http://127.0.0.1:9/'>",
    "' onmouseover='alert(1)",
    "]]>&amp;<!--",
    "\u{1b}[31m\u{202e}\u{0}\r\nforged",
];

/// A record in which every text is hostile.
pub(crate) fn hostile() -> RunRecord {
    let size = PageSize::new(PAGE).unwrap();
    let cases = HOSTILE.iter().enumerate().map(|(at, text)| {
        let name = format!("{text}/{text}/{text}/{text}/{text}");
        let region = Region::new(*text, Gpa(0), 64 * PAGE, size).unwrap();
        let lost = LostPage {
            region: (*text).to_owned(),
            gpa: Gpa(PAGE),
            last_round: 1,
            first_byte: 0,
            bytes: 1,
            hint: Some((*text).to_owned()),
            detail: None,
        };
        let case = CaseBuilder::new(name, *text, &Layout::new(vec![region]));
        match at % 3 {
            0 => case.judged(vec![lost], BTreeMap::new()),
            1 => case.inconclusive(text, Vec::new()),
            _ => case.not_judged(text),
        }
    });
    let mut record = RunRecord::new(HOSTILE.concat(), cases.collect());
    record.host.kernel = HOSTILE[0].to_owned();
    record.version = HOSTILE[1].to_owned();
    record.with_notes(HOSTILE.map(str::to_owned))
}
