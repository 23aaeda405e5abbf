//! Debian's kernels, and one built from Debian's source.

pub mod own;

use crate::apt::{Apt, AptError, Package};
use crate::command::CommandError;
use crate::{Arch, CacheError, Progress};
use std::fs;
use std::path::{Path, PathBuf};

/// Which of Debian's kernels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// The general one.
    #[default]
    Standard,
    /// The smaller one for virtual machines. It lacks many drivers.
    Cloud,
    /// With pages of 16 KiB; aarch64 only.
    Pages16K,
    /// With pages of 64 KiB; aarch64 only. Debian has none: [`own`] builds it.
    Pages64K,
}

/// Why there is no kernel.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// Debian makes none.
    #[error("no {arch} kernel has pages of {pages}")]
    NoFlavour {
        /// The architecture.
        arch: Arch,
        /// The pages.
        pages: &'static str,
    },
    /// It is not in the cache.
    #[error(
        "no kernel {version} with pages of 64 KiB has been built: memtwin lab build --kernel 64k does, in some minutes"
    )]
    NotBuilt {
        /// Of which source.
        version: String,
    },
    /// What builds a kernel is not all there.
    #[error("to build a kernel, install first: {packages}")]
    NoTools {
        /// Debian's packages of it.
        packages: String,
    },
    /// The source has no such thing, or not with the rest.
    #[error("the kernel's source does not take {line} over")]
    Refused {
        /// The line of our configuration.
        line: String,
    },
    /// Another program builds already.
    #[error("{}: another program builds a kernel there; wait for it", folder.display())]
    Busy {
        /// Where.
        folder: PathBuf,
    },
    /// A command failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A file can't be read or written.
    #[error(transparent)]
    File(#[from] CacheError),
    /// The packages can't be obtained.
    #[error(transparent)]
    Apt(#[from] AptError),
    /// A package is not made as we know it.
    #[error("{}: expected {expected} in this kernel package", folder.display())]
    Odd {
        /// The unpacked package.
        folder: PathBuf,
        /// What is not there.
        expected: &'static str,
    },
}

impl Flavour {
    /// The package that depends on the current version.
    fn metapackage(self, arch: Arch) -> Result<&'static str, KernelError> {
        match (self, arch) {
            (Self::Standard, Arch::Aarch64) => Ok("linux-image-arm64"),
            (Self::Standard, Arch::X86_64) => Ok("linux-image-amd64"),
            (Self::Cloud, Arch::Aarch64) => Ok("linux-image-cloud-arm64"),
            (Self::Cloud, Arch::X86_64) => Ok("linux-image-cloud-amd64"),
            (Self::Pages16K, Arch::Aarch64) => Ok("linux-image-arm64-16k"),
            (Self::Pages64K, Arch::Aarch64) => Ok("linux-source"),
            (Self::Pages16K, Arch::X86_64) => Err(KernelError::NoFlavour { arch, pages: "16 KiB" }),
            (Self::Pages64K, Arch::X86_64) => Err(KernelError::NoFlavour { arch, pages: "64 KiB" }),
        }
    }

    /// What a kernel of this flavour wants on its command line.
    pub fn command_line(self) -> &'static str {
        if self == Self::Pages64K { own::COMMAND_LINE } else { "" }
    }

    /// The package of the current version; of [`Flavour::Pages64K`] that of its source.
    pub(crate) fn package(
        self,
        arch: Arch,
        apt: &Apt,
        progress: &mut dyn Progress,
    ) -> Result<Package, KernelError> {
        let name = self.metapackage(arch)?;
        let meta = apt.resolve(&[name], progress)?.remove(0);
        let depends = apt.depends(&meta, progress)?;
        let kinds = ["linux-image-", "linux-source-"];
        let image = depends.iter().find(|name| kinds.iter().any(|kind| name.starts_with(kind)));
        let image = image.map_or(name, String::as_str);
        Ok(apt.resolve(&[image], progress)?.remove(0))
    }
}

/// An unpacked kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// What a machine boots.
    pub(crate) image: PathBuf,
    /// The folder of its modules.
    pub(crate) modules: PathBuf,
}

impl Kernel {
    /// Finds its parts in an unpacked package.
    pub(crate) fn find(package: &Path) -> Result<Self, KernelError> {
        let odd = |expected| KernelError::Odd { folder: package.to_owned(), expected };
        let starts = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"vmlinuz-"))
        };
        let image = children(&package.join("boot")).into_iter().find(starts);
        let modules = ["usr/lib/modules", "lib/modules"];
        let modules = modules.iter().find_map(|folder| children(&package.join(folder)).pop());
        Ok(Self {
            image: image.ok_or_else(|| odd("boot/vmlinuz-*"))?,
            modules: modules.ok_or_else(|| odd("lib/modules/*"))?,
        })
    }
}

/// What lies in a folder; nothing if it isn't there.
pub(crate) fn children(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_layouts_of_packages_are_known() {
        for modules in ["lib/modules/6.1.0", "usr/lib/modules/6.12.0"] {
            let package = tempfile::tempdir().unwrap();
            let missing = Kernel::find(package.path()).unwrap_err().to_string();
            assert!(missing.contains("expected boot/vmlinuz-*"), "{missing}");
            fs::create_dir_all(package.path().join(modules)).unwrap();
            fs::create_dir_all(package.path().join("boot")).unwrap();
            fs::write(package.path().join("boot/vmlinuz-6"), "").unwrap();
            let kernel = Kernel::find(package.path()).unwrap();
            assert_eq!(kernel.modules, package.path().join(modules));
            assert_eq!(kernel.image, package.path().join("boot/vmlinuz-6"));
        }
    }
}
