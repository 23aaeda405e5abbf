//! The moments of an audit, as the second monitor sees them.

use crate::common::{Held, until};
use crate::machine::BareMachine;
use memtwin_qemu::{RunState, migration, parameters, status};
use std::time::Duration;

/// The parts of an audit in which something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// As soon as there is a migration.
    PreCopy,
    /// Between two rounds: QEMU is held.
    Hold,
    /// The guest stands still.
    Stop,
}

impl Moment {
    pub(crate) const ALL: [Self; 3] = [Self::PreCopy, Self::Hold, Self::Stop];

    /// Waits for it, and says whether it is seen before the audit is over.
    pub(crate) fn wait(self, machine: &mut BareMachine, audit: &mut Held) -> bool {
        let mut over = false;
        until("the moment", || {
            over = audit.0.try_wait().unwrap().is_some();
            over || self.is_now(machine)
        });
        !over
    }

    pub(crate) fn is_now(self, machine: &mut BareMachine) -> bool {
        let qmp = &mut machine.qmp;
        match self {
            Self::PreCopy => migration(qmp).unwrap().status.is_under_way(),
            // How slow depends on the version.
            Self::Hold => {
                [10, 2003].iter().any(|held| parameters(qmp).unwrap()["max-bandwidth"] == *held)
            }
            Self::Stop => status(qmp).unwrap().status == RunState::FinishMigrate,
        }
    }

    /// An audit that is at this moment and stays there: Memtwin itself was stopped. Its guest is
    /// `machine`'s. Tries again if the moment was over before.
    pub(crate) fn frozen(self, machine: &mut BareMachine, arguments: &str) -> Held {
        for _ in 0..20 {
            let mut audit = machine.auditing(arguments);
            if self.wait(machine, &mut audit) {
                audit.signal(STOP);
                // In the middle of its last pass QEMU waits for us to read, and answers nobody.
                let patience = machine.qmp.patience();
                machine.qmp.set_patience(Duration::from_secs(1));
                let answers = status(&mut machine.qmp).is_ok();
                machine.qmp.set_patience(patience);
                if answers && self.is_now(machine) {
                    return audit;
                }
                audit.signal(CONT);
            }
            audit.end();
        }
        panic!("{self:?} was always over too soon");
    }
}

pub(crate) const INT: i32 = 2;
pub(crate) const KILL: i32 = 9;
pub(crate) const TERM: i32 = 15;
pub(crate) const CONT: i32 = 18;
pub(crate) const STOP: i32 = 19;
