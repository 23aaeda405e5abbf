//! On real QEMUs: x86-64 under KVM, aarch64 under TCG, machines of several kinds.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod connection;
mod gives_up;
mod layout;
mod memory;
mod refused;
mod settings;
mod testbed;

use memtwin_qemu::{Block, Process};
use memtwin_qmp::Qmp;
use memtwin_testbed::{Need, Qemu, lacks};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(60);
const PC: &str = "qemu-system-x86_64";
const ARM: &str = "qemu-system-aarch64";

/// A machine, its QMP; None, with the reason printed, where it can't be obtained.
fn machine(program: &'static str, arguments: &str) -> Option<(Qemu, Qmp)> {
    let mut needs = vec![Need::Program(program)];
    needs.extend(arguments.contains("kvm").then_some(Need::Kvm));
    if lacks(&needs) {
        return None;
    }
    let arguments: Vec<_> = arguments.split_whitespace().collect();
    let qemu = Qemu::start(program, &arguments).unwrap();
    let qmp = Qmp::connect(&qemu.qmp(), TIMEOUT).unwrap();
    Some((qemu, qmp))
}

fn block<'a>(blocks: &'a [Block], name: &str) -> &'a Block {
    blocks.iter().find(|block| block.name == name).unwrap()
}

fn process(qmp: &mut Qmp, blocks: &[Block]) -> std::sync::Arc<Process> {
    std::sync::Arc::new(Process::find(qmp, blocks).unwrap())
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let since = std::time::Instant::now();
    while !done() {
        assert!(since.elapsed() < TIMEOUT, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}
