//! Which hold a QEMU can be held by.

use super::{DirtyBitmap, Hold, HoldKind, SwitchoverAck};
use crate::error::OpenError;
use memtwin_qemu::{Capabilities, Parameters, block_nodes, machine_version, version};
use memtwin_qmp::Qmp;
use std::ops::RangeInclusive;

/// The first QEMU that waits for an acknowledgement only if a device, or an older machine type, asks it to.
const ACK_BY_DEVICE: (u32, u32) = (11, 1);
/// The QEMUs that do not look at their dirty log as long as a bitmap is pending.
const BLIND_BESIDE_BITMAP: RangeInclusive<(u32, u32)> = (8, 0)..=(11, 0);

/// What a QEMU says of itself, as far as the choice depends on it.
#[derive(Clone, Debug)]
struct HoldFacts {
    version: (u32, u32),
    machine: Option<(u32, u32)>,
    /// It has the acknowledgement, and what is needed to keep it waiting for it.
    has_ack: bool,
    has_bitmaps: bool,
    /// Somebody has said which bitmaps are migrated.
    is_mapped: bool,
    /// The bitmaps of the guest's own, as NODE/NAME.
    own_bitmaps: Vec<String>,
}

/// The ways in which a QEMU may be held, the best first.
#[derive(Debug)]
pub(crate) struct HoldChoice {
    ways: Vec<HoldKind>,
    is_mapped: bool,
    /// Whether this version was seen to be held so with every machine type: of others it shows when it is tried.
    pub(crate) is_sure: bool,
    /// Why there is no bitmap among them, if it would help and can't be, as the end of a sentence.
    pub(crate) no_bitmap: String,
}

/// Looks how a QEMU that has these settings can be held.
///
/// Errors: in no way, and why; or QEMU can't be asked.
pub(crate) fn ways_to_hold(
    qmp: &mut Qmp,
    has: &Capabilities,
    knows: &Parameters,
) -> Result<HoldChoice, OpenError> {
    let nodes = block_nodes(qmp)?;
    let bitmaps = nodes
        .iter()
        .filter(|node| !DirtyBitmap::is_ours(&node.name))
        .flat_map(|node| node.bitmaps.iter().map(move |bitmap| format!("{}/{bitmap}", node.name)));
    let said = version(qmp)?;
    let facts = HoldFacts {
        version: (said.major, said.minor),
        machine: machine_version(qmp)?,
        has_ack: has.contains_key(SwitchoverAck::CAPABILITY)
            && knows.contains_key("avail-switchover-bandwidth"),
        has_bitmaps: has.contains_key(DirtyBitmap::CAPABILITY),
        is_mapped: knows.contains_key(DirtyBitmap::MAPPING),
        own_bitmaps: bitmaps.collect(),
    };
    match facts.ways() {
        ways if ways.is_empty() => {
            Err(OpenError::CannotHold { version: said.to_string(), reason: facts.why_none() })
        }
        ways => {
            let no_bitmap = match facts.own_bitmaps.is_empty() || facts.takes_bitmap() {
                true => String::new(),
                false => format!("; {}", facts.why_none()),
            };
            let is_sure = facts.version < ACK_BY_DEVICE;
            Ok(HoldChoice { ways, is_mapped: facts.is_mapped, is_sure, no_bitmap })
        }
    }
}

impl HoldChoice {
    /// The best hold that was not tried yet. Errors: there is none; no random number for a name.
    pub(crate) fn next(&self, tried: &[HoldKind]) -> Result<Box<dyn Hold>, OpenError> {
        match self.ways.iter().find(|way| !tried.contains(way)) {
            Some(HoldKind::SwitchoverAck) => Ok(Box::new(SwitchoverAck)),
            Some(HoldKind::DirtyBitmap) => {
                let hold = DirtyBitmap::new(self.is_mapped);
                hold.map(|hold| Box::new(hold) as Box<dyn Hold>)
                    .map_err(|errno| OpenError::System { what: "a random name", errno })
            }
            None => Err(OpenError::NotHeld {
                tried: tried.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
                more: self.no_bitmap.clone(),
            }),
        }
    }
}

impl HoldFacts {
    fn ways(&self) -> Vec<HoldKind> {
        let ack = self.has_ack.then_some(HoldKind::SwitchoverAck);
        let bitmap = self.takes_bitmap().then_some(HoldKind::DirtyBitmap);
        let waits =
            self.version < ACK_BY_DEVICE || self.machine.is_some_and(|it| it < ACK_BY_DEVICE);
        let ordered = if waits { [ack, bitmap] } else { [bitmap, ack] };
        ordered.into_iter().flatten().collect()
    }

    /// A bitmap of the guest's own would be taken out of its image (`bdrv_dirty_bitmap_skip_store()`),
    /// unless somebody has said which are migrated.
    fn takes_bitmap(&self) -> bool {
        self.has_bitmaps
            && !BLIND_BESIDE_BITMAP.contains(&self.version)
            && (self.own_bitmaps.is_empty() || self.is_mapped)
    }

    fn why_none(&self) -> String {
        match () {
            () if BLIND_BESIDE_BITMAP.contains(&self.version) => {
                "QEMU 5.2 to 7.2 and 8.2 and later can be held".to_owned()
            }
            () if !self.has_bitmaps => {
                "it has neither the capability switchover-ack nor dirty-bitmaps; QEMU 5.2 to 7.2 and 8.2 and \
                 later can be held"
                    .to_owned()
            }
            () => format!(
                "a dirty bitmap of ours would hold it, but the guest has dirty bitmaps of its own ({}), which \
                 QEMU would then leave out of their images; remove them (block-dirty-bitmap-remove), or {}",
                self.own_bitmaps.join(", "),
                match self.version >= ACK_BY_DEVICE {
                    true => "start QEMU with -global migration.switchover-ack-legacy=on",
                    false => "use QEMU 8.2 or later",
                }
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(version: (u32, u32), machine: Option<(u32, u32)>) -> HoldFacts {
        HoldFacts {
            version,
            machine,
            has_ack: version >= (8, 2),
            has_bitmaps: true,
            is_mapped: false,
            own_bitmaps: Vec::new(),
        }
    }

    #[test]
    fn each_version_has_the_hold_that_was_measured_on_it() {
        use HoldKind::{DirtyBitmap, SwitchoverAck};
        for version in [(5, 2), (7, 2)] {
            assert_eq!(facts(version, Some(version)).ways(), [DirtyBitmap]);
        }
        for version in [(8, 2), (10, 0), (11, 0)] {
            assert_eq!(facts(version, None).ways(), [SwitchoverAck]);
        }
        for version in [(8, 0), (8, 1)] {
            let facts = facts(version, Some(version));
            assert_eq!(facts.ways(), []);
            assert!(facts.why_none().contains("5.2 to 7.2 and 8.2 and later"));
        }
        assert_eq!(facts((11, 1), Some((11, 0))).ways(), [SwitchoverAck, DirtyBitmap]);
        assert_eq!(facts((11, 1), Some((11, 1))).ways(), [DirtyBitmap, SwitchoverAck]);
        // A machine type without a version has the newest devices.
        assert_eq!(facts((11, 1), None).ways(), [DirtyBitmap, SwitchoverAck]);
    }

    #[test]
    fn a_guest_with_bitmaps_of_its_own_is_not_held_by_ours() {
        let own =
            |version| HoldFacts { own_bitmaps: vec!["disk0/b0".into()], ..facts(version, None) };
        assert_eq!(own((7, 2)).ways(), []);
        assert!(own((7, 2)).why_none().contains("(disk0/b0)"));
        assert_eq!(own((11, 1)).ways(), [HoldKind::SwitchoverAck]);
        // The control: as somebody has said which are migrated, the others are let alone.
        let mapped = HoldFacts { is_mapped: true, ..own((7, 2)) };
        assert_eq!(mapped.ways(), [HoldKind::DirtyBitmap]);
    }
}
