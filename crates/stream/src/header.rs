//! The beginning of a stream: magic, version, and the configuration with its subsections
//! (migration/savevm.c, `qemu_savevm_state_header` and `vmstate_configuration`).

use crate::cursor::{Cursor, Halt, lossy};
use crate::decoder::{Decoder, State};
use crate::wire::{self, vm};
use crate::{Fault, Visitor};

/// How long a machine type may be in bytes. QEMU's longest have about 30.
const MACHINE_BYTES: u32 = 255;
/// How many capabilities may be listed. QEMU has about 25 and lists two.
const CAPABILITIES: u32 = 255;

impl Decoder {
    pub(crate) fn magic<E>(&mut self, item: &mut Cursor<'_>) -> Result<(), Halt<E>> {
        let magic = item.u32()?;
        if magic != wire::MAGIC {
            return item.wrong(4, Fault::Magic { got: magic });
        }
        let version = item.u32()?;
        if version != wire::VERSION {
            return item.wrong(4, Fault::Version { got: version });
        }
        self.state = State::Machine;
        Ok(())
    }

    pub(crate) fn machine<V: Visitor>(
        &mut self,
        item: &mut Cursor<'_>,
        to: &mut V,
    ) -> Result<(), Halt<V::Error>> {
        match item.peek(1)? {
            [vm::CONFIGURATION] => {}
            // A machine type of QEMU 2.3 or older: neither a configuration nor footers.
            [vm::SECTION_START | vm::COMMAND] => {
                self.footers = false;
                self.state = State::Between;
                return Ok(());
            }
            other => {
                let got = other.first().copied().unwrap_or(0);
                return item.wrong(0, Fault::NoConfiguration { got });
            }
        }
        item.take(1)?;
        let length = item.u32()?;
        if length > MACHINE_BYTES {
            let (most, got) = (MACHINE_BYTES.into(), length.into());
            return item.wrong(4, Fault::TooLong { what: "a machine type", most, got });
        }
        let name = item.take(length as usize)?;
        let Ok(name) = std::str::from_utf8(name) else {
            let fault = Fault::NotText { what: "a machine type", got: lossy(name) };
            return item.wrong(name.len(), fault);
        };
        to.machine(name);
        self.state = State::Configuration;
        Ok(())
    }

    /// A subsection of the configuration, or what follows the configuration.
    pub(crate) fn configuration<V: Visitor>(
        &mut self,
        item: &mut Cursor<'_>,
        to: &mut V,
    ) -> Result<(), Halt<V::Error>> {
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
                    return item.wrong(4, Fault::PageBits { bits });
                }
                self.page_bytes = 1 << bits;
            }
            (b"configuration/capabilities", 1) => {
                let count = item.u32()?;
                if count > CAPABILITIES {
                    let (most, got) = (CAPABILITIES.into(), count.into());
                    return item.wrong(4, Fault::TooLong { what: "capabilities", most, got });
                }
                self.state = State::Capabilities { left: count };
            }
            (b"configuration/uuid", 1) => {
                item.take(16)?;
            }
            _ => {
                let fault = Fault::Subsection { name: lossy(name), version };
                return item.wrong(name.len() + 4, fault);
            }
        }
        Ok(())
    }

    pub(crate) fn capability<E>(
        &mut self,
        item: &mut Cursor<'_>,
        left: u32,
    ) -> Result<(), Halt<E>> {
        if left == 0 {
            self.state = State::Configuration;
            return Ok(());
        }
        let name = item.counted()?;
        if name != b"x-ignore-shared" {
            return item.wrong(name.len(), Fault::Capability { name: lossy(name) });
        }
        self.ignore_shared = true;
        self.state = State::Capabilities { left: left - 1 };
        Ok(())
    }
}
