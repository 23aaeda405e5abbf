//! `cargo xtask soak`: repeats something and requires the same outcome each time. CI runs each
//! thing once; what only shows in many runs is looked for here.

mod audit;
mod check;
mod migrate;
mod once;
mod options;
mod outcome;
mod powerloss;
mod promises;
mod receive;

use crate::interrupt::Interrupt;
pub(crate) use options::Soak;
use options::SoakTarget;

impl Soak {
    /// Repeats it. Whether every run had the same outcome.
    pub(crate) fn run(&self, interrupt: &Interrupt) -> anyhow::Result<bool> {
        match self.what {
            SoakTarget::Check => check::soak(self, interrupt),
            SoakTarget::Audit => audit::soak(self, &[], interrupt),
            SoakTarget::Judge => audit::soak(self, &["--judge", "running"], interrupt),
            SoakTarget::Migrate => migrate::soak(self, interrupt),
            SoakTarget::Receive => receive::soak(self, interrupt),
            SoakTarget::Powerloss => powerloss::soak(self, interrupt),
            SoakTarget::Promises => promises::soak(self, interrupt),
        }
    }
}
