//! What a test with a guest needs, and where it keeps its files: removed when it has passed, kept with
//! the guest's console when it has not.

use libtest_mimic::{Failed, Trial};
use memtwin_lab::{Arch, cross};
use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

/// A test that needs a QEMU and a toolchain for each of some architectures. It is skipped, with the
/// reason, where they are missing; in CI that is a failure.
pub(crate) fn trial(name: &'static str, archs: &'static [Arch], test: fn()) -> Trial {
    let missing = archs.iter().find_map(|arch| missing(*arch));
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    let skipped = missing.is_some() && !ci;
    if skipped {
        eprintln!("{name}: skipped: {}", missing.clone().unwrap_or_default());
    }
    let run = move || match &missing {
        Some(missing) => Err(Failed::from(format!("CI must have this: {missing}"))),
        None => {
            test();
            Ok(())
        }
    };
    Trial::test(name, run).with_ignored_flag(skipped)
}

fn missing(arch: Arch) -> Option<String> {
    let qemu = format!("qemu-system-{arch}");
    let there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let program = [qemu.as_str(), "apt-get", "dpkg-deb"].into_iter().find(|name| !there(name));
    let program = program.map(|program| format!("{program} is not there"));
    program.or_else(|| cross::Toolchain::find(arch).err().map(|error| error.to_string()))
}

/// A folder of a test's own.
pub(crate) struct Place(Option<tempfile::TempDir>);

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        let prefix = format!("memtwin-lab-{name}-");
        Self(Some(tempfile::Builder::new().prefix(&prefix).tempdir().unwrap()))
    }

    /// A file of this many zeros.
    pub(crate) fn file(&self, name: &str, bytes: u64) -> PathBuf {
        let path = self.path(name);
        File::create(&path).unwrap().set_len(bytes).unwrap();
        path
    }

    /// Where the guest's console is kept.
    pub(crate) fn console(&self) -> PathBuf {
        self.path("console")
    }

    /// The test has passed.
    pub(crate) fn done(mut self) {
        drop(self.0.take());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.as_ref().unwrap().path().join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(folder) = self.0.take() {
            // RAM images are large; the console is what tells.
            let _ = std::fs::remove_file(folder.path().join("ram"));
            println!("kept: {}", folder.keep().display());
        }
    }
}
