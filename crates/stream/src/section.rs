//! What stands at the top of a stream: commands, heads and footers of sections
//! (migration/savevm.c, `qemu_loadvm_state_main`, `loadvm_process_command`).

use crate::cursor::{Cursor, Halt, lossy};
use crate::decoder::{Decoder, State};
use crate::wire::{command, vm};
use crate::{Command, Fault, SectionKind, Visitor, wire};

impl Decoder {
    pub(crate) fn between<V: Visitor>(
        &mut self,
        item: &mut Cursor<'_>,
        to: &mut V,
    ) -> Result<(), Halt<V::Error>> {
        match item.u8()? {
            vm::COMMAND => self.command(item, to),
            vm::SECTION_START => self.start(item),
            vm::SECTION_PART => self.go_on(item, SectionKind::Part),
            vm::SECTION_END => self.go_on(item, SectionKind::End),
            vm::SECTION_FULL => self.early(item),
            got @ (vm::EOF | vm::VMDESCRIPTION) => item.wrong(1, Fault::EndedEarly { got }),
            got => item.wrong(1, Fault::Section { got }),
        }
    }

    fn command<V: Visitor>(
        &mut self,
        item: &mut Cursor<'_>,
        to: &mut V,
    ) -> Result<(), Halt<V::Error>> {
        let command = item.u16()?;
        let expected = match command {
            command::OPEN_RETURN_PATH | command::SWITCHOVER_START => 0,
            command::PING => 4,
            command::POSTCOPY_ADVISE => 16,
            _ => return item.wrong(2, Fault::Command { command }),
        };
        let got = item.u16()?;
        // Postcopy of nothing but dirty bitmaps has no page sizes to tell.
        let bitmaps = command == command::POSTCOPY_ADVISE && got == 0;
        if got != expected && !bitmaps {
            return item.wrong(2, Fault::CommandLength { command, expected, got });
        }
        let told = match command {
            command::PING => Command::Ping(item.u32()?),
            command::OPEN_RETURN_PATH => Command::OpenReturnPath,
            command::SWITCHOVER_START => Command::SwitchoverStart,
            _ => {
                if !bitmaps {
                    self.postcopy_pages = Some(item.u64()?);
                    let (expected, got) = (self.page_bytes, item.u64()?);
                    if got != expected.into() {
                        return item.wrong(8, Fault::AdvisedPage { expected, got });
                    }
                }
                Command::PostcopyAdvise
            }
        };
        to.command(told).map_err(Halt::Visitor)?;
        self.state = State::Between;
        Ok(())
    }

    fn start<E>(&mut self, item: &mut Cursor<'_>) -> Result<(), Halt<E>> {
        let id = item.u32()?;
        let name = item.counted()?;
        if name != wire::RAM {
            return item.wrong(name.len(), Fault::Foreign { name: lossy(name) });
        }
        if self.ram.is_some() {
            return item.wrong(name.len(), Fault::StartedTwice);
        }
        for (what, expected) in [("instance", 0), ("version", wire::RAM_VERSION)] {
            let got = item.u32()?;
            if got != expected {
                return item.wrong(4, Fault::RamSection { what, expected, got });
            }
        }
        self.ram = Some(id);
        self.open(SectionKind::Start);
        Ok(())
    }

    fn go_on<E>(&mut self, item: &mut Cursor<'_>, kind: SectionKind) -> Result<(), Halt<E>> {
        let id = item.u32()?;
        match self.ram {
            None => item.wrong(4, Fault::NotStarted { id }),
            Some(expected) if expected != id => {
                item.wrong(4, Fault::SectionId { expected, got: id })
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
        self.state = State::Records;
    }

    pub(crate) fn footer<E>(&self, item: &mut Cursor<'_>) -> Result<(), Halt<E>> {
        self.ram.map_or(Ok(()), |ram| footer_of(ram, item))
    }

    /// A section of RAM is over.
    pub(crate) fn close<V: Visitor>(&mut self, to: &mut V) -> Result<(), Halt<V::Error>> {
        to.section(self.kind, self.pages).map_err(Halt::Visitor)?;
        let end = self.kind == SectionKind::End;
        self.state = if end { State::Opaque } else { State::Between };
        Ok(())
    }
}

/// Reads the footer that closes a section.
pub(crate) fn footer_of<E>(expected: u32, item: &mut Cursor<'_>) -> Result<(), Halt<E>> {
    let got = item.u8()?;
    if got != vm::SECTION_FOOTER {
        return item.wrong(1, Fault::NoFooter { got });
    }
    let got = item.u32()?;
    if got != expected {
        return item.wrong(4, Fault::SectionId { expected, got });
    }
    Ok(())
}
