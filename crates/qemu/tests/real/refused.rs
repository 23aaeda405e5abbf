//! Finding the process where the socket does not name it, and being refused.

use crate::{PC, TIMEOUT, block, machine};
use memtwin_pages::Image;
use memtwin_qemu::{BlockMemory, MemoryError, Process, blocks};
use memtwin_qmp::Qmp;
use memtwin_testbed::{Need, Qemu, lacks};
use rustix::io::{FdFlags, fcntl_setfd};
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

const KVM_PC: [&str; 7] = ["-M", "pc", "-accel", "kvm", "-m", "64", "-S"];

/// A connection that another process made: the socket names that one (here: us), which does not
/// have the guest's memory.
#[test]
fn a_qemu_that_was_given_its_connection_is_found() {
    if lacks(&[Need::Program(PC), Need::Kvm]) {
        return;
    }
    let (ours, its) = UnixStream::pair().unwrap();
    fcntl_setfd(&its, FdFlags::empty()).unwrap();
    let chardev = format!("socket,id=given,fd={}", its.as_raw_fd());
    let arguments = [&KVM_PC[..], &["-chardev", &chardev, "-mon", "chardev=given,mode=control"]];
    let qemu = Qemu::start(PC, &arguments.concat()).unwrap();
    // Another one like it, which must not be taken.
    let other = Qemu::start(PC, &KVM_PC).unwrap();
    drop(its);
    let mut qmp = Qmp::resume_on(ours.into(), TIMEOUT).unwrap();
    assert_eq!(qmp.peer_pid().unwrap(), Some(std::process::id()));
    let blocks = blocks(&mut qmp).unwrap();
    if blocks.iter().all(|block| block.hva.is_none() && block.windows.is_empty()) {
        return;
    }
    let process = Process::find(&mut qmp, &blocks).unwrap();
    assert_eq!(process.pid(), qemu.pid());
    let memory = BlockMemory::new(Arc::new(process), block(&blocks, "pc.ram")).unwrap();
    memory.read_at(0, &mut [0; 4096]).unwrap();

    let error = Process::of_pid(other.pid(), &blocks).unwrap_err();
    assert!(matches!(error, MemoryError::NotMapped { .. }), "{error}");
    assert!(error.to_string().contains("--pid"), "{error}");
}

/// Two QEMUs without address space randomization have their blocks at the same addresses: only one
/// is behind the monitor, whatever its memory holds.
#[test]
fn of_two_alike_only_the_one_behind_the_monitor_is_taken() {
    if lacks(&[Need::Program(PC), Need::Kvm, Need::Program("setarch"), Need::Root]) {
        return;
    }
    // Each with a second connection that we have made, so that its socket does not name it.
    let start = || {
        let (ours, its) = UnixStream::pair().unwrap();
        fcntl_setfd(&its, FdFlags::empty()).unwrap();
        let chardev = format!("socket,id=given,fd={}", its.as_raw_fd());
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("setarch");
        command.args(["-R", "--"]).arg(memtwin_testbed::program(PC)).args(KVM_PC);
        command.args(["-chardev", &chardev, "-mon", "chardev=given,mode=control"]);
        command.args(["-nodefaults", "-display", "none", "-qmp"]);
        command.arg(format!("unix:{},server=on,wait=off", Qemu::qmp_in(dir.path()).display()));
        command.current_dir(dir.path());
        (Qemu::launch(dir, command).unwrap(), ours)
    };
    let (right, ours) = start();
    let mut qmp = Qmp::connect(&right.qmp(), TIMEOUT).unwrap();
    let ram = block(&blocks(&mut qmp).unwrap(), "pc.ram").clone();
    drop(qmp);
    let alike = |(qemu, _): &(Qemu, UnixStream)| {
        Process::of_pid(qemu.pid(), std::slice::from_ref(&ram)).is_ok()
    };
    // Threads take their memory when they get to it: most are alike, not each one.
    let (wrong, _others) = (0..50).map(|_| start()).find(alike).unwrap();
    let by_its_socket = Qmp::connect(&right.qmp(), TIMEOUT).unwrap();
    let by_another = Qmp::resume_on(ours.into(), TIMEOUT).unwrap();
    // Where no descriptor passes QEMU is told to connect to us.
    let copy = by_another.try_clone().unwrap();
    let mut ways = vec![by_its_socket, by_another];
    for way in 0..3 {
        let mut qmp = match way {
            0 | 1 => ways.remove(0),
            _ => Qmp::resume_on(copy.try_clone().unwrap(), TIMEOUT).unwrap().without_descriptors(),
        };
        let mut blocks = blocks(&mut qmp).unwrap();
        // What makes it hard: by these addresses the wrong one is as good.
        blocks.retain(|block| Process::of_pid(wrong.pid(), std::slice::from_ref(block)).is_ok());
        assert!(blocks.contains(&ram));
        let fds = || fs::read_dir(format!("/proc/{}/fd", right.pid())).unwrap().count();
        let before = fds();
        let error = Process::behind(&mut qmp, wrong.pid(), &blocks).unwrap_err();
        assert!(matches!(error, MemoryError::NotBehind { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("--pid") && text.lines().count() == 1, "{text}");
        let behind = Process::behind(&mut qmp, right.pid(), &blocks).unwrap();
        assert_eq!(behind.pid(), right.pid());
        assert_eq!(Process::find(&mut qmp, &blocks).unwrap().pid(), right.pid());
        assert_eq!(fds(), before, "what was given is taken back");
    }
}

#[test]
fn blocks_of_another_qemu_are_found_nowhere() {
    let Some((_first, mut qmp)) = machine(PC, "-M pc -accel kvm -m 64 -S") else { return };
    let mut blocks = blocks(&mut qmp).unwrap();
    blocks[0].hva = Some(4096);
    let error = Process::find(&mut qmp, &blocks).unwrap_err();
    assert!(matches!(error, MemoryError::NotFound { .. }), "{error}");
    assert!(error.to_string().contains("--pid"), "{error}");
}

const AS_NOBODY: &str = "MEMTWIN_TEST_SOCKET";

/// Not a test: what the next one runs as another user.
#[test]
#[ignore = "run by an_ordinary_user_is_told_why_not"]
fn as_nobody() {
    let Some(socket) = std::env::var_os(AS_NOBODY) else { return };
    let mut qmp = Qmp::connect(Path::new(&socket), TIMEOUT).unwrap();
    let blocks = blocks(&mut qmp).unwrap();
    let error = Process::find(&mut qmp, &blocks).unwrap_err();
    assert!(matches!(error, MemoryError::Refused { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("as user 65534") && text.contains("run Memtwin as root"), "{text}");
}

#[test]
fn an_ordinary_user_is_told_why_not() {
    if lacks(&[Need::Root, Need::Program("setpriv"), Need::Program(PC), Need::Kvm]) {
        return;
    }
    let qemu = Qemu::start(PC, &KVM_PC).unwrap();
    // A copy, as the other user may not get to where this program lies.
    let program = qemu.dir().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    for (path, mode) in [(qemu.dir(), 0o755), (&qemu.qmp(), 0o777), (&program, 0o755)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let done = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program)
        .args(["--exact", "refused::as_nobody", "--ignored"])
        .env(AS_NOBODY, qemu.qmp())
        .current_dir("/")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && said.contains("1 passed"), "{said}");
}
