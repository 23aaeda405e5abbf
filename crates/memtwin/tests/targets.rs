//! Boards of QEMU's targets, one of each page size and one of each refusal: `cargo xtask targets` does all
//! of them. One QEMU at a time.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod common;

use memtwin_targets::{AuditCaller, BOARDS, BoardExpectation};
use memtwin_testbed::{Need, lacks};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

struct Test;

impl AuditCaller for Test {
    fn complete(&mut self, command: &mut Command, limit: Duration) -> Result<(), String> {
        let mut held = common::Held(memtwin_child::Spawn::spawn_bound(command).unwrap());
        held.end_within(limit);
        Ok(())
    }
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
        let result = match board.audited(memtwin, &mut Test) {
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
