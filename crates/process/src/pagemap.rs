//! PAGEMAP_SCAN: which pages were written since they were protected, and protecting them again, in
//! one step. `Documentation/admin-guide/mm/pagemap.rst`, section "Pagemap Scan IOCTL".

#![allow(unsafe_code, reason = "the request's argument holds the address of its answer")]

use crate::abi::{
    PAGE_IS_WRITTEN, PAGEMAP_SCAN, PM_SCAN_CHECK_WPASYNC, PM_SCAN_WP_MATCHING, PageRegion,
    PmScanArg,
};
use crate::ioctl::ioctl;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

/// A process's pagemap.
#[derive(Debug)]
pub(crate) struct Pagemap {
    file: File,
}

/// How far a scan came.
#[derive(Debug)]
pub(crate) struct ScanResult {
    /// How many of the regions were filled in, or why the scan ended.
    pub(crate) outcome: io::Result<usize>,
    /// Where the next scan has to go on.
    pub(crate) end: u64,
}

impl Pagemap {
    /// Opens /proc/PID/pagemap: the memory that the process has at this moment, also if it should
    /// execute another program.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)? })
    }

    /// Reports the pages of `start..end` that were written, and protects them again.
    ///
    /// Ends early when `regions` is full. If it fails, the regions that the kernel had filled in
    /// by then are those whose `end` is not 0.
    pub(crate) fn take_written(
        &self,
        start: u64,
        end: u64,
        regions: &mut [PageRegion],
    ) -> ScanResult {
        regions.fill(PageRegion::default());
        let mut scan = PmScanArg {
            size: size_of::<PmScanArg>() as u64,
            flags: PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
            start,
            end,
            vec: regions.as_mut_ptr() as u64,
            vec_len: regions.len() as u64,
            category_mask: PAGE_IS_WRITTEN,
            // Nothing but WRITTEN in both masks: the kernel then counts a page that is no longer
            // in the page table, and so no longer protected, as written.
            return_mask: PAGE_IS_WRITTEN,
            ..PmScanArg::default()
        };
        // SAFETY: the request's own structure; `vec` and `vec_len` are an exclusive slice of what
        // the kernel writes there, which any bytes are valid for.
        let outcome = unsafe { ioctl(self.file.as_fd(), PAGEMAP_SCAN, &mut scan) };
        ScanResult { outcome, end: scan.walk_end }
    }

    /// Asks for nothing. Errors with ENOTTY where the kernel does not know the request.
    pub(crate) fn probe(&self) -> io::Result<()> {
        let mut scan = PmScanArg {
            size: size_of::<PmScanArg>() as u64,
            return_mask: PAGE_IS_WRITTEN,
            ..PmScanArg::default()
        };
        // SAFETY: the request's own structure, with an empty range and no room for an answer.
        unsafe { ioctl(self.file.as_fd(), PAGEMAP_SCAN, &mut scan) }.map(|_| ())
    }
}
