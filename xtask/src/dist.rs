//! `cargo xtask dist`: builds what is installed, into target/dist (docs/install.md).

mod archive;
mod deb;
mod release;
mod sbom;
mod stage;
mod trial;

use crate::interrupt::Interrupt;
use crate::workspace::{root, said};
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use release::Release;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What to build.
#[derive(Args)]
pub(crate) struct Dist {
    /// Only these [default: all]
    #[arg(value_enum, long, value_name = "KIND")]
    only: Vec<Kind>,
    /// Where they are written
    #[arg(long, default_value = "target/dist", value_name = "DIR")]
    out: PathBuf,
    /// The profile of cargo of the Debian package
    #[arg(long, default_value = "dist", hide = true)]
    profile: String,
    /// Install the Debian package in a fresh Debian, run Memtwin there, and purge it (as root)
    #[arg(long = "try")]
    is_tried: bool,
}

/// A kind of what is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Static programs for x86-64 and aarch64, each in an archive
    Static,
    /// The Debian package of this machine's architecture
    Deb,
    /// The source
    Source,
    /// What the program is made of, as CycloneDX
    Sbom,
}

impl Dist {
    /// Builds it. Whether it passed its trial, if it was tried.
    pub(crate) fn run(&self, interrupt: &Interrupt) -> anyhow::Result<bool> {
        let out = root().join(&self.out);
        fs::create_dir_all(&out).with_context(|| format!("can't make {}", out.display()))?;
        let release = Release::of_this_tree()?;
        let wants = |kind| self.only.is_empty() || self.only.contains(&kind);
        let mut made = Vec::new();
        if wants(Kind::Source) {
            made.push(archive::source(&release, &out, interrupt)?);
        }
        if wants(Kind::Sbom) {
            made.push(sbom::write(&release, &out, interrupt)?);
        }
        if wants(Kind::Static) {
            made.extend(archive::programs(&release, &out, interrupt)?);
        }
        let mut passed = true;
        if wants(Kind::Deb) {
            let deb = deb::build(&release, &self.profile, &out, interrupt)?;
            if self.is_tried {
                passed = trial::run_trial(&deb, interrupt)?;
            }
            made.push(deb);
        }
        sums(&out, &made)?;
        for file in &made {
            let bytes = fs::metadata(file).with_context(|| format!("{}", file.display()))?.len();
            println!("{:>11} bytes  {}", bytes, crate::workspace::shown(file));
        }
        Ok(passed)
    }
}

/// Writes the sums of these files beside them.
fn sums(out: &Path, made: &[PathBuf]) -> anyhow::Result<()> {
    let names: Vec<_> = made.iter().filter_map(|file| file.file_name()).collect();
    let mut sum = Command::new("sha256sum");
    let Some(sums) = said(sum.current_dir(out).args(&names)) else { bail!("sha256sum failed") };
    Ok(fs::write(out.join("SHA256SUMS"), sums)?)
}
