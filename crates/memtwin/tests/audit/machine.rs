//! A QEMU to be audited: a second QMP socket for the test, a guest that writes from its first
//! instruction on, and what must be the same after an audit as before.

#[path = "firmware.rs"]
mod firmware;

pub(crate) use firmware::firmware;

use crate::common::{Held, memtwin, until};
use memtwin_qemu::{
    BlockNode, Capabilities, Parameters, block_nodes, blocks, capabilities, migration, parameters,
    status,
};
use memtwin_qmp::Qmp;
use memtwin_report::RunRecord;
use memtwin_report::record::{Case, Verdict};
use memtwin_testbed::{Need, Qemu, lacks, release_program};
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

pub(crate) const PC: &str = "qemu-system-x86_64";
pub(crate) const ARM: &str = "qemu-system-aarch64";
const TIMEOUT: Duration = Duration::from_secs(60);

/// A PC whose firmware is the guest: see [`firmware`].
pub(crate) const WRITING: &str = "-M pc -accel kvm -m 32 -bios firmware";

/// Where the guest writes, and how much: the first word of each page is its counter.
pub(crate) const WRITTEN: std::ops::Range<u64> = 0x10000..0x90000;

/// What an audit must leave as it was.
#[derive(Debug, PartialEq)]
pub(crate) struct Setup {
    capabilities: Capabilities,
    parameters: Parameters,
    /// The block nodes and their dirty bitmaps.
    nodes: Vec<BlockNode>,
    /// QEMU's word for the state of the guest.
    pub(crate) guest: String,
    /// Descriptors that are open in QEMU.
    fds: usize,
}

pub(crate) struct BareMachine {
    pub(crate) qemu: Qemu,
    /// The second monitor.
    pub(crate) qmp: Qmp,
    memory: File,
    /// The monitor that is given to an audit; its QMP socket unless a test says another.
    pub(crate) monitor: OsString,
}

impl BareMachine {
    /// A machine with these arguments; None, with the reason printed, where it can't be obtained.
    pub(crate) fn start(program: &'static str, arguments: &str) -> Option<Self> {
        let needs = [Need::Program(program), Need::Root];
        Self::start_program(needs, program, arguments)
    }

    /// The same of this version of QEMU.
    pub(crate) fn start_version(
        version: &'static str,
        program: &'static str,
        arguments: &str,
    ) -> Option<Self> {
        let needs = [Need::Release(version), Need::Root];
        let program = release_program(version, program);
        Self::start_program(needs, program.to_str().unwrap(), arguments)
    }

    fn start_program(needs: [Need; 2], program: &str, arguments: &str) -> Option<Self> {
        let mut needs = needs.to_vec();
        needs.extend(arguments.contains("kvm").then_some(Need::Kvm));
        if lacks(&needs) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("firmware"), firmware()).unwrap();
        fs::write(dir.path().join("unplugging"), firmware::unplugging()).unwrap();
        fs::write(dir.path().join("arm-firmware"), firmware::arm()).unwrap();
        File::create(dir.path().join("flash")).unwrap().set_len(64 << 20).unwrap();
        let mut all = vec!["-qmp", "unix:second,server=on,wait=off"];
        all.extend(arguments.split_whitespace());
        let qemu = Qemu::start_in(dir, program, &all).unwrap();
        let second = qemu.dir().join("second");
        let mut qmp = None;
        until("there is a second monitor", || {
            qmp = Qmp::connect(&second, TIMEOUT).ok();
            qmp.is_some()
        });
        let qmp = qmp.unwrap();
        let path = format!("/proc/{}/mem", qemu.pid());
        let memory = File::options().read(true).write(true).open(path).unwrap();
        let monitor = qemu.qmp().into();
        Some(Self { qemu, qmp, memory, monitor })
    }

    /// One whose guest writes for ever, when it does.
    pub(crate) fn writing(more: &str) -> Option<Self> {
        let mut this = Self::start(PC, &format!("{WRITING} {more}"))?;
        this.writes();
        Some(this)
    }

    /// Waits until the guest has written again.
    pub(crate) fn writes(&mut self) {
        self.writes_to("pc.ram");
    }

    /// The same, where the guest's first memory has another name.
    pub(crate) fn writes_to(&mut self, block: &str) {
        let last = WRITTEN.end - 4096;
        let before = self.word(block, last);
        until("the guest writes", || self.word(block, last) != before);
    }

    fn hva(&mut self, block: &str) -> u64 {
        let blocks = blocks(&mut self.qmp).unwrap();
        blocks.iter().find(|it| it.name == block).unwrap().hva.unwrap()
    }

    /// The word at this offset of a block.
    pub(crate) fn word(&mut self, block: &str, offset: u64) -> u16 {
        let mut word = [0; 2];
        let at = self.hva(block) + offset;
        self.memory.read_exact_at(&mut word, at).unwrap();
        u16::from_le_bytes(word)
    }

    /// Writes into a block behind the back of QEMU and of every log.
    pub(crate) fn poke(&mut self, block: &str, offset: u64, bytes: &[u8]) {
        let at = self.hva(block) + offset;
        self.memory.write_all_at(bytes, at).unwrap();
    }

    /// How QEMU is now.
    pub(crate) fn setup(&mut self) -> Setup {
        let fds = fs::read_dir(format!("/proc/{}/fd", self.qemu.pid())).unwrap();
        Setup {
            capabilities: capabilities(&mut self.qmp).unwrap(),
            parameters: parameters(&mut self.qmp).unwrap(),
            nodes: block_nodes(&mut self.qmp).unwrap(),
            guest: status(&mut self.qmp).unwrap().status.to_string(),
            fds: fds.count(),
        }
    }

    /// Waits until QEMU is as it was, with no guardian left. What QEMU closes it closes later.
    pub(crate) fn is_as(&mut self, before: &Setup) {
        until("the guardian is gone", || self.guardians().is_empty());
        until("no migration is under way", || {
            !migration(&mut self.qmp).unwrap().status.is_under_way()
        });
        let patience = std::time::Instant::now();
        while self.setup() != *before && patience.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(self.setup(), *before);
        // The connection that sees it must be free too.
        Qmp::connect(&self.qemu.qmp(), TIMEOUT).unwrap();
    }

    /// The guardians of our audits: children of any Memtwin that was told of our directory.
    pub(crate) fn guardians(&self) -> Vec<u32> {
        let mark = format!("{MARK}={}", self.qemu.dir().display());
        let is_ours = |pid: &u32| {
            let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
            let has = |bytes: &[u8], word: &str| {
                bytes.split(|byte| *byte == 0).any(|part| part == word.as_bytes())
            };
            has(&read("cmdline"), "guardian") && has(&read("environ"), &mark)
        };
        let entries = fs::read_dir("/proc").unwrap();
        let pids = entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        pids.filter(is_ours).collect()
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.qemu.dir().join("out.json")
    }

    /// `memtwin audit MONITOR --quiet --json …/out.json …`
    pub(crate) fn audit(&self, arguments: &str) -> Command {
        let mut command = memtwin();
        command.env(MARK, self.qemu.dir()).arg("audit").arg(&self.monitor);
        // A machine with other work takes its time; who tests the bound gives another one.
        command.args(["--max-pause", "1m", "--quiet", "--json"]).arg(self.out());
        command.args(arguments.split_whitespace());
        command
    }

    /// The same, under way.
    pub(crate) fn auditing(&self, arguments: &str) -> Held {
        Held::spawn(&mut self.audit(arguments))
    }

    /// What the audit wrote: read strictly, so that it contradicts itself nowhere.
    pub(crate) fn record(&self) -> RunRecord {
        serde_json::from_slice(&fs::read(self.out()).unwrap()).unwrap()
    }
}

/// The variable by which a guardian is known as ours.
const MARK: &str = "MEMTWIN_TEST_OF";

/// Every block was judged identical, and the control was found.
pub(crate) fn all_identical(record: &RunRecord) {
    let (controls, blocks): (Vec<_>, Vec<_>) =
        record.cases.iter().partition(|case| case.control().is_some());
    assert!(blocks.len() > 1, "{record:?}");
    for case in blocks {
        assert_eq!(case.verdict(), Verdict::Identical, "{case:?}");
        assert_eq!(case.digest().len(), 1, "{case:?}");
    }
    let [control] = controls[..] else { panic!("one control: {record:?}") };
    assert!(control.passed() && !control.control().unwrap().injected.is_empty(), "{control:?}");
}

/// Nothing was judged, and why.
pub(crate) fn none_judged(record: &RunRecord, reasons: &[&str]) {
    assert!(!record.cases.is_empty());
    for case in &record.cases {
        assert_eq!(case.verdict(), Verdict::Inconclusive, "{case:?}");
        let reason = case.reason().unwrap();
        assert!(reasons.iter().any(|part| reason.contains(part)), "{reason}");
    }
}

pub(crate) fn case<'r>(record: &'r RunRecord, name: &str) -> &'r Case {
    let found = record.cases.iter().find(|case| case.name() == name);
    let names = || record.cases.iter().map(Case::name).collect::<Vec<_>>();
    found.unwrap_or_else(|| panic!("no {name} in {:?}", names()))
}
