//! Page records (migration/ram.c, `ram_load_precopy`): u64 offset with flags in the bits below the
//! page size, then what the flags say.

use crate::cursor::{CursorHalt, ItemCursor, lossy};
use crate::decoder::{Decoder, DecoderState};
use crate::wire::flag;
use crate::{Feature, SectionKind, StreamFault, StreamVisitor};

impl Decoder {
    /// Reads as many records as lie whole in the bytes, up to the end of the section. Returns how
    /// many bytes they had.
    pub(crate) fn records<V: StreamVisitor>(
        &mut self,
        bytes: &[u8],
        to: &mut V,
    ) -> Result<usize, CursorHalt<V::Error>> {
        let mut taken = 0;
        while self.state == DecoderState::Records {
            let mut item = ItemCursor::new(&bytes[taken..], self.start + taken as u64);
            match self.record(&mut item, to) {
                Ok(()) => taken += item.taken(),
                Err(CursorHalt::Need(_)) if taken > 0 => break,
                Err(halt) => {
                    self.start += taken as u64;
                    return Err(halt);
                }
            }
        }
        Ok(taken)
    }

    #[inline]
    fn record<V: StreamVisitor>(
        &mut self,
        item: &mut ItemCursor<'_>,
        to: &mut V,
    ) -> Result<(), CursorHalt<V::Error>> {
        let below = u64::from(self.page_bytes) - 1;
        let word = item.u64()?;
        let (offset, flags) = (word & !below, word & below);
        match flags & !flag::CONTINUE {
            flag::PAGE => {
                let block = self.block_of(item, offset, flags)?;
                let page = item.take(self.page_bytes as usize)?;
                to.page(block, offset, page).map_err(CursorHalt::Visitor)?;
                self.pages += 1;
                Ok(())
            }
            flag::FILL => {
                let block = self.block_of(item, offset, flags)?;
                let byte = item.u8()?;
                to.fill(block, offset, byte).map_err(CursorHalt::Visitor)?;
                self.pages += 1;
                Ok(())
            }
            _ => self.other(item, offset, flags, to),
        }
    }

    /// Whose page a record is.
    #[inline]
    fn block_of<E>(
        &mut self,
        item: &mut ItemCursor<'_>,
        offset: u64,
        flags: u64,
    ) -> Result<usize, CursorHalt<E>> {
        let Some(blocks) = &self.blocks else {
            return item.wrong(8, StreamFault::NoBlocks { flags });
        };
        let block = if flags & flag::CONTINUE == 0 {
            let name = item.counted()?;
            let Some(block) = blocks.find(name) else {
                return item.wrong(name.len(), StreamFault::UnknownBlock { name: lossy(name) });
            };
            block
        } else {
            let Some(block) = self.current else {
                return item.wrong(8, StreamFault::NoBlock);
            };
            block
        };
        // Both are multiples of the page size, so the whole page lies inside.
        let bytes = blocks.used_bytes(block);
        if offset >= bytes {
            let fault = StreamFault::Outside { name: blocks.name(block), bytes, offset };
            return item.wrong(item.taken(), fault);
        }
        self.current = Some(block);
        Ok(block)
    }

    /// A record that is no page.
    #[cold]
    fn other<V: StreamVisitor>(
        &mut self,
        item: &ItemCursor<'_>,
        offset: u64,
        flags: u64,
        to: &mut V,
    ) -> Result<(), CursorHalt<V::Error>> {
        let feature = match flags & !flag::CONTINUE {
            flag::XBZRLE => Feature::Xbzrle,
            flag::HOOK => Feature::Rdma,
            flag::COMPRESS_PAGE => Feature::Compress,
            flag::MULTIFD_FLUSH => Feature::Multifd,
            flag::MEM_SIZE
                if flags == flag::MEM_SIZE
                    && self.blocks.is_none()
                    && self.kind == SectionKind::Start =>
            {
                return self.begin_listing(item, offset);
            }
            flag::EOS if flags == flag::EOS && offset == 0 => {
                if self.blocks.is_none() {
                    return item.wrong(8, StreamFault::NoBlocks { flags });
                }
                self.state = DecoderState::Footer;
                return if self.footers { Ok(()) } else { self.close(to) };
            }
            _ => return item.wrong(8, StreamFault::Flags { flags, offset }),
        };
        item.wrong(8, StreamFault::Uses { feature, flags })
    }
}
