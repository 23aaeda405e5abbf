//! Streams that QEMU wrote (fixtures/README.md): what is in them, cut, truncated, and with any bit
//! flipped.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may end at what it did not expect"
)]

mod common;

use common::{Call, cut, decode, watch};
use memtwin_stream::{
    BlockEntry, Decoder, SectionKind, StreamCommand, StreamFault, StreamLimits, StreamPhase,
};

const X86_64: &[u8] = include_bytes!("fixtures/none-x86_64-10.0.bin");
const X86_64_OLD: &[u8] = include_bytes!("fixtures/none-x86_64-7.2.bin");
const AARCH64: &[u8] = include_bytes!("fixtures/none-aarch64-10.0.bin");

/// Whole streams, and the page size of the target.
const WHOLE: [(&[u8], u32); 3] = [(X86_64, 4096), (X86_64_OLD, 4096), (AARCH64, 1024)];

/// The memory that a stream leaves behind, one block after another.
fn twin(calls: &[Call], page_bytes: u32) -> Vec<u8> {
    let mut blocks = Vec::new();
    for call in calls {
        match call {
            Call::Blocks(list) => {
                blocks = list.iter().map(|block| vec![0xee; block.used_bytes as usize]).collect();
            }
            Call::Page { block, offset, bytes } => {
                blocks[*block][*offset as usize..][..bytes.len()].copy_from_slice(bytes);
            }
            Call::Fill { block, offset, byte } => {
                blocks[*block][*offset as usize..][..page_bytes as usize].fill(*byte);
            }
            _ => {}
        }
    }
    blocks.concat()
}

#[test]
fn three_machines_with_the_same_memory_have_the_same_twin() {
    let mut twins = Vec::new();
    for (bytes, page_bytes) in WHOLE {
        let (calls, decoder, end) = decode(page_bytes, [bytes]);
        assert_eq!(end, Ok(()));
        assert_eq!(decoder.phase(), StreamPhase::RamEnded);
        assert_eq!(decoder.offset(), bytes.len() as u64);
        assert_eq!(calls[0], Call::Machine("none".to_owned()));
        let pages = (1 << 20) / u64::from(page_bytes);
        assert!(calls.contains(&Call::Section { kind: SectionKind::Part, pages }));
        twins.push(twin(&calls, page_bytes));
    }
    let twin = &twins[0];
    assert_eq!(twin.len(), 1 << 20);
    assert_eq!(&twin[9 * 4096..10 * 4096], &[0xaa; 4096]);
    assert_eq!(twin.iter().rposition(|byte| *byte != 0), Some((1 << 20) - 1));
    assert!(twins.iter().all(|other| other == twin));
}

#[test]
fn any_cut_tells_the_same() {
    for (bytes, page_bytes) in WHOLE {
        let (calls, ..) = decode(page_bytes, [bytes]);
        for lengths in [&[1][..], &[9], &[4095], &[4104, 1], &[3, 5000, 17]] {
            let (again, _, end) = decode(page_bytes, cut(bytes, lengths));
            assert_eq!(end, Ok(()));
            assert!(calls == again, "cut into {lengths:?}");
        }
    }
}

#[test]
fn a_stream_that_ends_at_any_byte_says_where() {
    for (bytes, page_bytes) in WHOLE {
        let mut decoder = Decoder::new(StreamLimits::default(), page_bytes);
        let mut whole = 0;
        for end in 0..bytes.len() {
            match decoder.finish() {
                Ok(()) => whole += 1,
                Err(error) => {
                    assert_eq!(whole, 0, "complete before byte {end} and not there");
                    assert_eq!(error.offset, end as u64);
                    assert!(matches!(error.fault, StreamFault::Truncated { .. }), "{error}");
                }
            }
            // The same from a decoder that got it in one piece; now and then, as it takes longer.
            if end < 200 || end % 97 == 0 {
                assert_eq!(watch(page_bytes, [&bytes[..end]]).end, decoder.finish());
            }
            decoder.feed(&bytes[end..=end], &mut common::Calls::default()).unwrap();
        }
        // What is not needed is the state of the devices, at the end.
        assert!((50..5000).contains(&whole), "{whole}");
    }
}

#[test]
fn no_flipped_bit_makes_it_panic_or_contradict_itself() {
    let mut random = fastrand::Rng::with_seed(5);
    for (bytes, page_bytes) in WHOLE {
        let ends = (0..300).chain(bytes.len() - 40..bytes.len());
        let between = (0..60).map(|_| random.usize(..bytes.len()));
        let places: Vec<usize> = ends.chain(between).collect();
        let mut refused = 0;
        for place in places {
            for bit in 0..8 {
                let mut flipped = bytes.to_vec();
                flipped[place] ^= 1 << bit;
                let told = watch(page_bytes, [&flipped[..]]);
                assert_eq!(told, watch(page_bytes, cut(&flipped, &[1, 700])));
                if let Err(error) = told.end {
                    refused += 1;
                    assert!(error.offset <= bytes.len() as u64);
                    // A flipped length is found out where what it hides should have been.
                    assert!(error.to_string().starts_with("byte "));
                }
            }
        }
        assert!(refused > 500, "{refused}");
    }
}

fn block(name: &str, used_bytes: u64) -> BlockEntry {
    BlockEntry { name: name.to_owned(), used_bytes, gpa: None, page_bytes: None }
}

/// The blocks of a stream that was cut off after its first pages.
fn blocks(head: &[u8]) -> (Vec<Call>, Vec<BlockEntry>) {
    let (calls, decoder, end) = decode(4096, [head]);
    let fault = end.map_err(|error| error.fault);
    assert_eq!(fault, Err(StreamFault::Truncated { phase: StreamPhase::PreCopy }));
    assert_eq!(decoder.offset(), head.len() as u64);
    let blocks = calls.iter().find_map(|call| match call {
        Call::Blocks(blocks) => Some(blocks.clone()),
        _ => None,
    });
    (calls, blocks.unwrap())
}

#[test]
fn qemu_7_2_lists_the_blocks_of_a_pc() {
    let (calls, blocks) = blocks(include_bytes!("fixtures/pc-x86_64-7.2.head"));
    assert_eq!(calls[0], Call::Machine("pc-i440fx-7.2".to_owned()));
    assert_eq!(blocks[0], block("pc.ram", 16 << 20));
    assert_eq!(blocks[2], block("pc.bios", 256 << 10));
    assert_eq!(blocks.len(), 6);
}

#[test]
fn an_arm_machine_says_its_page_size() {
    let head = include_bytes!("fixtures/virt-aarch64-10.0.head");
    let mut decoder = Decoder::new(StreamLimits::default(), 1024);
    decoder.feed(head, &mut common::Calls::default()).unwrap();
    assert_eq!(decoder.page_bytes(), 4096);
    assert_eq!(blocks(head).1[2], block("mach-virt.ram", 16 << 20));
}

#[test]
fn a_uuid_is_passed_over() {
    let (calls, blocks) = blocks(include_bytes!("fixtures/uuid-x86_64-10.0.head"));
    assert_eq!(calls[0], Call::Machine("pc-i440fx-10.0".to_owned()));
    assert_eq!(blocks.len(), 6);
}

#[test]
fn shared_blocks_come_with_their_address() {
    let head = include_bytes!("fixtures/ignore-shared-x86_64-10.0.head");
    let (calls, blocks) = blocks(head);
    assert_eq!(blocks[0], BlockEntry { gpa: Some(0), ..block("m", 16 << 20) });
    assert_eq!(blocks[2], BlockEntry { gpa: Some(0xfffc_0000), ..block("pc.bios", 256 << 10) });
    let ram =
        |call: &&Call| matches!(call, Call::Page { block: 0, .. } | Call::Fill { block: 0, .. });
    assert_eq!(calls.iter().find(ram), None);
}

#[test]
fn postcopy_is_advised_and_changes_nothing_with_usual_pages() {
    let (calls, blocks) = blocks(include_bytes!("fixtures/postcopy-x86_64-7.2.head"));
    let begin =
        [StreamCommand::OpenReturnPath, StreamCommand::Ping(1), StreamCommand::PostcopyAdvise];
    assert_eq!(calls[1..4], begin.map(Call::Command));
    assert!(blocks.iter().all(|block| block.page_bytes.is_none()));
}

#[test]
fn huge_pages_come_with_their_size_first_or_last() {
    let (_, first) = blocks(include_bytes!("fixtures/postcopy-hugetlb-x86_64-10.0.head"));
    let huge = BlockEntry { page_bytes: Some(2 << 20), ..block("m", 16 << 20) };
    assert_eq!(first[0], huge);
    assert!(first[1..].iter().all(|block| block.page_bytes.is_none()));
    let (_, last) = blocks(include_bytes!("fixtures/postcopy-hugetlb-last-x86_64-10.0.head"));
    assert_eq!(last, [huge]);
}

#[test]
fn the_early_section_of_virtio_mem_is_passed_over() {
    let (_, blocks) = blocks(include_bytes!("fixtures/virtio-mem-x86_64-10.0.head"));
    assert_eq!(blocks[0], block("0000:00:02.0/m", 256 << 20));
}

#[test]
fn a_very_old_machine_type_has_no_configuration_and_no_footers() {
    let (calls, blocks) = blocks(include_bytes!("fixtures/pc-2.3-x86_64-7.2.head"));
    assert_eq!(calls[0], Call::Blocks(blocks));
    assert_eq!(calls[1], Call::Section { kind: SectionKind::Start, pages: 0 });
}

#[test]
fn other_devices_that_send_while_the_guest_runs_are_refused_by_name() {
    let head = &include_bytes!("fixtures/block-x86_64-7.2.head")[..];
    let error = decode(4096, [head]).2.unwrap_err();
    assert_eq!(error.fault, StreamFault::Foreign { name: "block".to_owned() });
    assert_eq!(&head[error.offset as usize..][..5], b"block");
    assert!(error.to_string().ends_with("capability block off"), "{error}");
}
