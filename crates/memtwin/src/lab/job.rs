//! A command of ours on another machine with KVM, once for each of KVM's logs, and its report as ours.

use super::elsewhere::{Elsewhere, Lost, Ran, There};
use super::merged::{Merged, inside};
use super::talk::Talk;
use crate::cli::Output;
use memtwin_lab::Progress;
use memtwin_lab::aeshmem::Window;
use memtwin_replicate::Stop;
use memtwin_report::ExitCode;
use memtwin_report::Failure;

/// How many entries the ring has.
const RING: u32 = 4096;

/// A command's words, for a guest's image, a ring, and where the twin here is.
pub(super) type Words<'w> = dyn Fn(&str, Option<u32>, Option<&str>) -> Vec<String> + 'w;

/// A command of ours that is run on another machine, once with KVM's bitmap and once with its dirty
/// ring.
pub(super) struct Job<'j> {
    /// What the names of its cases begin with.
    pub(super) case: &'static str,
    /// The machine.
    pub(super) hosts: &'j str,
    pub(super) args: &'j Elsewhere,
    /// The guest's kernel modules.
    pub(super) modules: &'j [&'j str],
    /// A ring of so many entries, and that alone.
    pub(super) ring: Option<u32>,
    /// A window of which a twin is kept here as well.
    pub(super) outside: Option<Window>,
    /// Options that hold on this machine alone, and whether one was given.
    pub(super) only_here: &'j [(&'static str, bool)],
    /// Its words.
    pub(super) words: &'j Words<'j>,
}

impl Job<'_> {
    /// Does it, and writes the report.
    pub(super) fn run(
        &self,
        command: String,
        output: &Output,
        stop: &Stop,
    ) -> Result<ExitCode, Failure> {
        if let Some((option, _)) = self.only_here.iter().find(|(_, given)| *given) {
            return Err(Failure::usage(format!(
                "{option}: on {} the guest is an aarch64 one, as KVM there has it; leave the option out, or take \
                 --hosts local",
                self.hosts
            )));
        }
        crate::output::probe(output)?;
        let mut talk = Talk::new(output.quiet, stop);
        let mut merged = Merged::new(command, self.case, self.hosts);
        match self.all(&mut merged, &mut talk) {
            Ok(()) => {}
            Err(Lost::Failure(failure)) => return Err(failure),
            Err(Lost::Died(reason, last)) => merged.died(&reason, &last),
        }
        merged.write(output, stop)
    }

    fn all(&self, merged: &mut Merged, talk: &mut Talk) -> Result<(), Lost> {
        let mut there = There::prepare(self.hosts, self.args, self.modules, talk)?;
        let rings: &[Option<u32>] = match self.ring {
            Some(entries) => &[Some(entries)],
            None => &[None, Some(RING)],
        };
        for &ring in rings {
            let log = if ring.is_some() { "ring" } else { "bitmap" };
            talk.say(&format!("{}: {}, KVM's {log}", there.host.name(), self.case));
            let outside = self.outside.map(|window| Ok((there.outside(log, talk)?, window)));
            let outside = outside.transpose().map_err(Lost::Failure)?;
            let target = outside.as_ref().map(|(outside, _)| outside.target());
            let words = (self.words)(&there.guest, ring, target.as_deref());
            let Ran { rc, said, record } =
                there.memtwin(&words, self.args.board_timeout.0, talk)?;
            let theirs = target.as_deref().and_then(|target| inside(&said, target));
            merged.add(log, rc, said, record)?;
            if let Some((outside, window)) = outside {
                let file = outside.file().to_owned();
                let sum = outside.sum(&window, theirs.is_some());
                merged.outside(log, &file, sum, theirs.as_deref());
            }
        }
        Ok(())
    }
}
