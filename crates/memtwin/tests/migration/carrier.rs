//! The ssh that carries a QEMU is killed: that is not the end of the QEMU.

use crate::pair::{X86, pc, start_on};
use memtwin_lab::host::Ssh;
use memtwin_testbed::{Need, lacks};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// An ssh that reaches this machine, and notes which process carries a QEMU.
fn ssh(folder: &Path) -> Ssh {
    let (program, carrier) = (folder.join("ssh"), folder.join("carrier"));
    let script = format!(
        "#!/bin/sh\neval \"line=\\${{$#}}\"\ncase $line in *-nodefaults*) echo $$ >{};; esac\n\
         exec sh -c \"$line\"\n",
        carrier.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let ssh = Ssh::parse("ssh://far.example").unwrap().with_program(program);
    ssh.with_memtwin(env!("CARGO_BIN_EXE_memtwin"))
}

#[test]
fn an_ssh_that_was_killed_is_no_proof_that_qemu_has_ended() {
    if lacks(&[Need::Program(X86)]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    File::create(folder.path().join("disk")).unwrap().set_len(1 << 20).unwrap();
    let host = Arc::new(ssh(folder.path()));
    let mut side = start_on(host, folder.path(), "source", &pc("")).unwrap();
    let number = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let qemu = Path::new("/proc").join(number("source.qmp.pid").trim());
    assert_eq!(fs::read_to_string(qemu.join("comm")).unwrap(), "qemu-system-x86\n");
    assert!(!side.is_cut_off() && !side.has_surely_ended());

    let carrier = number("carrier").trim().parse().unwrap();
    kill_process(Pid::from_raw(carrier).unwrap(), Signal::KILL).unwrap();
    let (limit, interval) = (Duration::from_secs(60), Duration::from_millis(10));
    let gone = memtwin_wait::wait_until(limit, interval, || side.is_cut_off());
    assert!(gone, "the carrier is not gone");
    // The far side has not heard of it yet.
    assert!(qemu.exists() && side.state().unwrap().running);
    assert!(!side.has_surely_ended(), "it is there");
    // The control: once it hears of it and has ended it, the far side says so.
    assert!(side.cut_off());
    assert!(side.has_surely_ended());
    // Nobody may have waited for it.
    assert!(fs::read(qemu.join("cmdline")).is_ok_and(|words| words.is_empty()) || !qemu.exists());
}
