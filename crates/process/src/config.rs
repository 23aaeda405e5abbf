//! What kind of guest to make.

use memtwin_pages::Gpa;
use memtwin_stressor::Stressor;
use std::fs::File;

/// Where the window lies: the reference setup's address, by convention, as a process has none of its own.
pub const WINDOW_GPA: Gpa = Gpa(0x2000_0000);

/// The window's name, the reference setup's too.
pub const WINDOW_NAME: &str = "aeshmem";

/// What kind of guest to make.
#[derive(Debug)]
pub struct Config {
    /// The file behind the window, already as long as the window: a memfd, or on tmpfs or
    /// hugetlbfs. An unnamed one if there is none.
    pub file: Option<File>,
    /// The window's size in bytes.
    pub bytes: u64,
    /// How many threads, each with a stressor of its own.
    pub threads: usize,
    /// What the threads do.
    pub stressor: Stressor,
    /// Where their random numbers begin.
    pub seed: u64,
}
