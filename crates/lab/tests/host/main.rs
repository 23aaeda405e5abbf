//! Machines that commands are run on: this one, one behind a shell that plays ssh, and one behind a
//! real ssh and sshd on the loopback interface. All keep the same contract.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test may end, and may talk"
)]

mod contract;

use libtest_mimic::{Arguments, Failed, Trial};
use memtwin_lab::host::{Host, Local, Ssh};
use memtwin_testbed::Sshd;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

fn main() {
    let missing = Sshd::lacks();
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    let skipped = missing.is_some() && !ci;
    if skipped {
        eprintln!("a_real_ssh: skipped: {}", missing.clone().unwrap_or_default());
    }
    let real = move || match &missing {
        Some(missing) => Err(Failed::from(format!("CI must have this: {missing}"))),
        None => {
            a_real_ssh();
            Ok(())
        }
    };
    let trials = vec![
        Trial::test("this_machine", || {
            contract::kept(&Local);
            contract::reached_from_there(&Local);
            Ok(())
        }),
        Trial::test("a_shell_that_plays_ssh", || {
            let folder = tempfile::tempdir().unwrap();
            let host = Ssh::parse("ssh://me@far.example").unwrap();
            contract::kept(&host.with_program(played(folder.path())));
            Ok(())
        }),
        Trial::test("a_real_ssh", real).with_ignored_flag(skipped),
        Trial::test("an_ssh_that_reaches_nobody", || {
            contract::nobody();
            Ok(())
        }),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn a_real_ssh() {
    let sshd = Sshd::start(&[]).unwrap();
    let host = Ssh::parse(&format!("ssh://127.0.0.1:{}", sshd.port())).unwrap();
    let host = host.with_options(["-F".into(), sshd.config().into_os_string()]);
    contract::kept(&host);
    let error = host.connect("/no/such/socket").unwrap_err().to_string();
    assert!(error.contains("no connection to /no/such/socket: "), "{error}");
    contract::reached_from_there(&host);
}

/// A program that takes ssh's words and runs the line here.
fn played(folder: &Path) -> PathBuf {
    let path = folder.join("ssh");
    let script = "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\n\
                  [ \"$2\" = me@far.example ] || exit 255\nexec sh -c \"$3\"\n";
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}
