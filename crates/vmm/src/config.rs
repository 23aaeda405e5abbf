//! What kind of guest to make.

use crate::{Backing, Translation};
use memtwin_kvm::Mode;
use memtwin_pages::Gpa;
use memtwin_stressor::Stressor;
use std::fs::File;

/// Where the window lies: the reference setup's address.
pub const WINDOW_GPA: Gpa = Gpa(0x2000_0000);

/// The window's name, the reference setup's too.
pub const WINDOW_NAME: &str = "aeshmem";

/// What kind of guest to make.
#[derive(Debug)]
pub struct Config {
    /// How its dirty log is asked.
    pub mode: Mode,
    /// What the window's memory is.
    pub backing: Backing,
    /// The file behind the window, for [`Backing::Shm`]: already as long as the window.
    pub file: Option<File>,
    /// The window's size in bytes.
    pub bytes: u64,
    /// How many vCPUs, each with a stressor of its own.
    pub vcpus: usize,
    /// What the vCPUs do.
    pub stressor: Stressor,
    /// How the guest's own page tables are made; `None` as is usual on this architecture.
    pub translation: Option<Translation>,
    /// Where their random numbers begin.
    pub seed: u64,
    /// For [`Mode::Ring`]: how many entries each vCPU's ring has, a power of two; more where
    /// that is less than a page of the host's.
    pub ring_entries: u32,
}
