//! A disk image with a root file system, as the reference setup has it: an empty file, a file
//! system on it, and the contents copied there. It mounted the image for that, which takes root and a
//! loop device; here mke2fs(8) fills it (`-d`) and debugfs(8) gives all to root, both without a mount.
//!
//! The guest boots by a kernel and an initramfs of [`crate::image`] with `memtwin.root=/dev/vda`, and takes
//! the same orders as one without a disk (`docs/guest.md`). What a guest has left is judged on a copy:
//! [`Filesystem`].

use crate::apt::Apt;
use crate::command;
use crate::image::{INIT, ImageError};
use crate::{Arch, Cache, CacheError, CommandError, Progress};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long a tool may take.
const LIMIT: Duration = Duration::from_secs(300);
/// The folders that a root has, empty ones.
const FOLDERS: [&str; 8] = ["dev", "proc", "sys", "run", "tmp", "etc", "mnt", "data"];

/// Why there is no disk image, or why it is not sound.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// What it is filled with can't be obtained.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A file can't be read or written.
    #[error(transparent)]
    File(#[from] CacheError),
    /// A tool of e2fsprogs failed, or is not there.
    #[error("{0}; mke2fs, e2fsck and debugfs are in the package e2fsprogs")]
    Tool(#[from] CommandError),
    /// The file system is of a kind that these tools don't make.
    #[error("{kind}: expected ext2, ext3 or ext4")]
    Kind {
        /// What was asked for.
        kind: String,
    },
    /// A file that should be in it is not.
    #[error("{}: no file {path} in it", image.display())]
    Missing {
        /// The image.
        image: PathBuf,
        /// The file.
        path: String,
    },
}

/// What a disk image is made of.
#[derive(Clone, Debug)]
pub struct DiskSpec<'a> {
    /// The guest's architecture.
    pub arch: Arch,
    /// Debian's suite, of which busybox is.
    pub suite: &'a str,
    /// ext2, ext3 or ext4.
    pub fstype: &'a str,
    /// The image's size in bytes.
    pub bytes: u64,
    /// Programs, static ones: each lies in /bin, under its file's name.
    pub programs: &'a [PathBuf],
    /// A folder of the host whose contents go on top of it all.
    pub contents: Option<&'a Path>,
}

impl DiskSpec<'_> {
    /// Makes the image at `path`, whole or not at all; what stands there is replaced.
    ///
    /// Errors: busybox can't be obtained; the contents can't be read, or don't fit; a tool is missing.
    pub fn build(
        &self,
        cache: &Cache,
        path: &Path,
        progress: &mut dyn Progress,
    ) -> Result<(), DiskError> {
        if !["ext2", "ext3", "ext4"].contains(&self.fstype) {
            return Err(DiskError::Kind { kind: self.fstype.to_owned() });
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let made = tempfile::Builder::new().prefix(".memtwin-disk-").tempdir_in(folder);
        let made = made.map_err(CacheError::at(folder))?;
        let root = made.path().join("root");
        self.fill(cache, &root, progress)?;
        let image = made.path().join("image");
        File::create(&image)
            .and_then(|file| file.set_len(self.bytes))
            .map_err(CacheError::at(&image))?;

        progress.say(&format!("{} on {} ({} MiB)", self.fstype, path.display(), self.bytes >> 20));
        let mut mke2fs = tool("mke2fs");
        mke2fs.args(["-q", "-F", "-t", self.fstype, "-L", "memtwin", "-m", "0"]);
        mke2fs.args(["-E", "root_owner=0:0,lazy_itable_init=0", "-d"]).arg(&root).arg(&image);
        command::run(&mut mke2fs, LIMIT, &mut Hushed(progress))?;
        // It copies the owner, who is whoever runs this.
        let script = made.path().join("owner");
        let lines: String = below(&root, "")?
            .iter()
            .flat_map(|path| ["uid", "gid"].map(|field| format!("sif \"{path}\" {field} 0\n")))
            .collect();
        fs::write(&script, lines).map_err(CacheError::at(&script))?;
        let mut debugfs = tool("debugfs");
        debugfs.arg("-w").arg("-f").arg(&script).arg(&image);
        command::run(&mut debugfs, LIMIT, &mut Hushed(progress))?;
        Filesystem(&image).check(progress)?;
        fs::rename(&image, path).map_err(CacheError::at(path))?;
        Ok(())
    }

    /// Puts together what goes into it.
    fn fill(
        &self,
        cache: &Cache,
        root: &Path,
        progress: &mut dyn Progress,
    ) -> Result<(), DiskError> {
        let apt = Apt::open(cache, self.arch, self.suite, progress).map_err(ImageError::from)?;
        let package = apt.resolve(&["busybox-static"], progress).map_err(ImageError::from)?;
        let busybox = apt.unpacked(&package[0], progress).map_err(ImageError::from)?;
        for folder in FOLDERS.iter().chain(&["bin"]) {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).map_err(CacheError::at(&folder))?;
        }
        let places = [busybox.join("usr/bin/busybox"), busybox.join("bin/busybox")];
        let place = places.iter().find(|path| path.exists()).unwrap_or(&places[0]);
        copy(place, &root.join("bin/busybox"))?;
        for program in self.programs {
            let name =
                program.file_name().ok_or_else(|| ImageError::NoName { path: program.clone() })?;
            copy(program, &root.join("bin").join(name))?;
        }
        let init = root.join("init");
        fs::write(&init, INIT).map_err(CacheError::at(&init))?;
        executable(&init)?;
        if let Some(contents) = self.contents {
            let mut cp = Command::new("cp");
            cp.args(["-dR", "--preserve=mode,timestamps"]).arg(contents.join(".")).arg(root);
            command::run(&mut cp, LIMIT, progress)?;
        }
        Ok(())
    }
}

/// A file system in a file, which nobody else uses: a copy.
#[derive(Clone, Copy, Debug)]
pub struct Filesystem<'f>(pub &'f Path);

impl Filesystem<'_> {
    /// Does what the next mount would do first: carries out what the journal has. Writes to the file.
    ///
    /// Errors: it can't be done.
    pub fn replay(&self, progress: &mut dyn Progress) -> Result<(), DiskError> {
        let mut e2fsck = tool("e2fsck");
        e2fsck.args(["-y", "-E", "journal_only"]).arg(self.0);
        Ok(command::run(&mut e2fsck, LIMIT, &mut Hushed(progress))?)
    }

    /// Checks all of it, and changes nothing (`e2fsck -fn`).
    ///
    /// Errors: it is not consistent, with what e2fsck said.
    pub fn check(&self, progress: &mut dyn Progress) -> Result<(), DiskError> {
        let mut e2fsck = tool("e2fsck");
        e2fsck.arg("-fn").arg(self.0);
        Ok(command::run(&mut e2fsck, LIMIT, &mut Hushed(progress))?)
    }

    /// Reads a file in it. `path` begins with a slash.
    ///
    /// Errors: it isn't there.
    pub fn read(&self, path: &str, progress: &mut dyn Progress) -> Result<Vec<u8>, DiskError> {
        let place =
            tempfile::NamedTempFile::new().map_err(CacheError::at(&std::env::temp_dir()))?;
        let request = format!("dump \"{path}\" \"{}\"", place.path().display());
        let stat = format!("stat \"{path}\"");
        // debugfs returns 0 whatever it could not do.
        let about =
            command::output(tool("debugfs").args(["-R", &stat]).arg(self.0), LIMIT, progress)?;
        if !about.contains("Inode:") {
            return Err(DiskError::Missing { image: self.0.to_owned(), path: path.to_owned() });
        }
        let mut debugfs = tool("debugfs");
        debugfs.args(["-R", &request]).arg(self.0);
        command::run(&mut debugfs, LIMIT, &mut Hushed(progress))?;
        Ok(fs::read(place.path()).map_err(CacheError::at(place.path()))?)
    }
}

/// Passes on that the work is not wanted any more, and nothing else: these tools tell what is usual.
struct Hushed<'p>(&'p mut dyn Progress);

impl Progress for Hushed<'_> {
    fn say(&mut self, _line: &str) {}

    fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}

/// A tool of e2fsprogs, which lies where only root looks.
fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let also = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    if let Ok(paths) = std::env::join_paths(std::env::split_paths(&paths).chain(also)) {
        command.env("PATH", paths);
    }
    command.env("LC_ALL", "C").env("DEBUGFS_PAGER", "cat").env("PAGER", "cat");
    command
}

/// All paths below a folder, as a root's.
fn below(folder: &Path, prefix: &str) -> Result<Vec<String>, CacheError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(CacheError::at(folder))? {
        let entry = entry.map_err(CacheError::at(folder))?;
        let path = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            paths.extend(below(&entry.path(), &path)?);
        }
        paths.push(path);
    }
    paths.sort();
    Ok(paths)
}

fn copy(from: &Path, to: &Path) -> Result<(), CacheError> {
    fs::copy(from, to).map_err(CacheError::at(from))?;
    executable(to)
}

fn executable(path: &Path) -> Result<(), CacheError> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(CacheError::at(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Silent;

    fn made(kind: &str) -> Option<(tempfile::TempDir, PathBuf)> {
        tool("mke2fs").arg("-V").output().ok()?;
        let folder = tempfile::tempdir().unwrap();
        let (root, image) = (folder.path().join("root"), folder.path().join("image"));
        fs::create_dir_all(root.join("data")).unwrap();
        fs::write(root.join("data/file"), vec![7; 100_000]).unwrap();
        File::create(&image).unwrap().set_len(8 << 20).unwrap();
        let mut mke2fs = tool("mke2fs");
        mke2fs.args(["-q", "-F", "-t", kind, "-d"]).arg(&root).arg(&image);
        assert!(mke2fs.status().unwrap().success());
        Some((folder, image))
    }

    #[test]
    fn a_file_is_read_without_a_mount_and_damage_is_found() {
        let Some((_folder, image)) = made("ext3") else { return };
        let disk = Filesystem(&image);
        disk.replay(&mut Silent).unwrap();
        disk.check(&mut Silent).unwrap();
        assert_eq!(disk.read("/data/file", &mut Silent).unwrap(), vec![7; 100_000]);
        let error = disk.read("/data/none", &mut Silent).unwrap_err();
        assert!(matches!(error, DiskError::Missing { .. }), "{error}");

        // The control: an inode that nothing leads to any more.
        let request = "unlink /data/file";
        let done = tool("debugfs").args(["-w", "-R", request]).arg(&image).output().unwrap();
        assert!(done.status.success());
        let error = disk.check(&mut Silent).unwrap_err().to_string();
        assert!(error.contains("e2fsck"), "{error}");
    }

    #[test]
    fn all_paths_are_found() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b c")).unwrap();
        fs::write(folder.path().join("a/d"), "").unwrap();
        assert_eq!(below(folder.path(), "").unwrap(), ["/a", "/a/b c", "/a/d"]);
    }
}
