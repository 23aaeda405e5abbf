//! What a tap would change in a QEMU, without changing it.

use crate::error::OpenError;
use crate::hold::HoldKind;
use crate::opening::{Wanted, look};
use memtwin_qemu::HazardPolicy;
use memtwin_qmp::Qmp;

/// What a tap would change in a QEMU for as long as it is open.
#[derive(Clone, Debug)]
pub struct TapPreview {
    /// What would hold it in pre-copy.
    pub hold: HoldKind,
    /// Whether a block node of ours would be added for that.
    pub adds_node: bool,
    /// The capabilities that would be switched, and to what.
    pub capabilities: Vec<(String, bool)>,
    /// The parameters that would be set.
    pub parameters: Vec<String>,
}

impl TapPreview {
    /// Looks what a tap of this QEMU would change.
    ///
    /// Errors: as [`MigrationTap::open`](crate::MigrationTap::open), before it begins.
    pub fn of(qmp: &mut Qmp, hazards: HazardPolicy) -> Result<Self, OpenError> {
        let Wanted { settings, hold, .. } = look(qmp, &[], hazards)?;
        let now = settings.before(qmp)?;
        let capabilities = settings.capabilities.iter();
        let switched =
            |(name, state): &(&String, &bool)| now.capabilities.get(*name) != Some(state);
        let parameters = settings.parameters.iter();
        let set = |(name, value): &(&String, _)| now.parameters.get(*name) != Some(*value);
        Ok(Self {
            hold: hold.kind(),
            adds_node: hold.node().is_some(),
            capabilities: capabilities
                .filter(switched)
                .map(|(name, state)| (name.clone(), *state))
                .collect(),
            parameters: parameters.filter(set).map(|(name, _)| name.clone()).collect(),
        })
    }
}
