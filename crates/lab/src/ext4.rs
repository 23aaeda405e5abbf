//! File systems made of folders by mke2fs(8), without root and without a mount. All in them belongs
//! to root: fakeroot(1) says so where we are not.

use crate::Progress;
use crate::command::{self, CommandError};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long one may take.
const LIMIT: Duration = Duration::from_secs(300);

/// Gives the folder `$1` to root and makes an image of it.
const SCRIPT: &str = r#"chown -hR 0:0 "$1" && shift && exec "$@""#;

/// Why there is no file system.
#[derive(Debug, thiserror::Error)]
pub enum Ext4Error {
    /// A program that makes them is missing.
    #[error("{program} is not installed; on Debian: apt install {package}")]
    Missing {
        /// The program.
        program: &'static str,
        /// Its package.
        package: &'static str,
    },
    /// It failed.
    #[error(transparent)]
    Command(#[from] CommandError),
}

/// Errors unless what makes file systems is installed.
pub(crate) fn need() -> Result<PathBuf, Ext4Error> {
    let missing = |program, package| Ext4Error::Missing { program, package };
    if !rustix::process::geteuid().is_root() {
        find("fakeroot").ok_or_else(|| missing("fakeroot", "fakeroot"))?;
    }
    find("mke2fs").ok_or_else(|| missing("mke2fs", "e2fsprogs"))
}

/// Makes the sparse image of a folder, whose files become root's.
///
/// Errors: a program is missing, or the files do not fit.
pub(crate) fn make(
    folder: &Path,
    image: &Path,
    label: &str,
    mebibytes: u64,
    progress: &mut dyn Progress,
) -> Result<(), Ext4Error> {
    let mke2fs = need()?;
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new("sh")
    } else {
        let mut command = Command::new("fakeroot");
        command.arg("sh");
        command
    };
    command.args(["-c", SCRIPT, "sh"]).arg(folder).arg(mke2fs);
    // No journal: nobody reads the image again after a crash. Fixed numbers: same files, same image.
    let fixed = "hash_seed=6d656d74-7769-6e00-8000-000000000000,lazy_itable_init=1,root_owner=0:0";
    command.args(["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-b", "4096", "-m", "0"]);
    command.args(["-L", label, "-U", "6d656d74-7769-6e00-8000-000000000001", "-E", fixed]);
    command.env("SOURCE_DATE_EPOCH", "0").env("E2FSPROGS_FAKE_TIME", "1");
    command.arg("-d").arg(folder).arg(image).arg(format!("{mebibytes}M"));
    command::output(&mut command, LIMIT, progress)?;
    Ok(())
}

/// A program, where a shell or root's shell would find it.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Silent;
    use std::fs;

    #[test]
    fn the_same_files_give_the_same_image_and_too_many_none() {
        if need().is_err() {
            assert!(std::env::var_os("CI").is_none(), "CI must have mke2fs and fakeroot");
            println!("skipped: {}", need().unwrap_err());
            return;
        }
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("folder");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("file"), vec![7; 100_000]).unwrap();
        let image = |name: &str| {
            let image = place.path().join(name);
            make(&folder, &image, "test", 4, &mut Silent).map(|()| fs::read(image).unwrap())
        };
        assert_eq!(image("one").unwrap().len(), 4 << 20);
        fs::write(folder.join("large"), vec![7; 8 << 20]).unwrap();
        let error = image("two").unwrap_err().to_string();
        assert!(error.contains("mke2fs"), "{error}");
    }
}
