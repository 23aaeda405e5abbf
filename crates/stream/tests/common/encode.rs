//! An encoder of migration streams, written from QEMU's savevm.c and ram.c and not from the decoder.

/// A stream that is being written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stream {
    pub(crate) bytes: Vec<u8>,
    /// The block of the last page record, as QEMU's `last_sent_block`.
    last: Option<String>,
    page_bytes: usize,
}

/// The number of the RAM section.
pub(crate) const RAM_ID: u32 = 2;

/// The number of the section of dirty bitmaps.
pub(crate) const BITMAPS_ID: u32 = 3;

impl Stream {
    /// Magic, version, machine type.
    pub(crate) fn new(machine: &str, page_bytes: usize) -> Self {
        let mut this = Self { page_bytes, ..Self::default() };
        this.raw(b"QEVM\0\0\0\x03\x07").u32(machine.len() as u32).raw(machine.as_bytes());
        this
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub(crate) fn u8(&mut self, value: u8) -> &mut Self {
        self.raw(&[value])
    }

    pub(crate) fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// A name after its length.
    pub(crate) fn name(&mut self, name: &str) -> &mut Self {
        self.u8(name.len() as u8).raw(name.as_bytes())
    }

    /// The head of a subsection of the configuration.
    pub(crate) fn subsection(&mut self, name: &str) -> &mut Self {
        self.u8(5).name(name).u32(1)
    }

    pub(crate) fn page_bits(&mut self, bits: u32) -> &mut Self {
        self.subsection("configuration/target-page-bits").u32(bits)
    }

    pub(crate) fn ignore_shared(&mut self) -> &mut Self {
        self.subsection("configuration/capabilities").u32(1).name("x-ignore-shared")
    }

    pub(crate) fn uuid(&mut self) -> &mut Self {
        self.subsection("configuration/uuid").raw(&[7; 16])
    }

    pub(crate) fn command(&mut self, number: u16, data: &[u8]) -> &mut Self {
        self.u8(8).u16(number).u16(data.len() as u16).raw(data)
    }

    pub(crate) fn open_return_path(&mut self) -> &mut Self {
        self.command(1, &[])
    }

    pub(crate) fn ping(&mut self, number: u32) -> &mut Self {
        self.command(2, &number.to_be_bytes())
    }

    /// With the page sizes behind the blocks, added up.
    pub(crate) fn postcopy_advise(&mut self, summary: u64) -> &mut Self {
        let page_bytes = self.page_bytes as u64;
        self.command(3, &[summary.to_be_bytes(), page_bytes.to_be_bytes()].concat())
    }

    pub(crate) fn switchover_start(&mut self) -> &mut Self {
        self.command(11, &[])
    }

    /// The head of the RAM section and the total; the blocks follow.
    pub(crate) fn start(&mut self, total: u64) -> &mut Self {
        self.u8(1).u32(RAM_ID).name("ram").u32(0).u32(4).u64(total | 4)
    }

    pub(crate) fn block(&mut self, name: &str, bytes: u64) -> &mut Self {
        self.name(name).u64(bytes)
    }

    /// A whole first section.
    pub(crate) fn blocks(&mut self, blocks: &[(&str, u64)]) -> &mut Self {
        self.start(blocks.iter().map(|block| block.1).sum());
        for (name, bytes) in blocks {
            self.block(name, *bytes);
        }
        self.close()
    }

    pub(crate) fn part(&mut self) -> &mut Self {
        self.u8(2).u32(RAM_ID)
    }

    pub(crate) fn end(&mut self) -> &mut Self {
        self.u8(3).u32(RAM_ID)
    }

    /// The end of a burst, and the footer.
    pub(crate) fn close(&mut self) -> &mut Self {
        self.u64(0x10).u8(0x7e).u32(RAM_ID)
    }

    fn record(&mut self, name: &str, offset: u64, flag: u64) -> &mut Self {
        if self.last.as_deref() == Some(name) {
            return self.u64(offset | flag | 0x20);
        }
        self.last = Some(name.to_owned());
        self.u64(offset | flag).name(name)
    }

    /// A page of which each byte comes from the seed.
    pub(crate) fn page(&mut self, name: &str, offset: u64, seed: u64) -> &mut Self {
        let page = contents(seed, self.page_bytes);
        self.record(name, offset, 8).raw(&page)
    }

    pub(crate) fn fill(&mut self, name: &str, offset: u64, byte: u8) -> &mut Self {
        self.record(name, offset, 2).u8(byte)
    }

    /// The next record names its block, as after a change of QEMU's list of blocks.
    pub(crate) fn forget(&mut self) -> &mut Self {
        self.last = None;
        self
    }

    /// The head of one of the sections of dirty bitmaps: the first (1), a part (2) or the last (3).
    pub(crate) fn bitmaps(&mut self, kind: u8) -> &mut Self {
        self.u8(kind).u32(BITMAPS_ID);
        if kind == 1 { self.name("dirty-bitmap").u32(0).u32(1) } else { self }
    }

    /// The start of a bitmap: its names, a granularity of 512 bytes, enabled.
    pub(crate) fn bitmap(&mut self, node: &str, name: &str) -> &mut Self {
        self.u8(0x1c).name(node).name(name).u32(512).u8(1)
    }

    /// The end of such a section, and its footer.
    pub(crate) fn close_bitmaps(&mut self) -> &mut Self {
        self.u8(1).u8(0x7e).u32(BITMAPS_ID)
    }

    /// Something like the devices' state and the description of it.
    pub(crate) fn devices(&mut self) -> &mut Self {
        self.u8(4).u32(0).name("timer").u32(0).u32(2).raw(&[0x10; 24]).u8(0x7e).u32(0);
        self.u8(0).u8(6).u32(2).raw(b"{}")
    }
}

/// The bytes of a page.
pub(crate) fn contents(seed: u64, page_bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(page_bytes).collect()
}
