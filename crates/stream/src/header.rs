//! The beginning of a stream: magic, version, and the configuration with its subsections
//! (migration/savevm.c, `qemu_savevm_state_header` and `vmstate_configuration`).

use crate::cursor::{CursorHalt, ItemCursor, lossy};
use crate::decoder::{Decoder, DecoderState};
use crate::wire::{self, vm};
use crate::{StreamFault, StreamVisitor};

/// How long a machine type may be in bytes. QEMU's longest have about 30.
const MACHINE_BYTES: u32 = 255;
/// How many capabilities may be listed. QEMU has about 25 and lists two.
const CAPABILITIES: u32 = 255;

impl Decoder {
    pub(crate) fn magic<E>(&mut self, item: &mut ItemCursor<'_>) -> Result<(), CursorHalt<E>> {
        let magic = item.u32()?;
        if magic != wire::MAGIC {
            return item.wrong(4, StreamFault::Magic { got: magic });
        }
        let version = item.u32()?;
        if version != wire::VERSION {
            return item.wrong(4, StreamFault::Version { got: version });
        }
        self.state = DecoderState::Machine;
        Ok(())
    }

    pub(crate) fn machine<V: StreamVisitor>(
        &mut self,
        item: &mut ItemCursor<'_>,
        to: &mut V,
    ) -> Result<(), CursorHalt<V::Error>> {
        match item.peek(1)? {
            [vm::CONFIGURATION] => {}
            // A machine type of QEMU 2.3 or older: neither a configuration nor footers.
            [vm::SECTION_START | vm::COMMAND] => {
                self.footers = false;
                self.state = DecoderState::Between;
                return Ok(());
            }
            other => {
                let got = other.first().copied().unwrap_or(0);
                return item.wrong(0, StreamFault::NoConfiguration { got });
            }
        }
        item.take(1)?;
        let length = item.u32()?;
        if length > MACHINE_BYTES {
            let (most, got) = (MACHINE_BYTES.into(), length.into());
            return item.wrong(4, StreamFault::TooLong { what: "a machine type", most, got });
        }
        let name = item.take(length as usize)?;
        let Ok(name) = std::str::from_utf8(name) else {
            let fault = StreamFault::NotText { what: "a machine type", got: lossy(name) };
            return item.wrong(name.len(), fault);
        };
        to.machine(name);
        self.state = DecoderState::Configuration;
        Ok(())
    }

    /// A subsection of the configuration, or what follows the configuration.
    pub(crate) fn configuration<V: StreamVisitor>(
        &mut self,
        item: &mut ItemCursor<'_>,
        to: &mut V,
    ) -> Result<(), CursorHalt<V::Error>> {
        if item.peek(1)? != [vm::SUBSECTION] {
            self.between(item, to)?;
            return Ok(());
        }
        item.take(1)?;
        let name = item.counted()?;
        let version = item.u32()?;
        match (name, version) {
            (b"configuration/target-page-bits", 1) => {
                let bits = item.u32()?;
                if !wire::PAGE_BITS.contains(&bits) {
                    return item.wrong(4, StreamFault::PageBits { bits });
                }
                self.page_bytes = 1 << bits;
            }
            (b"configuration/capabilities", 1) => {
                let count = item.u32()?;
                if count > CAPABILITIES {
                    let (most, got) = (CAPABILITIES.into(), count.into());
                    return item.wrong(4, StreamFault::TooLong { what: "capabilities", most, got });
                }
                self.state = DecoderState::Capabilities { left: count };
            }
            (b"configuration/uuid", 1) => {
                item.take(16)?;
            }
            _ => {
                let fault = StreamFault::Subsection { name: lossy(name), version };
                return item.wrong(name.len() + 4, fault);
            }
        }
        Ok(())
    }

    pub(crate) fn capability<E>(
        &mut self,
        item: &mut ItemCursor<'_>,
        left: u32,
    ) -> Result<(), CursorHalt<E>> {
        if left == 0 {
            self.state = DecoderState::Configuration;
            return Ok(());
        }
        let name = item.counted()?;
        if name != b"x-ignore-shared" {
            return item.wrong(name.len(), StreamFault::Capability { name: lossy(name) });
        }
        self.ignore_shared = true;
        self.state = DecoderState::Capabilities { left: left - 1 };
        Ok(())
    }
}
