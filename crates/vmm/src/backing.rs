//! What the window's memory is: the host maps each kind in its own way, and logs it in its own.

use crate::{GuestStartError, huge};
use memtwin_mapping::{Mapping, MappingAdvice, host_page_size};
use rustix::fs::MemfdFlags;
use std::fmt;
use std::fs::File;
use std::os::fd::AsFd;
use std::str::FromStr;
use std::sync::Arc;

/// What the window's memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Backing {
    /// A shared memory file.
    Shm,
    /// Private anonymous memory in base pages.
    Anon,
    /// Private anonymous memory in transparent huge pages.
    Thp,
    /// Memory from the hugetlb pool.
    Hugetlb,
}

impl Backing {
    /// Every backing.
    pub const ALL: [Self; 4] = [Self::Shm, Self::Anon, Self::Thp, Self::Hugetlb];

    /// Its name, as on the command line and in case names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shm => "shm",
            Self::Anon => "anon",
            Self::Thp => "thp",
            Self::Hugetlb => "hugetlb",
        }
    }

    /// The pages that it is made of, in bytes: a window is a whole number of them.
    pub fn unit(self) -> u64 {
        let base = host_page_size() as u64;
        match self {
            Self::Shm | Self::Anon => base,
            Self::Thp => huge::thp_size().unwrap_or(base),
            Self::Hugetlb => huge::hugetlb_pool().map_or(base, |(size, _)| size),
        }
    }
}

impl fmt::Display for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that no backing has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown backing '{0}': expected shm, anon, thp or hugetlb")]
pub struct UnknownBacking(String);

impl FromStr for Backing {
    type Err = UnknownBacking;

    fn from_str(name: &str) -> Result<Self, UnknownBacking> {
        Self::ALL
            .into_iter()
            .find(|backing| backing.name() == name)
            .ok_or_else(|| UnknownBacking(name.to_owned()))
    }
}

/// The window's memory: shared with the guest, and kept alive by whoever holds it.
#[derive(Clone, Debug)]
pub struct BackingMemory {
    mapping: Arc<Mapping>,
}

impl BackingMemory {
    /// Makes `bytes` bytes of such memory; `file` is what [`Backing::Shm`] maps, an unnamed one
    /// if there is none.
    ///
    /// Errors with [`GuestStartError::NoBacking`] where this host can't give it now.
    pub(crate) fn new(
        backing: Backing,
        bytes: u64,
        file: Option<File>,
    ) -> Result<Self, GuestStartError> {
        let refuse = |reason: String| GuestStartError::NoBacking { backing, reason };
        let unit = backing.unit();
        if !bytes.is_multiple_of(unit) {
            return Err(refuse(format!(
                "{bytes} bytes, expected a multiple of its page of {unit}"
            )));
        }
        let len = usize::try_from(bytes)
            .map_err(|_| refuse(format!("{bytes} bytes are more than this host can address")))?;
        let mapping = match backing {
            Backing::Shm => shared(file, len).map_err(refuse)?,
            Backing::Anon => {
                let mapping = Mapping::anonymous(len, host_page_size())?;
                // Where transparent huge pages are always on, this is what tells the two apart. A
                // kernel without them has nothing to advise.
                let _ = mapping.advise(MappingAdvice::BasePages, 0, len);
                mapping
            }
            Backing::Thp => transparent(len).map_err(refuse)?,
            Backing::Hugetlb => hugetlb(len).map_err(refuse)?,
        };
        Ok(Self { mapping: Arc::new(mapping) })
    }

    /// The memory, mapped in this process.
    pub fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }
}

fn shared(file: Option<File>, len: usize) -> Result<Mapping, String> {
    let file = match file {
        Some(file) => file,
        None => memfd("memtwin-window", MemfdFlags::empty(), len)?,
    };
    Mapping::shared(file.as_fd(), len, host_page_size()).map_err(|error| error.to_string())
}

fn transparent(len: usize) -> Result<Mapping, String> {
    let size = huge::thp_offered()?;
    // The window, its twin, and the copy of a round. Without this a host whose huge pages are as
    // large as its memory would kill us.
    let need = 3 * len as u64;
    if huge::available().is_some_and(|available| available < need) {
        return Err(format!(
            "huge pages of {} MiB: such a window and its twin need {} MiB, more than is available",
            size >> 20,
            need >> 20
        ));
    }
    let align = usize::try_from(size).map_err(|_| "a huge page larger than memory".to_owned())?;
    let mapping = Mapping::anonymous(len, align).map_err(|error| error.to_string())?;
    mapping.advise(MappingAdvice::HugePages, 0, len).map_err(|error| error.to_string())?;
    mapping.advise(MappingAdvice::PopulateWrite, 0, len).map_err(|error| error.to_string())?;
    // Advice is not a promise, and a pass on base pages would be a pass that was not earned.
    match huge::thp_bytes_at(mapping.address()) {
        0 => Err("the kernel gave no transparent huge page (memory too fragmented?)".to_owned()),
        _ => Ok(mapping),
    }
}

fn hugetlb(len: usize) -> Result<Mapping, String> {
    let (size, free) = huge::hugetlb_pool().ok_or("this kernel has no hugetlb pages")?;
    let need = (len as u64).div_ceil(size);
    if free < need {
        return Err(format!(
            "{need} pages of {} KiB needed, {free} free in the pool; echo {need} > /proc/sys/vm/nr_hugepages as root",
            size / 1024
        ));
    }
    let file = memfd("memtwin-hugetlb", MemfdFlags::HUGETLB, len)?;
    let align = usize::try_from(size).map_err(|_| "a huge page larger than memory".to_owned())?;
    Mapping::shared(file.as_fd(), len, align).map_err(|error| error.to_string())
}

fn memfd(name: &str, flags: MemfdFlags, len: usize) -> Result<File, String> {
    let file = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | flags)
        .map_err(|errno| format!("memfd_create: {errno}"))?;
    let file = File::from(file);
    file.set_len(len as u64).map_err(|errno| format!("{len} bytes of shared memory: {errno}"))?;
    Ok(file)
}
