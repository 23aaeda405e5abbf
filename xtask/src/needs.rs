//! What the tests need of this machine: found, installed, or listed for a person to install.

use crate::cross::{self, CrossToolchain};
use crate::hugetlb::{self, Reserved};
use crate::interrupt::Interrupt;
use crate::packages::{self, Rights};
use crate::programs;
use crate::promtool;
use crate::releases;
use crate::workspace::{cargo, has_subcommand, said};
use anyhow::{Context, bail};
use memtwin_lab::qemu_release::QemuRelease;
use memtwin_lab::rustc::{self, minor};
use std::fs::OpenOptions;
use std::process::Command;

/// What the tests need, at hand.
pub(crate) struct Ready {
    /// The toolchain for the other architecture.
    pub(crate) cross: CrossToolchain,
    /// Whether `cargo nextest` is there.
    pub(crate) nextest: bool,
    /// Held for the time of the tests.
    _hugetlb: Option<Reserved>,
}

/// Finds what is needed and installs what is missing.
///
/// Errors: something is missing that can't be installed from here; the message lists it all.
pub(crate) fn meet(interrupt: &Interrupt) -> anyhow::Result<Ready> {
    let rights = Rights::ours();
    let other = cross::other();
    let mut missing = components();

    let installs = rights != Rights::None && packages::has_apt();
    if installs
        && !programs::missing().is_empty()
        && let Err(error) = programs::install(rights, interrupt)
    {
        eprintln!("{error:#}");
    }
    missing.extend(programs::missing().iter().map(ToString::to_string));
    if installs
        && other.toolchain().is_none()
        && let Err(error) = other.install(rights, interrupt)
    {
        eprintln!("{error:#}");
    }
    let cross = other.toolchain();
    if cross.is_none() {
        missing.extend(other.missing());
    }

    // What tests do without elsewhere, and say so, they must have in CI: nothing is skipped there.
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    if let Err(error) = open_kvm() {
        if ci {
            missing.push(format!("/dev/kvm, which CI must have: {error:#}"));
        } else {
            eprintln!("kvm: {error:#}: tests of the kvm source are skipped");
        }
    }
    let hugetlb = hugetlb::reserve(rights).unwrap_or_else(|error| {
        if ci {
            missing.push(format!("hugetlb pages, which CI must have: {error:#}"));
        } else {
            eprintln!("hugetlb: {error:#}: tests of the hugetlb backing are skipped");
        }
        None
    });

    if let Err(error) = promtool::fetch(interrupt) {
        if ci {
            missing.push(format!("{error:#}; CI must have it"));
        } else {
            eprintln!("{error:#}: tests that need it are skipped");
        }
    }

    for release in QemuRelease::ALL {
        if let Err(error) = releases::fetch(release, interrupt) {
            if ci {
                missing.push(format!("{error:#}; CI must have it"));
            } else {
                eprintln!("{error:#}: tests of QEMU {release} are skipped");
            }
        }
    }

    let (Some(cross), true) = (cross, missing.is_empty()) else {
        bail!(
            "the tests need what is missing here ({}):\n  - {}",
            packages::system(),
            missing.join("\n  - ")
        );
    };
    let nextest = has_subcommand("nextest");
    if !nextest {
        eprintln!("cargo-nextest: not here; cargo test does its work");
    }
    Ok(Ready { cross, nextest, _hugetlb: hugetlb })
}

/// The toolchain's own parts that are missing.
fn components() -> Vec<String> {
    let there = [("fmt", has_subcommand("fmt")), ("clippy", has_our_clippy())];
    let missing = there.into_iter().filter(|&(_, there)| !there);
    missing
        .map(|(name, _)| {
            let component = if name == "fmt" { "rustfmt" } else { name };
            format!(
                "cargo {name}: rustup component add {component}, or the package of it that belongs to this toolchain"
            )
        })
        .collect()
}

/// Whether `cargo clippy` is there and of this toolchain: one of another, like Debian's beside a
/// rustc from elsewhere, can't read what this one's rustc has built.
fn has_our_clippy() -> bool {
    let version = |name| said(&mut cargo(&[name, "--version"]));
    // Clippy 0.1.95 belongs to Rust 1.95.
    let clippy = version("clippy").and_then(|said| minor(said.strip_prefix("clippy 0.")?));
    let rustc = said(Command::new(rustc::active()).arg("--version"))
        .and_then(|said| minor(said.strip_prefix("rustc ")?));
    clippy.is_some() && clippy == rustc
}

fn open_kvm() -> anyhow::Result<()> {
    let kvm = "/dev/kvm";
    OpenOptions::new().read(true).write(true).open(kvm).map(|_| ()).context(kvm)
}
