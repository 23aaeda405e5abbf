//! What the kernel's headers `linux/userfaultfd.h` and `linux/fs.h` say, as far as it is used.
//!
//! Written out because no crate has the newer half. Sizes are part of each request's number, so a
//! wrong one would be refused; they are checked here all the same.

/// The flag of userfaultfd(2) for page faults of user mode alone, which needs no privilege.
pub(crate) const UFFD_USER_MODE_ONLY: u32 = 1;

/// The version of the interface, to be said in UFFDIO_API.
pub(crate) const UFFD_API: u64 = 0xaa;
/// Write-protection of shared memory and hugetlb.
pub(crate) const UFFD_FEATURE_WP_HUGETLBFS_SHMEM: u64 = 1 << 12;
/// Write-protection of pages that do not exist yet.
pub(crate) const UFFD_FEATURE_WP_UNPOPULATED: u64 = 1 << 13;
/// Write faults lift the protection by themselves and tell nobody.
pub(crate) const UFFD_FEATURE_WP_ASYNC: u64 = 1 << 15;
/// Register for write-protection.
pub(crate) const UFFDIO_REGISTER_MODE_WP: u64 = 1 << 1;
/// Protect (without the flag: lift the protection).
pub(crate) const UFFDIO_WRITEPROTECT_MODE_WP: u64 = 1 << 0;

/// Protect what is reported.
pub(crate) const PM_SCAN_WP_MATCHING: u64 = 1 << 0;
/// Fail on memory that is not registered for asynchronous write-protection.
pub(crate) const PM_SCAN_CHECK_WPASYNC: u64 = 1 << 1;
/// The page was written since it was protected.
pub(crate) const PAGE_IS_WRITTEN: u64 = 1 << 1;

/// `struct uffdio_api`.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct UffdioApi {
    pub(crate) api: u64,
    pub(crate) features: u64,
    pub(crate) ioctls: u64,
}

/// `struct uffdio_range`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UffdioRange {
    pub(crate) start: u64,
    pub(crate) len: u64,
}

/// `struct uffdio_register`.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct UffdioRegister {
    pub(crate) range: UffdioRange,
    pub(crate) mode: u64,
    pub(crate) ioctls: u64,
}

/// `struct uffdio_writeprotect`.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct UffdioWriteprotect {
    pub(crate) range: UffdioRange,
    pub(crate) mode: u64,
}

/// `struct page_region`: neighbouring pages of the same categories.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PageRegion {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) categories: u64,
}

/// `struct pm_scan_arg`.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct PmScanArg {
    pub(crate) size: u64,
    pub(crate) flags: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) walk_end: u64,
    pub(crate) vec: u64,
    pub(crate) vec_len: u64,
    pub(crate) max_pages: u64,
    pub(crate) category_inverted: u64,
    pub(crate) category_mask: u64,
    pub(crate) category_anyof_mask: u64,
    pub(crate) return_mask: u64,
}

const READ: u32 = 2;
const WRITE: u32 = 1;

/// A request's number, as the macros of `asm-generic/ioctl.h` make it: the same on both
/// architectures.
const fn request<A>(direction: u32, group: u8, number: u8) -> u32 {
    direction << 30 | (size_of::<A>() as u32) << 16 | (group as u32) << 8 | number as u32
}

pub(crate) const UFFDIO_API: u32 = request::<UffdioApi>(READ | WRITE, 0xaa, 0x3f);
pub(crate) const UFFDIO_REGISTER: u32 = request::<UffdioRegister>(READ | WRITE, 0xaa, 0x00);
pub(crate) const UFFDIO_UNREGISTER: u32 = request::<UffdioRange>(READ, 0xaa, 0x01);
pub(crate) const UFFDIO_WRITEPROTECT: u32 = request::<UffdioWriteprotect>(READ | WRITE, 0xaa, 0x06);
pub(crate) const PAGEMAP_SCAN: u32 = request::<PmScanArg>(READ | WRITE, b'f', 16);

const _: () = {
    assert!(UFFDIO_API == 0xc018_aa3f);
    assert!(UFFDIO_REGISTER == 0xc020_aa00);
    assert!(UFFDIO_UNREGISTER == 0x8010_aa01);
    assert!(UFFDIO_WRITEPROTECT == 0xc018_aa06);
    assert!(PAGEMAP_SCAN == 0xc060_6610);
    assert!(size_of::<PageRegion>() == 24);
};
