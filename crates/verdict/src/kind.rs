//! What a file is, by its first bytes, if it is no memory image but looks like one to who has a guest's
//! memory in it: its pages lie elsewhere in it, or in other forms.

use memtwin_pages::Image;
use std::fmt;
use std::io;

/// A kind of file that holds a memory, and is no image of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A core in the format ELF (`dump-guest-memory`, `virsh dump`, gcore).
    ElfCore,
    /// A core as kdump compresses it (`dump-guest-memory -z`, makedumpfile).
    Kdump,
    /// QEMU's migration stream, in a file (`migrate file:`, with mapped-ram or without).
    MigrationStream,
    /// libvirt's saved guest (`virsh save`).
    LibvirtSave,
    /// A disk image that may hold snapshots of memory (`savevm`).
    Qcow2,
}

/// `QEVM` (`migration/savevm.h`), and where libvirt and others put it behind a header of their own.
const STREAM: &[u8] = b"QEVM";

impl FileKind {
    /// What an image is, if it is none. Errors: its beginning can't be read.
    pub fn of(image: &dyn Image) -> io::Result<Option<Self>> {
        let mut first = [0; 20];
        if image.len()? < first.len() as u64 {
            return Ok(None);
        }
        image.read_at(0, &mut first)?;
        Ok(Self::from_first(&first))
    }

    fn from_first(first: &[u8; 20]) -> Option<Self> {
        // e_type is ET_CORE, in the byte order that e_ident names (elf(5)).
        let is_core = match first[5] {
            1 => first[16..18] == [4, 0],
            2 => first[16..18] == [0, 4],
            _ => false,
        };
        match first {
            _ if first.starts_with(b"\x7fELF") && is_core => Some(Self::ElfCore),
            _ if first.starts_with(b"KDUMP   ") || first.starts_with(b"makedumpfile") => {
                Some(Self::Kdump)
            }
            _ if first.starts_with(STREAM) => Some(Self::MigrationStream),
            _ if first.starts_with(b"LibvirtQemudSave")
                || first.starts_with(b"LibvirtQemudPart") =>
            {
                Some(Self::LibvirtSave)
            }
            _ if first.starts_with(b"QFI\xfb") => Some(Self::Qcow2),
            _ => None,
        }
    }
}

/// What it is, and what would be an image.
impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ElfCore => {
                "an ELF core, not a memory image; QEMU's pmemsave writes an image, a core's segments can \
                 be copied out with objcopy"
            }
            Self::Kdump => {
                "a kdump core, not a memory image; QEMU's pmemsave writes an image, without compression"
            }
            Self::MigrationStream => {
                "a QEMU migration stream, not a memory image; QEMU's pmemsave writes an image"
            }
            Self::LibvirtSave => {
                "a guest that libvirt saved, not a memory image; QEMU's pmemsave writes an image"
            }
            Self::Qcow2 => {
                "a qcow2 disk image, not a memory image; QEMU's pmemsave writes the memory of a guest, \
                 qemu-img convert -O raw a disk"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(begins: &[u8]) -> Option<FileKind> {
        let mut file = begins.to_vec();
        file.resize(4096, 0);
        FileKind::of(&file).unwrap()
    }

    #[test]
    fn files_that_hold_a_memory_are_told_from_images() {
        let elf = |order: u8, kind: [u8; 2]| {
            let mut head = b"\x7fELF\x02\x00\x01\0\0\0\0\0\0\0\0\0".to_vec();
            head[5] = order;
            head.extend(kind);
            head
        };
        assert_eq!(kind(&elf(1, [4, 0])), Some(FileKind::ElfCore));
        assert_eq!(kind(&elf(2, [0, 4])), Some(FileKind::ElfCore));
        assert_eq!(kind(b"KDUMP   \x06\0\0\0"), Some(FileKind::Kdump));
        assert_eq!(kind(b"QEVM\0\0\0\x03"), Some(FileKind::MigrationStream));
        assert_eq!(kind(b"LibvirtQemudSave\x02"), Some(FileKind::LibvirtSave));
        assert_eq!(kind(b"QFI\xfb\0\0\0\x03"), Some(FileKind::Qcow2));
    }

    /// A memory may begin with a program, or with anything else.
    #[test]
    fn a_memory_is_none_of_them() {
        let mut program = b"\x7fELF\x02\x01\x01".to_vec();
        program.resize(16, 0);
        program.extend([2, 0]);
        for begins in [&program[..], b"", b"\xeb\x63\x90", b"QEV", b"KDUMP"] {
            assert_eq!(kind(begins), None, "{begins:?}");
        }
        assert_eq!(FileKind::of(&b"QEVM".to_vec()).unwrap(), None, "too short to be one");
    }
}
