//! Boards of QEMU's targets, one of each page size and one of each refusal: `cargo xtask targets` does all
//! of them. One QEMU at a time.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod common;

use memtwin_targets::{
    AuditCaller, BOARDS, BoardError, BoardExpectation, BoardResult, TargetBoard,
};
use memtwin_testbed::{Need, lacks};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How often a sound board is audited at most.
const ATTEMPTS: u32 = 5;

struct Test;

impl AuditCaller for Test {
    fn complete(&mut self, command: &mut Command, limit: Duration) -> Result<(), String> {
        let mut held = common::Held(memtwin_child::Spawn::spawn_bound(command).unwrap());
        held.end_within(limit);
        Ok(())
    }
}

/// A board that is sound is audited again if a page was lost: under TCG QEMU itself loses one now and then
/// (docs/findings.md, 5), or the guest was kept from writing. Pages that were misread are lost each time.
fn audited(board: &TargetBoard, memtwin: &Path) -> Result<BoardResult, BoardError> {
    for _ in 1..ATTEMPTS {
        let result = board.audited(memtwin, &mut Test)?;
        if result.as_expected() || board.expected != BoardExpectation::Sound {
            return Ok(result);
        }
    }
    board.audited(memtwin, &mut Test)
}

#[test]
fn a_board_of_each_page_size_and_of_each_refusal() {
    let memtwin = Path::new(env!("CARGO_BIN_EXE_memtwin"));
    let mut sizes = BTreeSet::new();
    let mut failed = Vec::new();
    let mut left_out = false;
    for board in BOARDS.iter().filter(|board| board.in_tests) {
        if lacks(&[Need::Root, Need::Program(board.program().leak())]) {
            left_out = true;
            continue;
        }
        let result = match audited(board, memtwin) {
            Ok(result) => result,
            Err(error) => {
                failed.push(format!("{} {}: {error}", board.target, board.machine));
                continue;
            }
        };
        if board.expected == BoardExpectation::Sound {
            sizes.insert(board.page_bytes);
        }
        if !result.as_expected() {
            failed.push(result.to_string());
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(left_out || sizes == [256, 1024, 4096, 8192, 16384].into(), "{sizes:?}");
}
