//! The section of the block layer's dirty bitmaps (migration/block-dirty-bitmap.c).
//!
//! Which bitmaps there are stands in its start, their bits in its end; in pre-copy its parts are empty.
//! Each chunk is one byte of flags, the names that differ from those of the chunk before, and what the
//! flags say. Nothing in it is memory: it is read to know whose bitmaps are migrated, and to find its end.

use crate::cursor::{CursorHalt, ItemCursor, lossy};
use crate::decoder::{Decoder, DecoderState};
use crate::wire::bitmap;
use crate::{SectionKind, StreamFault, StreamVisitor, wire};

/// How many bytes of bits a chunk may have: QEMU sends 1 KiB at a time, and takes ten times that.
const MOST_BITS: u64 = 10 << 10;

/// What is known of the section.
#[derive(Debug, Default)]
pub(crate) struct BitmapSection {
    /// Its number, once it has started.
    pub(crate) id: Option<u32>,
    kind: Option<SectionKind>,
    node: Option<String>,
    name: Option<String>,
}

impl Decoder {
    /// The rest of the section's head, behind its name.
    pub(crate) fn start_bitmaps<E>(
        &mut self,
        item: &mut ItemCursor<'_>,
        id: u32,
    ) -> Result<(), CursorHalt<E>> {
        let (instance, version) = (item.u32()?, item.u32()?);
        for (expected, got) in [(0, instance), (bitmap::VERSION, version)] {
            if got != expected {
                let name = lossy(wire::DIRTY_BITMAP);
                return item.wrong(4, StreamFault::DeviceVersion { name, expected, got });
            }
        }
        if self.bitmaps.id.is_some() || self.ram == Some(id) {
            return bad(item, 8, "one start of this section", "another");
        }
        self.bitmaps.id = Some(id);
        self.open_bitmaps(SectionKind::Start);
        Ok(())
    }

    /// One of its sections is to be read.
    pub(crate) fn open_bitmaps(&mut self, kind: SectionKind) {
        self.bitmaps.kind = Some(kind);
        self.state = DecoderState::Bitmaps;
    }

    /// A chunk, or the end of the section's chunks.
    pub(crate) fn bitmap_chunk<V: StreamVisitor>(
        &mut self,
        item: &mut ItemCursor<'_>,
        to: &mut V,
    ) -> Result<(), CursorHalt<V::Error>> {
        let flags = item.u8()?;
        if flags == bitmap::EOS {
            return self.close_bitmaps(to);
        }
        let node = name_of(item, flags & bitmap::NODE_NAME != 0)?.or(self.bitmaps.node.clone());
        let name = name_of(item, flags & bitmap::BITMAP_NAME != 0)?.or(self.bitmaps.name.clone());
        let (Some(node), Some(name)) = (node, name) else {
            let field = item.taken();
            return bad(item, field, "the names of a node and its bitmap", "a chunk before them");
        };
        let is_start = self.bitmaps.kind == Some(SectionKind::Start);
        let is_end = self.bitmaps.kind == Some(SectionKind::End);
        match flags & !(bitmap::NODE_NAME | bitmap::BITMAP_NAME) {
            bitmap::START if is_start => {
                if !item.u32()?.is_power_of_two() {
                    return bad(item, 4, "a granularity", "a number that is no power of two");
                }
                if item.u8()? & bitmap::START_RESERVED != 0 {
                    return bad(item, 1, "the flags of a bitmap", "one that is reserved");
                }
                to.bitmap(&node, &name).map_err(CursorHalt::Visitor)?;
            }
            bits @ (bitmap::BITS | bitmap::ZERO_BITS) if is_end => {
                let (_first, _sectors) = (item.u64()?, item.u32()?);
                if bits == bitmap::BITS {
                    let bytes = item.u64()?;
                    if bytes > MOST_BITS {
                        return bad(item, 8, "a chunk of bits", "one that is too long");
                    }
                    item.take(usize::try_from(bytes).unwrap_or(usize::MAX))?;
                }
            }
            bitmap::COMPLETE if is_end => {}
            _ => {
                return bad(
                    item,
                    item.taken(),
                    "bitmaps in its start, bits in its end, nothing in pre-copy",
                    "a chunk that belongs elsewhere, or that is not known",
                );
            }
        }
        (self.bitmaps.node, self.bitmaps.name) = (Some(node), Some(name));
        Ok(())
    }

    fn close_bitmaps<V: StreamVisitor>(&mut self, to: &mut V) -> Result<(), CursorHalt<V::Error>> {
        if self.bitmaps.kind == Some(SectionKind::Start) {
            to.bitmaps_listed().map_err(CursorHalt::Visitor)?;
        }
        self.state = match self.bitmaps.id {
            Some(id) if self.footers => DecoderState::ForeignFooter { id },
            _ => DecoderState::Between,
        };
        Ok(())
    }
}

/// A name, if the flags say that there is one.
fn name_of<E>(item: &mut ItemCursor<'_>, is_there: bool) -> Result<Option<String>, CursorHalt<E>> {
    if !is_there {
        return Ok(None);
    }
    match item.counted()? {
        [] => bad(item, 1, "a name", "an empty one"),
        name => Ok(Some(lossy(name))),
    }
}

fn bad<T, E>(
    item: &ItemCursor<'_>,
    field: usize,
    expected: &'static str,
    got: &'static str,
) -> Result<T, CursorHalt<E>> {
    item.wrong(field, StreamFault::Bitmap { expected, got })
}
