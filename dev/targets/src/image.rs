//! What a board loads: code at a place in a raw image, or an executable.

use crate::code::{MachineCode, X86, X86_RESET};
use crate::elf::ElfKind;

/// What a board loads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum GuestImage {
    /// A raw image of at least so many bytes, with the code somewhere in it.
    Raw { code: MachineCode, at: usize, least: usize },
    /// An x86's ROM of 64 KiB.
    X86Rom,
    /// An executable whose code lies at this address.
    Elf { code: MachineCode, kind: ElfKind, address: u64 },
}

/// The code and nothing else.
pub(crate) const fn raw(code: MachineCode) -> GuestImage {
    GuestImage::Raw { code, at: 0, least: 0 }
}

/// The code so far into the image.
pub(crate) const fn raw_at(code: MachineCode, at: usize, least: usize) -> GuestImage {
    GuestImage::Raw { code, at, least }
}

/// An executable of 32 bits.
pub(crate) const fn elf(code: MachineCode, machine: u16, is_big: bool, address: u64) -> GuestImage {
    GuestImage::Elf { code, kind: ElfKind { machine, is_64: false, is_big }, address }
}

impl GuestImage {
    /// The bytes of the file.
    pub(crate) fn bytes(self) -> Vec<u8> {
        match self {
            Self::Raw { code, at, least } => {
                let code = code.bytes();
                let mut image = vec![0; least.max(at + code.len())];
                image[at..at + code.len()].copy_from_slice(&code);
                image
            }
            Self::X86Rom => {
                let mut rom = X86.bytes();
                rom.resize(64 << 10, 0);
                let reset = rom.len() - 16;
                rom[reset..][..X86_RESET.len()].copy_from_slice(&X86_RESET);
                rom
            }
            Self::Elf { code, kind, address } => kind.executable(address, &code.bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_its_code_where_the_board_begins() {
        let image = raw_at(MachineCode::Big16(&[0x1234]), 0x100, 1 << 10).bytes();
        assert_eq!((image.len(), &image[0x100..0x102]), (1024, &[0x12, 0x34][..]));
        assert_eq!(raw(MachineCode::Little16(&[0x1234])).bytes(), [0x34, 0x12]);
        let rom = GuestImage::X86Rom.bytes();
        assert_eq!((rom.len(), rom[0], rom[0xfff0]), (65536, 0xfa, 0xe9));
    }
}
