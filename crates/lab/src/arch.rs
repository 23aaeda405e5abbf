//! The architectures of guests, and what each is called by whom.

use std::fmt;
use std::str::FromStr;

/// An architecture that guests have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arch {
    /// ARMv8 and later, 64 bits.
    Aarch64,
    /// x86-64.
    X86_64,
}

impl Arch {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Aarch64, Self::X86_64];

    /// This machine's.
    pub fn host() -> Self {
        if std::env::consts::ARCH == "aarch64" { Self::Aarch64 } else { Self::X86_64 }
    }

    /// Its name for Rust, Linux and QEMU.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64",
            Self::X86_64 => "x86_64",
        }
    }

    /// Its name for Debian.
    pub fn debian(self) -> &'static str {
        match self {
            Self::Aarch64 => "arm64",
            Self::X86_64 => "amd64",
        }
    }

    /// Rust's target with the GNU C library.
    pub fn gnu(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64-unknown-linux-gnu",
            Self::X86_64 => "x86_64-unknown-linux-gnu",
        }
    }

    /// Rust's target with musl.
    pub fn musl(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64-unknown-linux-musl",
            Self::X86_64 => "x86_64-unknown-linux-musl",
        }
    }

    /// The C compiler for it, as Debian and its kin name it on a machine of another architecture.
    pub fn gcc(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64-linux-gnu-gcc",
            Self::X86_64 => "x86_64-linux-gnu-gcc",
        }
    }

    /// Debian's packages of that compiler and of its C library.
    pub fn gcc_packages(self) -> [&'static str; 2] {
        match self {
            Self::Aarch64 => ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
            Self::X86_64 => ["gcc-x86-64-linux-gnu", "libc6-dev-amd64-cross"],
        }
    }

    /// Debian's packages of a Rust toolchain that builds for it.
    pub fn rust_packages(self) -> [&'static str; 2] {
        match self {
            Self::Aarch64 => ["rustc-web", "libstd-rust-web-dev:arm64"],
            Self::X86_64 => ["rustc-web", "libstd-rust-web-dev:amd64"],
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name of no architecture that guests have.
#[derive(Debug, thiserror::Error)]
#[error("'{0}': expected aarch64 or x86_64")]
pub struct UnknownArch(String);

impl FromStr for Arch {
    type Err = UnknownArch;

    fn from_str(text: &str) -> Result<Self, UnknownArch> {
        let known = Self::ALL.into_iter().find(|arch| text == arch.name() || text == arch.debian());
        known.ok_or_else(|| UnknownArch(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_are_understood() {
        for arch in Arch::ALL {
            assert_eq!(arch.to_string().parse::<Arch>().unwrap(), arch);
            assert_eq!(arch.debian().parse::<Arch>().unwrap(), arch);
        }
        let error = "sparc".parse::<Arch>().unwrap_err().to_string();
        assert_eq!(error, "'sparc': expected aarch64 or x86_64");
    }
}
