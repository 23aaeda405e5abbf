//! The phases of a migration, and who may run the guest in each: never both sides, and the source takes it
//! back only where the destination can't have run it.

use memtwin_qemu::{GuestStatus, MigrationStatus, RunState};

/// Where a migration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MigrationPhase {
    /// Both sides receive their settings; the source has not been told to migrate.
    SettingUp,
    /// The source runs the guest, and sends round by round. Before the first one, it connects.
    PreCopy,
    /// The source has stopped the guest, and sends the last pages and the devices' state.
    SwitchOver,
    /// Everything was sent; both sides have the guest, and neither has been told to run it. Here it is judged.
    BothStopped,
    /// The guest's memory is on both sides; the destination runs it.
    Postcopy,
    /// The destination runs the guest, or was told to.
    DestinationRunning,
    /// The destination has surely ended, without having run the guest: the source takes it back.
    RollingBack,
}

/// Who lets a destination that has everything run its guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DestinationStart {
    /// We do: it was started with `-S`.
    WhenTold,
    /// It does so by itself, before the source knows that it has everything.
    ByItself,
}

/// Who may run the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runner {
    /// The source alone: the destination has not all of it.
    Source,
    /// Neither until we say so; the source can take it back as long as the destination has not run it.
    Neither,
    /// One of them, and the source does not know which: the destination is asked before anything is told.
    OneOfThem,
    /// The destination alone.
    Destination,
}

impl MigrationPhase {
    /// Who may run the guest in this phase: decided here alone.
    pub(crate) fn may_run(self, start: DestinationStart) -> Runner {
        match (self, start) {
            (Self::SettingUp | Self::PreCopy | Self::RollingBack, _) => Runner::Source,
            (Self::SwitchOver | Self::BothStopped, DestinationStart::WhenTold) => Runner::Neither,
            (Self::SwitchOver | Self::BothStopped, DestinationStart::ByItself) => Runner::OneOfThem,
            (Self::Postcopy | Self::DestinationRunning, _) => Runner::Destination,
        }
    }
}

/// What the source's status says of a migration that was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SourceState {
    /// It goes on, in this phase.
    UnderWay(MigrationPhase),
    /// Everything was sent.
    Completed,
    /// It was cancelled; the source runs the guest.
    Cancelled,
    /// It failed; so the source thinks.
    Failed,
}

impl SourceState {
    pub(super) fn of(status: &MigrationStatus) -> Self {
        match status {
            MigrationStatus::Completed => Self::Completed,
            MigrationStatus::Cancelled => Self::Cancelled,
            MigrationStatus::Failed => Self::Failed,
            MigrationStatus::PostcopyActive
            | MigrationStatus::PostcopyPaused
            | MigrationStatus::PostcopyRecover
            | MigrationStatus::PostcopyRecoverSetup => Self::UnderWay(MigrationPhase::Postcopy),
            MigrationStatus::Device => Self::UnderWay(MigrationPhase::SwitchOver),
            // One that waits before its last pass has not sent it; one of a name that we don't know is
            // given up as any other.
            MigrationStatus::None
            | MigrationStatus::Setup
            | MigrationStatus::Cancelling
            | MigrationStatus::Active
            | MigrationStatus::Colo
            | MigrationStatus::PreSwitchover
            | MigrationStatus::WaitUnplug
            | MigrationStatus::Other(_) => Self::UnderWay(MigrationPhase::PreCopy),
        }
    }
}

/// What a destination's QEMU has of the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LoadState {
    /// Not all of it.
    Receiving,
    /// All of it, and has not run it.
    Loaded,
    /// It runs it.
    Running,
    /// Something is the matter.
    Stopped,
}

impl LoadState {
    pub(super) fn of(state: &GuestStatus) -> Self {
        if state.running {
            return Self::Running;
        }
        match state.status {
            RunState::InMigrate => Self::Receiving,
            RunState::Paused => Self::Loaded,
            RunState::Debug
            | RunState::InternalError
            | RunState::IoError
            | RunState::PostMigrate
            | RunState::Prelaunch
            | RunState::FinishMigrate
            | RunState::RestoreVm
            | RunState::Running
            | RunState::SaveVm
            | RunState::Shutdown
            | RunState::Suspended
            | RunState::Watchdog
            | RunState::GuestPanicked
            | RunState::Colo
            | RunState::Unknown(_) => Self::Stopped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [MigrationPhase; 7] = [
        MigrationPhase::SettingUp,
        MigrationPhase::PreCopy,
        MigrationPhase::SwitchOver,
        MigrationPhase::BothStopped,
        MigrationPhase::Postcopy,
        MigrationPhase::DestinationRunning,
        MigrationPhase::RollingBack,
    ];

    #[test]
    fn the_source_may_run_only_what_the_destination_can_not_have_run() {
        for start in [DestinationStart::WhenTold, DestinationStart::ByItself] {
            for phase in ALL {
                let sent_all = matches!(
                    phase,
                    MigrationPhase::SwitchOver
                        | MigrationPhase::BothStopped
                        | MigrationPhase::Postcopy
                        | MigrationPhase::DestinationRunning
                );
                assert_eq!(phase.may_run(start) == Runner::Source, !sent_all, "{phase:?}");
            }
        }
        // One that runs by itself is never taken for one that waits.
        let by_itself = |phase: &MigrationPhase| phase.may_run(DestinationStart::ByItself);
        assert!(ALL.iter().all(|phase| by_itself(phase) != Runner::Neither));
    }

    #[test]
    fn an_unknown_status_is_no_end() {
        let tomorrow = MigrationStatus::Other("of-tomorrow".to_owned());
        assert_eq!(SourceState::of(&tomorrow), SourceState::UnderWay(MigrationPhase::PreCopy));
        assert_eq!(
            SourceState::of(&MigrationStatus::Device),
            SourceState::UnderWay(MigrationPhase::SwitchOver)
        );
    }
}
