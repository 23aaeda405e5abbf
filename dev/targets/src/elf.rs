//! An executable for boards that load nothing else (System V ABI, chapter 4): one segment, entered at its
//! first byte.

/// What an executable is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ElfKind {
    /// `e_machine`.
    pub(crate) machine: u16,
    /// Whether its addresses have 64 bits.
    pub(crate) is_64: bool,
    /// Whether its numbers are big-endian.
    pub(crate) is_big: bool,
}

/// An executable that is written.
struct ElfWriter {
    kind: ElfKind,
    bytes: Vec<u8>,
}

impl ElfKind {
    /// The executable whose code lies at this address.
    pub(crate) fn executable(self, address: u64, code: &[u8]) -> Vec<u8> {
        let mut elf = ElfWriter { kind: self, bytes: Vec::new() };
        let (header, program): (u16, u16) = if self.is_64 { (64, 56) } else { (52, 32) };
        elf.bytes.extend(b"\x7fELF");
        // Class, encoding, version, and nothing said of an operating system.
        elf.bytes.extend([1 + u8::from(self.is_64), 1 + u8::from(self.is_big), 1]);
        elf.bytes.resize(16, 0);
        elf.half(2).half(self.machine).word(1);
        elf.address(address).address(header.into()).address(0).word(0);
        // The sizes and numbers of headers: no section has one.
        elf.half(header).half(program).half(1).half(0).half(0).half(0);

        let (bytes, begin) = (code.len() as u64, u64::from(header + program));
        // To be loaded, and may be read, written and executed.
        elf.word(1);
        if self.is_64 {
            elf.word(7);
        }
        elf.address(begin).address(address).address(address).address(bytes).address(bytes);
        if !self.is_64 {
            elf.word(7);
        }
        elf.address(4);
        elf.bytes.extend(code);
        elf.bytes
    }
}

impl ElfWriter {
    fn number(&mut self, value: u64, bytes: usize) -> &mut Self {
        match self.kind.is_big {
            true => self.bytes.extend(&value.to_be_bytes()[8 - bytes..]),
            false => self.bytes.extend(&value.to_le_bytes()[..bytes]),
        }
        self
    }

    fn half(&mut self, value: u16) -> &mut Self {
        self.number(value.into(), 2)
    }

    fn word(&mut self, value: u32) -> &mut Self {
        self.number(value.into(), 4)
    }

    fn address(&mut self, value: u64) -> &mut Self {
        let bytes = if self.kind.is_64 { 8 } else { 4 };
        self.number(value, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_follows_the_headers() {
        for (is_64, is_big, begin) in [(false, false, 84), (false, true, 84), (true, false, 120)] {
            let elf = ElfKind { machine: 44, is_64, is_big }.executable(0x8000_0000, b"code");
            assert_eq!((&elf[..4], elf.len()), (&b"\x7fELF"[..], begin + 4));
            assert_eq!(&elf[begin..], b"code");
            let machine = [elf[18], elf[19]];
            assert_eq!(machine, if is_big { [0, 44] } else { [44, 0] });
        }
    }
}
