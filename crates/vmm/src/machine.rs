//! The virtual machine: its memslots, and the switch for their dirty log.

#![allow(unsafe_code, reason = "a memslot hands the kernel an address range")]

use crate::{GuestStartError, arch};
use kvm_bindings::{KVM_API_VERSION, KVM_MEM_LOG_DIRTY_PAGES, kvm_userspace_memory_region};
use kvm_ioctls::{Cap, Kvm, VmFd};
use memtwin_kvm::{LogCapabilities, LogError};
use memtwin_mapping::{Mapping, host_page_size};
use memtwin_pages::Gpa;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

/// The slot numbers. Only the window's writes are ever logged.
const SYSTEM: u32 = 0;
const CONTROL: u32 = 1;
pub(crate) const WINDOW: u32 = 2;

/// Where the slots lie in the guest's physical memory.
pub(crate) const SYSTEM_GPA: Gpa = Gpa(0x1000_0000);
pub(crate) const CONTROL_GPA: Gpa = Gpa(0x1800_0000);

/// A memslot: where it lies, and the memory that it is.
#[derive(Debug)]
struct Memslot {
    number: u32,
    gpa: Gpa,
    mapping: Arc<Mapping>,
}

/// A machine with its memory; the vCPUs are made from it.
#[derive(Debug)]
pub(crate) struct KvmMachine {
    // Declared first, dropped first: the kernel lets go of the memory before it is unmapped.
    vm: VmFd,
    offered: LogCapabilities,
    slots: Vec<Memslot>,
}

/// The memory of a machine's three slots.
#[derive(Clone, Debug)]
pub(crate) struct Memslots {
    pub(crate) system: Arc<Mapping>,
    pub(crate) control: Arc<Mapping>,
    pub(crate) window: Arc<Mapping>,
    pub(crate) window_gpa: Gpa,
}

/// What this host's KVM offers; an error if it has none, or none for us.
pub fn probe() -> Result<LogCapabilities, GuestStartError> {
    let kvm = open()?;
    Ok(LogCapabilities::by(borrow(&kvm)))
}

fn open() -> Result<Kvm, GuestStartError> {
    let no_kvm = |reason: String| GuestStartError::NoKvm { reason };
    let kvm = Kvm::new().map_err(|error| {
        let errno = io::Error::from_raw_os_error(error.errno());
        no_kvm(match errno.kind() {
            io::ErrorKind::NotFound => arch::NO_DEVICE.to_owned(),
            io::ErrorKind::PermissionDenied => {
                "permission denied; add yourself to the group kvm (usermod -aG kvm USER)".to_owned()
            }
            _ => errno.to_string(),
        })
    })?;
    match kvm.get_api_version() {
        version if version == KVM_API_VERSION as i32 => Ok(kvm),
        version => Err(no_kvm(format!("API version {version}, expected {KVM_API_VERSION}"))),
    }
}

impl KvmMachine {
    /// A machine whose log will be asked in this mode. It has no memory yet.
    pub(crate) fn new(mode: memtwin_kvm::Mode, ring_entries: u32) -> Result<Self, GuestStartError> {
        let kvm = open()?;
        let vm = kvm.create_vm().map_err(GuestStartError::kvm("KVM_CREATE_VM"))?;
        let offered = LogCapabilities::by(borrow(&vm));
        offered.has(mode).map_err(|reason| GuestStartError::NoMode { mode, reason })?;
        offered.enable(borrow(&vm), mode, ring_entries)?;
        Ok(Self { vm, offered, slots: Vec::new() })
    }

    /// Plugs the memory in, none of it logged.
    pub(crate) fn plug(&mut self, slots: &Memslots) -> Result<(), GuestStartError> {
        for (number, gpa, mapping) in [
            (SYSTEM, SYSTEM_GPA, &slots.system),
            (CONTROL, CONTROL_GPA, &slots.control),
            (WINDOW, slots.window_gpa, &slots.window),
        ] {
            let slot = Memslot { number, gpa, mapping: Arc::clone(mapping) };
            self.set(&slot, 0)?;
            self.slots.push(slot);
        }
        Ok(())
    }

    /// Switches the window's dirty log on or off.
    pub(crate) fn log_window(&self, on: bool) -> Result<(), LogError> {
        let flags = if on { KVM_MEM_LOG_DIRTY_PAGES } else { 0 };
        self.slots
            .iter()
            .filter(|slot| slot.number == WINDOW)
            .try_for_each(|slot| self.set(slot, flags))
    }

    fn set(&self, slot: &Memslot, flags: u32) -> Result<(), LogError> {
        let region = kvm_userspace_memory_region {
            slot: slot.number,
            flags,
            guest_phys_addr: slot.gpa.0,
            memory_size: slot.mapping.len() as u64,
            userspace_addr: slot.mapping.address(),
        };
        // SAFETY: the range is a mapping that `self.slots` keeps alive as long as the machine, and
        // that is only ever accessed as memory which others write.
        unsafe { self.vm.set_user_memory_region(region) }.map_err(|error| LogError {
            request: "KVM_SET_USER_MEMORY_REGION",
            errno: io::Error::from_raw_os_error(error.errno()),
        })
    }

    /// The machine's descriptor, for requests of the dirty log.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        borrow(&self.vm)
    }

    /// The machine, to make vCPUs.
    pub(crate) fn vm(&self) -> &VmFd {
        &self.vm
    }

    /// What the machine offers for the log.
    pub(crate) fn offered(&self) -> LogCapabilities {
        self.offered
    }

    /// How many vCPUs it can have.
    pub(crate) fn most_vcpus(&self) -> usize {
        self.vm.check_extension_int(Cap::MaxVcpus).max(1) as usize
    }
}

/// Borrows what kvm-ioctls shows as a number only.
pub(crate) fn borrow(fd: &impl AsRawFd) -> BorrowedFd<'_> {
    // SAFETY: `fd` owns the descriptor, and the borrow ends before it does.
    unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) }
}

/// Memory for a slot of at least `bytes` bytes, in whole pages of the host.
pub(crate) fn slot_memory(bytes: usize) -> Result<Arc<Mapping>, GuestStartError> {
    let page = host_page_size();
    Ok(Arc::new(Mapping::anonymous(bytes.next_multiple_of(page), page)?))
}
