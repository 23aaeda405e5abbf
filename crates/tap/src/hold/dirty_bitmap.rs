//! A dirty bitmap that is to be migrated (migration/block-dirty-bitmap.c): what QEMU has pending of it
//! never gets less in pre-copy, since it is sent with the last pages.

use super::{Hold, HoldKind};
use crate::error::OpenError;
use crate::socket::StreamSocket;
use memtwin_qemu::{QemuSettings, add_bitmap_node};
use memtwin_qmp::Qmp;
use serde_json::{Value, json};
use std::io;

/// Of the node that the bitmap is of: nobody stores anything in it, and it takes no room.
const NODE_BYTES: u64 = 1 << 33;
/// How many bytes a bit of the bitmap stands for: the least that QEMU takes.
const GRANULARITY: u32 = 512;
/// What the names of our nodes begin with.
const PREFIX: &str = "memtwin-hold-";

/// Has such a bitmap, on a block node of our own.
#[derive(Debug)]
pub(crate) struct DirtyBitmap {
    /// The name of the node, and of the bitmap.
    node: String,
    /// Whether somebody has said which bitmaps are migrated: then ours must be among them.
    is_mapped: bool,
}

impl DirtyBitmap {
    /// The capability.
    pub(crate) const CAPABILITY: &str = "dirty-bitmaps";
    /// Says which bitmaps are migrated, if somebody has set it.
    pub(crate) const MAPPING: &str = "block-bitmap-mapping";

    /// With a name that nobody else has.
    pub(crate) fn new(is_mapped: bool) -> io::Result<Self> {
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        Ok(Self { node: format!("{PREFIX}{:016x}", u64::from_ne_bytes(random)), is_mapped })
    }

    /// Whether a node is one of ours, also if a run that was killed has left it.
    pub(crate) fn is_ours(node: &str) -> bool {
        node.starts_with(PREFIX)
    }

    /// Our bitmap and no other.
    fn mapping(&self) -> Value {
        let bitmap = json!({ "name": self.node, "alias": self.node });
        json!([{ "node-name": self.node, "alias": self.node, "bitmaps": [bitmap] }])
    }
}

impl Hold for DirtyBitmap {
    fn kind(&self) -> HoldKind {
        HoldKind::DirtyBitmap
    }

    fn settings(&self, settings: QemuSettings) -> QemuSettings {
        let settings = settings.capability(Self::CAPABILITY, true);
        if self.is_mapped { settings.parameter(Self::MAPPING, self.mapping()) } else { settings }
    }

    fn node(&self) -> Option<&str> {
        Some(&self.node)
    }

    fn prepare(&self, qmp: &mut Qmp) -> Result<(), OpenError> {
        add_bitmap_node(qmp, &self.node, NODE_BYTES, GRANULARITY)
            .map_err(|error| OpenError::NoNode { error })
    }

    fn owns(&self, node: &str, _bitmap: &str) -> bool {
        Self::is_ours(node)
    }

    fn held_bytes(&self) -> u64 {
        // `dirty_bitmap_state_pending()` counts a byte for each bit.
        NODE_BYTES / u64::from(GRANULARITY)
    }

    fn let_go(&self, _stream: &StreamSocket) -> io::Result<()> {
        Ok(())
    }
}
