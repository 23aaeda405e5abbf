//! The table of marks. Offsets in bytes, from the device's first byte or back from its end.

/// A mark, and where it may stand.
pub(super) struct SignatureMark {
    pub(super) what: &'static str,
    pub(super) bytes: &'static [u8],
    pub(super) at: &'static [u64],
}

const fn mark(what: &'static str, bytes: &'static [u8], at: &'static [u64]) -> SignatureMark {
    SignatureMark { what, bytes, at }
}

pub(super) const MD: [u8; 4] = [0xfc, 0x4e, 0x2b, 0xa9];
pub(super) const MD_BIG_ENDIAN: [u8; 4] = [0xa9, 0x2b, 0x4e, 0xfc];

const SWAP: &str = "swap space";
/// Ten bytes before the end of a page of 4, 8, 16, 32 or 64 KiB.
const SWAP_AT: &[u64] = &[0xff6, 0x1ff6, 0x3ff6, 0x7ff6, 0xfff6];

/// Of what begins at the device's first byte.
pub(super) const FROM_START: &[SignatureMark] = &[
    mark("an XFS file system", b"XFSB", &[0]),
    mark("a Btrfs file system", b"_BHRfS_M", &[0x1_0040]),
    mark("an F2FS file system", &[0x10, 0x20, 0xf5, 0xf2], &[0x400]),
    mark("an EROFS file system", &[0xe2, 0xe1, 0xf5, 0xe0], &[0x400]),
    mark("an NTFS file system", b"NTFS    ", &[3]),
    mark("an exFAT file system", b"EXFAT   ", &[3]),
    mark("a FAT file system", b"FAT12   ", &[0x36]),
    mark("a FAT file system", b"FAT16   ", &[0x36]),
    mark("a FAT file system", b"FAT32   ", &[0x52]),
    mark("a BitLocker volume", b"-FVE-FS-", &[3]),
    mark("an APFS container", b"NXSB", &[32]),
    mark("an ISO 9660 file system", b"CD001", &[0x8001]),
    mark("a UDF file system", b"BEA01", &[0x8001]),
    mark("a UDF file system", b"NSR02", &[0x8001, 0x8801, 0x9001]),
    mark("a UDF file system", b"NSR03", &[0x8001, 0x8801, 0x9001]),
    mark("a SquashFS file system", b"hsqs", &[0]),
    mark("a SquashFS file system", b"sqsh", &[0]),
    mark("a cramfs file system", &[0x45, 0x3d, 0xcd, 0x28], &[0]),
    mark("a romfs file system", b"-rom1fs-", &[0]),
    mark("a zonefs file system", b"SFOZ", &[0]),
    mark("a ReiserFS file system", b"ReIsErFs", &[0x1_0034, 0x2034]),
    mark("a ReiserFS file system", b"ReIsEr2Fs", &[0x1_0034, 0x2034]),
    mark("a ReiserFS file system", b"ReIsEr3Fs", &[0x1_0034, 0x2034]),
    mark("a Reiser4 file system", b"ReIsEr4", &[0x1_0000]),
    mark("a JFS file system", b"JFS1", &[0x8000]),
    mark("an OCFS2 file system", b"OCFSV2", &[0x400, 0x800, 0x1000, 0x2000]),
    mark("a GFS2 file system", &[0x01, 0x16, 0x19, 0x70], &[0x1_0000]),
    mark("a UFS file system", &[0x54, 0x19, 0x01, 0x00], &[0x255c, 0x1_055c, 0x4_055c]),
    mark("a UFS file system", &[0x19, 0x54, 0x01, 0x19], &[0x255c, 0x1_055c]),
    mark("a UFS file system", &[0x19, 0x01, 0x54, 0x19], &[0x255c, 0x1_055c, 0x4_055c]),
    mark("a VxFS file system", &[0xf5, 0xfc, 0x01, 0xa5], &[0x400]),
    mark("a VMFS volume", &[0x0d, 0xd0, 0x01, 0xc0], &[0x10_0000]),
    mark("a VMFS volume", &[0x5e, 0xf1, 0xab, 0x2f], &[0x20_0000]),
    mark("a bcache device", BCACHE, &[0x1018]),
    mark("a bcachefs file system", BCACHEFS, &[0x1018]),
    mark("a LUKS volume", b"LUKS\xba\xbe", &[0]),
    mark("a LUKS volume", b"SKUL\xba\xbe", &[0x4000, 0x8000, 0x1_0000, 0x2_0000, 0x4_0000]),
    mark("an LVM physical volume", b"LABELONE", &[0, 0x200, 0x400, 0x600]),
    mark("an LVM physical volume", b"HM\x01\x00", &[0]),
    mark("a Stratis device", b"!Stra0tis\x86\xff\x02^\x41rh", &[0x204, 0x1204]),
    mark("a VDO volume", b"dmvdo001", &[0]),
    mark("a Ceph BlueStore device", b"bluestore block device", &[0]),
    mark("a dm-integrity device", b"integrt\0", &[0]),
    mark("a dm-verity device", b"verity\0\0", &[0]),
    mark("a member of a RAID (md)", &MD, &[0, 0x1000]),
    mark("a member of a RAID (md)", &MD_BIG_ENDIAN, &[0, 0x1000]),
    mark("a GPT partition table", b"EFI PART", &[0x200, 0x1000]),
    mark("a BSD disk label", &[0x57, 0x45, 0x56, 0x82], &[0, 0x40, 0x80, 0x200]),
    mark("an SGI disk label", &[0x0b, 0xe5, 0xa9, 0x41], &[0]),
    mark("an Apple partition map", b"PM\0\0", &[0x200]),
    mark("an Atari or Amiga disk", b"RDSK", &[0, 0x200, 0x400, 0x600]),
    mark("a disk image (QCOW)", b"QFI\xfb", &[0]),
    mark("a disk image (VMDK)", b"KDMV", &[0]),
    mark("a disk image (VDI)", &[0x7f, 0x10, 0xda, 0xbe], &[0x40]),
    mark("a disk image (VHDX)", b"vhdxfile", &[0]),
    mark(SWAP, b"SWAPSPACE2", SWAP_AT),
    mark(SWAP, b"SWAP-SPACE", SWAP_AT),
    mark(SWAP, b"S1SUSPEND", SWAP_AT),
    mark(SWAP, b"S2SUSPEND", SWAP_AT),
    mark(SWAP, b"ULSUSPEND", SWAP_AT),
    mark(SWAP, b"LINHIB0001", SWAP_AT),
];

/// Of what ends at the device's last byte: this many bytes before it.
pub(super) const FROM_END: &[SignatureMark] = &[
    mark("a GPT partition table", b"EFI PART", &[0x200, 0x1000]),
    mark("a member of a RAID (Intel)", b"Intel Raid ISM Cfg Sig. ", &[0x400, 0x2000]),
    mark("a member of a RAID (DDF)", &[0xde, 0x11, 0xde, 0x11], &[0x200, 0x2_0200]),
    mark("a member of a RAID (DDF)", &[0x11, 0xde, 0x11, 0xde], &[0x200, 0x2_0200]),
    mark("a member of a RAID (NVIDIA)", b"NVIDIA  ", &[0x400]),
    mark("a DRBD device", &[0x83, 0x74, 0x02, 0x6b], &[0xfc4]),
    mark("a DRBD device", &[0x83, 0x74, 0x02, 0x67], &[0xfc4]),
];

const BCACHE: &[u8] = b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81";
const BCACHEFS: &[u8] = b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef";

/// What is known by a mark of two bytes and by what stands beside it. `head`: the first bytes.
pub(super) fn weak(head: &[u8]) -> Option<&'static str> {
    let u16_at = |at: usize| head.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    let u32_at =
        |at: usize| head.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let (short, long) = (|at| u16_at(at).unwrap_or(0), |at| u32_at(at).unwrap_or(u32::MAX));
    if short(0x438) == 0xef53 && long(0x44c) <= 1 && long(0x418) <= 6 {
        return Some("an ext2, ext3 or ext4 file system");
    }
    if short(0x1fe) == 0xaa55 {
        return Some("a boot sector or a partition table");
    }
    if matches!(head.get(0x400..0x404), Some([b'H', b'+', 0, 4 | 5] | [b'H', b'X', 0, 4 | 5])) {
        return Some("an HFS+ file system");
    }
    if head.get(0x400..0x402) == Some(b"BD") && (1..=3).contains(&(short(0x40e).swap_bytes())) {
        return Some("an HFS file system");
    }
    if short(0x406) == 0x3434 && long(0x400) == 2 {
        return Some("a NILFS2 file system");
    }
    let minix = [0x137f, 0x138f, 0x2468, 0x2478].contains(&short(0x410)) && short(0x40a) == 0;
    if minix && short(0x412) <= 2 {
        return Some("a Minix file system");
    }
    if short(0x1fc) == 0xbeda {
        // The words of a Sun disk label come to nothing by exclusive or.
        let sum = head
            .get(..512)?
            .chunks_exact(2)
            .fold(0, |sum, b| sum ^ u16::from_be_bytes([b[0], b[1]]));
        if sum == 0 {
            return Some("a Sun disk label");
        }
    }
    // ZFS: uberblocks of 1 KiB in the second half of the first label.
    let uberblock = |at: usize| matches!(long(at), 0x00ba_b10c) && u32_at(at + 4) == Some(0);
    let swapped = |at: usize| u32_at(at + 4).is_some_and(|magic| magic == 0x0cb1_ba00);
    if (128..256).map(|kib| kib << 10).any(|at| uberblock(at) || swapped(at)) {
        return Some("a member of a ZFS pool");
    }
    None
}
