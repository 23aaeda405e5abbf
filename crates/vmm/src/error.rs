//! Why a guest can't be made.

use crate::{Backing, Translation};
use memtwin_kvm::{LogError, Mode};
use memtwin_mapping::MapError;
use memtwin_pages::RegionError;
use memtwin_stressor::Stressor;
use std::io;

/// Why a guest can't be made.
#[derive(Debug, thiserror::Error)]
pub enum GuestStartError {
    /// /dev/kvm is missing, forbidden or not KVM.
    #[error("/dev/kvm: {reason}")]
    NoKvm {
        /// What is wrong with it, and the way out.
        reason: String,
    },
    /// This host's KVM has no such mode.
    #[error("mode {mode}: {reason}")]
    NoMode {
        /// The mode.
        mode: Mode,
        /// What is missing.
        reason: String,
    },
    /// This host can't give such memory now.
    #[error("backing {backing}: {reason}")]
    NoBacking {
        /// The backing.
        backing: Backing,
        /// What is missing, and the way out.
        reason: String,
    },
    /// This CPU, or so small a window, can't do what the stressor needs.
    #[error("stressor {stressor}: {reason}")]
    NoStressor {
        /// The stressor.
        stressor: Stressor,
        /// What is missing.
        reason: String,
    },
    /// This CPU has no such page tables.
    #[error("translation {translation}: {reason}")]
    NoTranslation {
        /// What was asked for.
        translation: Translation,
        /// What is missing.
        reason: String,
    },
    /// More vCPUs than this host's KVM has.
    #[error("{asked} vCPUs: this KVM has at most {most}")]
    TooManyVcpus {
        /// How many were asked for.
        asked: usize,
        /// How many there can be.
        most: usize,
    },
    /// The window is no region.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// Memory that can't be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
    /// A request of the dirty log that failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Another request to KVM that failed.
    #[error("{request}: {errno}")]
    Kvm {
        /// The request, by its name in the kernel.
        request: &'static str,
        /// What the kernel said.
        errno: io::Error,
    },
    /// A thread that can't be started.
    #[error("cannot start a vCPU's thread: {0}")]
    Thread(io::Error),
}

impl GuestStartError {
    /// Whether it is a lack of this host or this combination, not of the whole undertaking: such a
    /// case of a matrix is skipped, with the reason.
    pub fn is_skip(&self) -> bool {
        matches!(
            self,
            Self::NoMode { .. }
                | Self::NoBacking { .. }
                | Self::NoStressor { .. }
                | Self::NoTranslation { .. }
                | Self::TooManyVcpus { .. }
        )
    }

    /// Makes an error of a request, as kvm-ioctls reports it.
    pub(crate) fn kvm(request: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> Self {
        move |error| Self::Kvm { request, errno: io::Error::from_raw_os_error(error.errno()) }
    }
}
