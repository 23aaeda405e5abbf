//! `memtwin lab run replicate --hosts HOST`: the experiment on a machine with KVM.

use super::job::Job;
use super::{Accel, Replicate};
use crate::values::Time;
use memtwin_lab::Arch;
use memtwin_lab::aeshmem::Window;
use memtwin_replicate::Stop;
use memtwin_report::ExitCode;
use memtwin_report::Failure;

/// Does it there, and writes the report.
pub(super) fn run(args: &Replicate, command: String, stop: &Stop) -> Result<ExitCode, Failure> {
    let words = |guest: &str, ring: Option<u32>, to: Option<&str>| {
        let time = |time: Time| format!("{}us", time.0.as_micros());
        let mut words: Vec<String> =
            ["lab", "run", "replicate", "--accel", "kvm", "--image", guest]
                .map(str::to_owned)
                .into();
        let options = [
            ("--size", args.size.0.to_string()),
            ("--seconds", time(args.seconds)),
            ("--interval", time(args.interval)),
            ("--timeout", time(args.timeout)),
        ];
        for (option, value) in options {
            words.extend([option.to_owned(), value]);
        }
        if let Some(entries) = ring {
            words.extend(["--dirty-ring".to_owned(), entries.to_string()]);
        }
        words.extend(to.into_iter().flat_map(|to| ["--to".to_owned(), to.to_owned()]));
        words.extend(args.control.then(|| "--control".to_owned()));
        words
    };
    let job = Job {
        case: "replicate/qemu",
        hosts: &args.hosts,
        args: &args.elsewhere,
        modules: &[],
        ring: args.dirty_ring,
        outside: Some(Window { address: None, offset: 0, bytes: args.size.0 }),
        only_here: &[
            ("--arch x86_64", args.arch != Arch::Aarch64),
            ("--accel tcg", args.accel == Some(Accel::Tcg)),
            ("--layout", args.layout.is_some()),
            ("--cpu", args.cpu.is_some()),
        ],
        words: &words,
    };
    job.run(command, &args.output, stop)
}
