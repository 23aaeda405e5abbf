//! Guests to experiment on. Nothing here needs root.
//!
//! - [`cross`] builds the guest programs, and Memtwin itself, for a guest's architecture;
//! - [`Cache`] keeps what is expensive, and hands out nothing that is half done;
//! - [`apt`] fetches Debian packages of any architecture and suite, verified by apt;
//! - [`image`] makes a kernel and an initramfs of them: the same inputs give the same bytes;
//! - [`disk`] makes a disk image with a root file system, and judges what a guest has left on one;
//! - [`host`] is a machine on which things are run: this one, or another by ssh;
//! - [`Machine`] is a running guest that takes orders over its console;
//! - [`aeshmem`] is the guest of the reference setup's replicated device memory;
//! - [`traffic`] is a guest whose devices write its RAM;
//! - [`board`] is an emulated ARMv8 board with a /dev/kvm of its own, and [`remote_runner`] runs our commands
//!   there, or on any other host; [`peer`] is the kernel's own test of the dirty log, to run there beside ours;
//! - [`root`] makes what boards with networks boot, [`boards`] is a lab of them, and [`running_lab`] finds one
//!   that another process holds;
//! - [`qemu_release`] has QEMUs of several Debian releases, each with the libraries that it was built for.
//!
//! [`provision`] is what all of them need before anything boots.
//!
//! `docs/guest.md` describes the guest's side.

#![forbid(unsafe_code)]

pub mod aeshmem;
pub mod apt;
mod arch;
mod archive;
pub mod board;
pub mod boards;
mod cache;
mod command;
pub mod cross;
pub mod disk;
mod ext4;
pub mod host;
pub mod image;
mod in_parallel;
pub mod kernel;
mod machine;
mod modules;
pub mod peer;
pub mod pieces;
mod progress;
pub mod provision;
pub mod qemu_release;
pub mod remote_runner;
pub mod root;
mod run_folder;
pub mod running_lab;
pub mod rustc;
pub mod sources;
pub mod traffic;

pub use arch::Arch;
pub use cache::{Cache, CacheError};
pub use command::CommandError;
pub use ext4::Ext4Error;
pub use in_parallel::in_parallel;
pub use kernel::{Flavour, KernelError};
pub use machine::{Machine, MachineError, Reply};
pub use modules::ModuleError;
pub use progress::{Progress, Silent};
pub use run_folder::{RunFolder, RunFolderError};
