//! A section of another device that comes before the end of RAM, and whose length is known.
//!
//! Sections have no length: one of a device that is not understood can't be skipped. One is
//! understood: QEMU 8.1 and later send which parts of a virtio-mem device are plugged before the
//! first page (hw/virtio/virtio-mem.c, `vmstate_virtio_mem_device_early`). Nothing in it is
//! needed here, as no page of an unplugged part is sent.

use crate::StreamFault;
use crate::cursor::{CursorHalt, ItemCursor, lossy};
use crate::decoder::{Decoder, DecoderState};
use crate::section::footer_of;

/// What the section's name ends with, after the device's place on its bus.
const VIRTIO_MEM: &[u8] = b"virtio-mem-device-early";

impl Decoder {
    /// The head of a device's section, from its number on, and what says how long it is.
    pub(crate) fn early<E>(&mut self, item: &mut ItemCursor<'_>) -> Result<(), CursorHalt<E>> {
        let id = item.u32()?;
        let name = item.counted()?;
        if !name.ends_with(VIRTIO_MEM) {
            return item.wrong(name.len(), StreamFault::Foreign { name: lossy(name) });
        }
        let _instance = item.u32()?;
        let version = item.u32()?;
        if version != 1 {
            let name = lossy(name);
            return item.wrong(4, StreamFault::DeviceVersion { name, expected: 1, got: version });
        }
        let _address = item.u64()?;
        let region = item.u64()?;
        let block = item.u64()?;
        if region > self.limits.ram_bytes || !block.is_power_of_two() || block > region {
            return item.wrong(16, StreamFault::VirtioMem { region, block });
        }
        let _node = item.u32()?;
        let _plugged = item.u64()?;
        // A bit for each block, in words of 64.
        let left = (region / block).div_ceil(64) * 8;
        self.state = DecoderState::Skip { left, id };
        Ok(())
    }

    /// Passes over as much of what is left as there is. Returns how many bytes.
    pub(crate) fn skip(&mut self, bytes: &[u8], left: u64, id: u32) -> usize {
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let left = left - now as u64;
        self.state = if left == 0 {
            DecoderState::ForeignFooter { id }
        } else {
            DecoderState::Skip { left, id }
        };
        now
    }

    pub(crate) fn foreign_footer<E>(
        &mut self,
        item: &mut ItemCursor<'_>,
        id: u32,
    ) -> Result<(), CursorHalt<E>> {
        footer_of(id, item)?;
        self.state = DecoderState::Between;
        Ok(())
    }
}
