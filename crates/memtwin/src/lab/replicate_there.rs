//! `memtwin lab run replicate --hosts HOST`: the experiment on a machine with KVM, once with KVM's
//! bitmap and once with its dirty ring.

use super::Replicate;
use super::elsewhere::{Lost, Ran, There};
use super::merged::Merged;
use super::talk::Talk;
use crate::failure::Failure;
use memtwin_lab::Progress;
use memtwin_replicate::Stop;
use memtwin_report::ExitCode;

/// How many entries the ring has.
const RING: u32 = 4096;

/// Does it, and writes the report.
pub(super) fn run(args: &Replicate, command: String, stop: &Stop) -> Result<ExitCode, Failure> {
    crate::output::probe(&args.output)?;
    let mut talk = Talk::new(args.output.quiet, stop);
    let mut merged = Merged::new(command, "replicate/qemu", &args.hosts);
    let prepared = There::prepare(&args.hosts, &args.elsewhere, &[], &mut talk);
    let mut there = match prepared {
        Ok(there) => there,
        Err(Lost::Failure(failure)) => return Err(failure),
        Err(Lost::Died(reason, last)) => {
            merged.died(&reason, &last);
            return merged.write(&args.output, stop);
        }
    };
    let rings: &[Option<u32>] = match args.dirty_ring {
        Some(entries) => &[Some(entries)],
        None => &[None, Some(RING)],
    };
    for &ring in rings {
        let log = if ring.is_some() { "ring" } else { "bitmap" };
        talk.say(&format!("{}: replicate, KVM's {log}", there.name()));
        let words = words(args, &there.guest, ring);
        match there.memtwin(&words, args.elsewhere.board_timeout.0, &mut talk) {
            Ok(Ran { rc, said, record }) => merged.add(log, rc, said, record)?,
            Err(Lost::Failure(failure)) => return Err(failure),
            Err(Lost::Died(reason, last)) => {
                merged.died(&reason, &last);
                break;
            }
        }
    }
    drop(there);
    merged.write(&args.output, stop)
}

/// The same command, for there.
fn words(args: &Replicate, guest: &str, ring: Option<u32>) -> Vec<String> {
    let time = |time: crate::values::Time| format!("{}us", time.0.as_micros());
    let mut words: Vec<String> =
        ["lab", "run", "replicate", "--accel", "kvm", "--image", guest].map(str::to_owned).into();
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
    if args.control {
        words.push("--control".to_owned());
    }
    words
}
