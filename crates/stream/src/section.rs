//! What stands at the top of a stream: commands, heads and footers of sections
//! (migration/savevm.c, `qemu_loadvm_state_main`, `loadvm_process_command`).

use crate::cursor::{CursorHalt, ItemCursor, lossy};
use crate::decoder::{Decoder, DecoderState};
use crate::wire::{command, vm};
use crate::{SectionKind, StreamCommand, StreamFault, StreamVisitor, wire};

impl Decoder {
    pub(crate) fn between<V: StreamVisitor>(
        &mut self,
        item: &mut ItemCursor<'_>,
        to: &mut V,
    ) -> Result<(), CursorHalt<V::Error>> {
        match item.u8()? {
            vm::COMMAND => self.command(item, to),
            vm::SECTION_START => self.start(item),
            vm::SECTION_PART => self.go_on(item, SectionKind::Part),
            vm::SECTION_END => self.go_on(item, SectionKind::End),
            vm::SECTION_FULL => self.early(item),
            got @ (vm::EOF | vm::VMDESCRIPTION) => item.wrong(1, StreamFault::EndedEarly { got }),
            got => item.wrong(1, StreamFault::Section { got }),
        }
    }

    fn command<V: StreamVisitor>(
        &mut self,
        item: &mut ItemCursor<'_>,
        to: &mut V,
    ) -> Result<(), CursorHalt<V::Error>> {
        let command = item.u16()?;
        let expected = match command {
            command::OPEN_RETURN_PATH | command::SWITCHOVER_START => 0,
            command::PING => 4,
            command::POSTCOPY_ADVISE => 16,
            _ => return item.wrong(2, StreamFault::Command { command }),
        };
        let got = item.u16()?;
        // Postcopy of nothing but dirty bitmaps has no page sizes to tell.
        let bitmaps = command == command::POSTCOPY_ADVISE && got == 0;
        if got != expected && !bitmaps {
            return item.wrong(2, StreamFault::CommandLength { command, expected, got });
        }
        let told = match command {
            command::PING => StreamCommand::Ping(item.u32()?),
            command::OPEN_RETURN_PATH => StreamCommand::OpenReturnPath,
            command::SWITCHOVER_START => StreamCommand::SwitchoverStart,
            _ => {
                if !bitmaps {
                    self.postcopy_pages = Some(item.u64()?);
                    let (expected, got) = (self.page_bytes, item.u64()?);
                    if got != expected.into() {
                        return item.wrong(8, StreamFault::AdvisedPage { expected, got });
                    }
                }
                StreamCommand::PostcopyAdvise
            }
        };
        to.command(told).map_err(CursorHalt::Visitor)?;
        self.state = DecoderState::Between;
        Ok(())
    }

    fn start<E>(&mut self, item: &mut ItemCursor<'_>) -> Result<(), CursorHalt<E>> {
        let id = item.u32()?;
        let name = item.counted()?;
        if name == wire::DIRTY_BITMAP {
            return self.start_bitmaps(item, id);
        }
        if name != wire::RAM {
            return item.wrong(name.len(), StreamFault::Foreign { name: lossy(name) });
        }
        if self.ram.is_some() || self.bitmaps.id == Some(id) {
            return item.wrong(name.len(), StreamFault::StartedTwice);
        }
        for (what, expected) in [("instance", 0), ("version", wire::RAM_VERSION)] {
            let got = item.u32()?;
            if got != expected {
                return item.wrong(4, StreamFault::RamSection { what, expected, got });
            }
        }
        self.ram = Some(id);
        self.open(SectionKind::Start);
        Ok(())
    }

    fn go_on<E>(
        &mut self,
        item: &mut ItemCursor<'_>,
        kind: SectionKind,
    ) -> Result<(), CursorHalt<E>> {
        let id = item.u32()?;
        match self.ram {
            _ if self.bitmaps.id == Some(id) => {
                self.open_bitmaps(kind);
                Ok(())
            }
            None => item.wrong(4, StreamFault::NotStarted { id }),
            Some(expected) if expected != id => {
                item.wrong(4, StreamFault::SectionId { expected, got: id })
            }
            Some(_) => {
                self.open(kind);
                Ok(())
            }
        }
    }

    fn open(&mut self, kind: SectionKind) {
        self.kind = kind;
        self.pages = 0;
        self.state = DecoderState::Records;
    }

    pub(crate) fn footer<E>(&self, item: &mut ItemCursor<'_>) -> Result<(), CursorHalt<E>> {
        self.ram.map_or(Ok(()), |ram| footer_of(ram, item))
    }

    /// A section of RAM is over.
    pub(crate) fn close<V: StreamVisitor>(
        &mut self,
        to: &mut V,
    ) -> Result<(), CursorHalt<V::Error>> {
        to.section(self.kind, self.pages).map_err(CursorHalt::Visitor)?;
        let end = self.kind == SectionKind::End;
        self.state = if end { DecoderState::Opaque } else { DecoderState::Between };
        Ok(())
    }
}

/// Reads the footer that closes a section.
pub(crate) fn footer_of<E>(expected: u32, item: &mut ItemCursor<'_>) -> Result<(), CursorHalt<E>> {
    let got = item.u8()?;
    if got != vm::SECTION_FOOTER {
        return item.wrong(1, StreamFault::NoFooter { got });
    }
    let got = item.u32()?;
    if got != expected {
        return item.wrong(4, StreamFault::SectionId { expected, got });
    }
    Ok(())
}
