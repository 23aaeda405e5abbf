//! Random legal streams: what was written is what is told, however it is cut.

mod common;

use common::encode::{Stream, contents};
use common::{Call, cut, decode};
use memtwin_stream::{BlockEntry, SectionKind, StreamCommand};
use proptest::collection::vec;
use proptest::prelude::*;

/// What one section holds: whose page (of the blocks, modulo), which page, and what is in it.
#[derive(Clone, Debug)]
enum Record {
    Page { block: usize, page: u64, seed: u64 },
    Fill { block: usize, page: u64, byte: u8 },
    Forget,
}

#[derive(Clone, Debug)]
struct Plan {
    page_bits: u32,
    say_page_bits: bool,
    uuid: bool,
    ignore_shared: bool,
    /// For each block whether it is on huge pages; only with postcopy.
    huge: Option<Vec<bool>>,
    commands: bool,
    blocks: Vec<u64>,
    parts: Vec<Vec<Record>>,
    end: Vec<Record>,
}

fn record() -> impl Strategy<Value = Record> {
    let place = (any::<usize>(), any::<u64>());
    prop_oneof![
        4 => (place, any::<u64>())
            .prop_map(|((block, page), seed)| Record::Page { block, page, seed }),
        4 => (place, prop_oneof![9 => Just(0), 1 => any::<u8>()])
            .prop_map(|((block, page), byte)| Record::Fill { block, page, byte }),
        1 => Just(Record::Forget),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let huge = prop::option::of(vec(any::<bool>(), 8));
    // The list goes on after its total is used up if the last ones have no bytes.
    let blocks = (vec(1..8_u64, 1..6), 0..3_usize).prop_map(|(mut blocks, empty)| {
        blocks.extend(std::iter::repeat_n(0, empty));
        blocks
    });
    let parts = vec(vec(record(), 0..12), 0..5);
    (8..=14_u32, flags, huge, blocks, parts, vec(record(), 0..6)).prop_map(
        |(page_bits, (say_page_bits, uuid, shared, commands), huge, blocks, parts, end)| Plan {
            page_bits,
            say_page_bits,
            uuid,
            ignore_shared: shared && huge.is_none(),
            huge,
            commands,
            blocks,
            parts,
            end,
        },
    )
}

/// The stream of a plan, and what a visitor is to be told.
fn write(plan: &Plan) -> (Stream, Vec<Call>) {
    let page_bytes = 1_u64 << plan.page_bits;
    let mut stream = Stream::new("a-machine", page_bytes as usize);
    let mut calls = vec![Call::Machine("a-machine".to_owned())];
    if plan.say_page_bits {
        stream.page_bits(plan.page_bits);
    }
    if plan.ignore_shared {
        stream.ignore_shared();
    }
    if plan.uuid {
        stream.uuid();
    }
    if plan.commands {
        stream.open_return_path().ping(7);
        calls.extend([StreamCommand::OpenReturnPath, StreamCommand::Ping(7)].map(Call::Command));
    }
    if let Some(huge) = &plan.huge {
        let summary = if huge.contains(&true) { 0x20_0000 | page_bytes } else { page_bytes };
        stream.postcopy_advise(summary);
        calls.push(Call::Command(StreamCommand::PostcopyAdvise));
    }
    stream.start(plan.blocks.iter().map(|pages| pages * page_bytes).sum());
    let mut entries = Vec::new();
    for (number, pages) in plan.blocks.iter().enumerate() {
        let name = format!("block{number}");
        let mut entry = BlockEntry {
            name: name.clone().into_bytes(),
            used_bytes: pages * page_bytes,
            gpa: None,
            page_bytes: None,
        };
        stream.block(&name, entry.used_bytes);
        if plan.huge.as_ref().is_some_and(|huge| huge[number]) {
            stream.u64(0x20_0000);
            entry.page_bytes = Some(0x20_0000);
        }
        if plan.ignore_shared {
            entry.gpa = Some(number as u64 * 0x1_0000_0000);
            stream.u64(number as u64 * 0x1_0000_0000);
        }
        entries.push(entry);
    }
    calls.push(Call::Blocks(entries));
    stream.close();
    calls.push(Call::Section { kind: SectionKind::Start, pages: 0 });
    for part in &plan.parts {
        records(plan, part, stream.part(), &mut calls, SectionKind::Part);
    }
    if plan.commands {
        stream.switchover_start();
        calls.push(Call::Command(StreamCommand::SwitchoverStart));
    }
    records(plan, &plan.end, stream.end(), &mut calls, SectionKind::End);
    stream.devices();
    (stream, calls)
}

fn records(
    plan: &Plan,
    records: &[Record],
    stream: &mut Stream,
    calls: &mut Vec<Call>,
    kind: SectionKind,
) {
    let page_bytes = 1_u64 << plan.page_bits;
    let place = |block: usize, page: u64| {
        let block = block % plan.blocks.iter().filter(|pages| **pages > 0).count();
        (block, format!("block{block}"), page % plan.blocks[block] * page_bytes)
    };
    let mut pages = 0;
    for record in records {
        match *record {
            Record::Page { block, page, seed } => {
                let (block, name, offset) = place(block, page);
                stream.page(&name, offset, seed);
                let bytes = contents(seed, page_bytes as usize);
                calls.push(Call::Page { block, offset, bytes });
                pages += 1;
            }
            Record::Fill { block, page, byte } => {
                let (block, name, offset) = place(block, page);
                stream.fill(&name, offset, byte);
                calls.push(Call::Fill { block, offset, byte });
                pages += 1;
            }
            Record::Forget => {
                stream.forget();
            }
        }
    }
    stream.close();
    calls.push(Call::Section { kind, pages });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_was_written_is_told_however_it_is_cut(
        plan in plan(),
        lengths in vec(1..6000_usize, 1..6),
        small in vec(1..20_usize, 1..6),
    ) {
        let (stream, calls) = write(&plan);
        let told = if plan.say_page_bits { 256 } else { 1 << plan.page_bits };
        for pieces in [
            vec![&stream.bytes[..]],
            cut(&stream.bytes, &lengths),
            cut(&stream.bytes, &small),
            cut(&stream.bytes, &[1]),
        ] {
            let (got, decoder, end) = decode(told, pieces);
            prop_assert_eq!(end, Ok(()));
            prop_assert_eq!(decoder.page_bytes(), 1 << plan.page_bits);
            prop_assert_eq!(decoder.offset(), stream.bytes.len() as u64);
            prop_assert!(got == calls, "expected {calls:?}, got {got:?}");
        }
    }
}
