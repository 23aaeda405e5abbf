//! What may be there, of operations that are known.

use super::*;
use std::collections::BTreeSet;

const FILE: FileId = FileId(0);

fn states(ops: &[Op]) -> BTreeSet<State> {
    let mut disk = CrashDisk::default();
    ops.iter().for_each(|op| disk.apply(op));
    let mut rng = Rng::with_seed(1);
    (0..2000).map(|_| disk.crash(&mut rng)).collect()
}

fn write(at: u64, bytes: Vec<u8>) -> Op {
    Op::Write { file: FILE, at, bytes }
}

fn create() -> Op {
    Op::Create { name: "a".into(), file: FILE }
}

fn sync_directory(before: usize) -> Op {
    Op::SyncDirectory { name: "".into(), before }
}

fn of(name: &str, bytes: &[u8]) -> State {
    State::from([(name.into(), Some(bytes.to_vec()))])
}

#[test]
fn what_was_synced_is_there_and_else_any_part() {
    let ops = [create(), write(0, vec![1; 1024])];
    let nothing_synced = states(&ops);
    let sectors = |a, b| [vec![a; 512], vec![b; 512]].concat();
    for expected in [
        State::new(),
        of("a", &[]),
        of("a", &sectors(0, 0)),
        of("a", &sectors(1, 0)),
        of("a", &sectors(0, 1)),
        of("a", &sectors(1, 1)),
        of("a", &[1; 512]),
    ] {
        assert!(nothing_synced.contains(&expected), "{expected:?}");
    }
    assert_eq!(nothing_synced.len(), 7);
    let sync = Op::SyncFile { file: FILE, before: 2 };
    let of_file = states(&[&ops[..], std::slice::from_ref(&sync)].concat());
    assert_eq!(of_file, BTreeSet::from([State::new(), of("a", &[1; 1024])]));
    let both = states(&[&ops[..], &[sync, sync_directory(3)]].concat());
    assert_eq!(both, BTreeSet::from([of("a", &[1; 1024])]));
    // A sync that began before the write covers nothing of it.
    let early = Op::SyncFile { file: FILE, before: 1 };
    assert_eq!(states(&[&ops[..], &[early]].concat()), nothing_synced);
}

#[test]
fn a_name_is_moved_as_a_whole() {
    let rename = Op::Rename { from: "a".into(), to: "b".into() };
    let ops = [create(), sync_directory(1), rename];
    assert_eq!(states(&ops), BTreeSet::from([of("a", &[]), of("b", &[])]));
    let synced = [&ops[..], &[sync_directory(3)]].concat();
    assert_eq!(states(&synced), BTreeSet::from([of("b", &[])]));
}

#[test]
fn a_cut_may_be_there_or_not() {
    let ops = [
        create(),
        write(0, vec![1; 1024]),
        Op::SyncFile { file: FILE, before: 2 },
        sync_directory(3),
        Op::Resize { file: FILE, len: 512 },
    ];
    let expected = BTreeSet::from([of("a", &[1; 512]), of("a", &[1; 1024])]);
    assert_eq!(states(&ops), expected);
}
