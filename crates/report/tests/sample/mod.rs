//! A run that has a case of every kind.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

use memtwin_pages::{Gpa, Layout, PageSize, Region};
use memtwin_replicate::{Round, RoundKind};
use memtwin_report::record::{
    Blake3, CaseBuilder, HostFacts, LostPage, PageAt, RecordedDigest, RegionDigests, SchemaVersion,
};
use memtwin_report::{Case, RunRecord};
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) const PAGE: u64 = 16 << 10;

pub(crate) fn layout() -> Layout {
    let page = PageSize::new(PAGE).unwrap();
    Layout::new(vec![Region::new("aeshmem", Gpa(0x2000_0000), 1 << 20, page).unwrap()])
}

pub(crate) fn gpa(page: u64) -> Gpa {
    Gpa(0x2000_0000 + page * PAGE)
}

pub(crate) fn at(page: u64) -> PageAt {
    PageAt { region: "aeshmem".into(), gpa: gpa(page) }
}

pub(crate) fn lost(page: u64, hint: Option<&str>) -> LostPage {
    LostPage {
        region: "aeshmem".into(),
        gpa: gpa(page),
        last_round: 2,
        first_byte: 16,
        bytes: 8,
        hint: hint.map(str::to_owned),
        detail: None,
    }
}

pub(crate) fn rounds() -> Vec<Round> {
    let round = |n: u32, kind, dirty_pages, sent_pages| Round {
        n,
        kind,
        dirty_pages,
        sent_pages,
        false_dirty_pages: dirty_pages / 20,
        zero_pages: sent_pages / 30,
        bytes: sent_pages * PAGE,
        collect: Duration::from_micros(40),
        copy: Duration::from_micros(1_900),
        total: Duration::from_micros(2_000),
    };
    vec![
        round(0, RoundKind::PreCopy, 0, 64),
        round(1, RoundKind::Delta, 60, 60),
        round(2, RoundKind::Delta, 58, 58),
        round(3, RoundKind::Final, 12, 12),
        round(4, RoundKind::Final, 0, 0),
    ]
}

pub(crate) fn digest(memory: u8, twin: u8) -> BTreeMap<String, RegionDigests> {
    let digest =
        |byte: u8| RecordedDigest { blake3: Blake3([byte; 32]), bsd_sum: u16::from(byte) * 257 };
    BTreeMap::from([(
        "aeshmem".to_owned(),
        RegionDigests { memory: digest(memory), twin: digest(twin) },
    )])
}

pub(crate) fn trial(name: &str) -> CaseBuilder {
    CaseBuilder::new(name, "kvm", &layout()).rounds(&rounds())
}

pub(crate) fn identical() -> Case {
    trial("kvm/get/shm/vcpus=1/random").judged(Vec::new(), digest(1, 1))
}

pub(crate) fn differs() -> Case {
    trial("kvm/clear/shm/vcpus=2/walker").judged(
        vec![
            lost(3, Some("one bit of a descriptor: the page-table walker's access flag")),
            lost(40, None),
        ],
        digest(1, 2),
    )
}

pub(crate) fn inconclusive() -> Case {
    trial("kvm/ring/shm/vcpus=1/random").inconclusive("vCPU 0: the dirty ring stays full", vec![])
}

pub(crate) fn skipped() -> Case {
    Case::skipped("kvm/get/hugetlb/vcpus=1/random", "kvm", "no huge pages in the pool")
}

pub(crate) fn control_found() -> Case {
    let pages = [5, 6, 7];
    trial("kvm/get/shm/vcpus=1/random/control")
        .control(pages.map(at))
        .judged(pages.map(|page| lost(page, None)).into(), digest(1, 3))
}

/// Finds one of two, and one that was not injected.
pub(crate) fn control_astray() -> Case {
    trial("kvm/clear/shm/vcpus=1/random/control")
        .control([5, 6].map(at))
        .judged([5, 9].map(|page| lost(page, None)).into(), digest(1, 4))
}

pub(crate) fn every_kind() -> Vec<Case> {
    vec![
        identical(),
        control_found(),
        differs(),
        control_astray(),
        inconclusive(),
        skipped(),
        Case::skipped("kvm/get/hugetlb/vcpus=2/random", "kvm", "no huge pages in the pool"),
    ]
}

pub(crate) fn run(cases: Vec<Case>) -> RunRecord {
    RunRecord {
        schema_version: SchemaVersion,
        command: "check".into(),
        version: "0.1.0".into(),
        host: HostFacts {
            arch: "aarch64".into(),
            kernel: "6.12.1".into(),
            page_size: PAGE,
            cpus: 2,
            cpu_model: None,
            kvm: None,
        },
        boards: Default::default(),
        remote_runs: Default::default(),
        provenance: None,
        cases,
        notes: Vec::new(),
        migration: None,
        sweep: None,
    }
}
