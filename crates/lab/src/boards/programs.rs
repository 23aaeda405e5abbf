//! The file system with what changes from lab to lab: programs, images of guests, whose key opens the
//! boards. All boards share it, and read only.

use super::{LabError, LabFile, LabFolder};
use crate::{Progress, ext4};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Room for the file system's own tables.
const SPARE: u64 = 8 << 20;

/// Makes its image in the lab's folder.
pub(super) fn image(
    files: &[LabFile],
    folder: &LabFolder,
    progress: &mut dyn Progress,
) -> Result<PathBuf, LabError> {
    let stage = folder.path("lab");
    let bin = stage.join("bin");
    fs::create_dir_all(&bin).map_err(LabError::file(&bin))?;
    copy(&folder.path("key.pub"), &stage.join("authorized_keys"), false)?;
    let mut bytes = SPARE;
    for LabFile { path, from, program } in files {
        let to = stage.join(path);
        let parent = to.parent().unwrap_or(&stage);
        fs::create_dir_all(parent).map_err(LabError::file(parent))?;
        bytes += copy(from, &to, *program)?.next_multiple_of(4096);
    }
    let image = folder.path("lab.ext4");
    // A sixteenth more, for what a file system keeps per block and per file.
    let mebibytes = (bytes + bytes / 16).div_ceil(1 << 20);
    ext4::make(&stage, &image, "lab", mebibytes, progress)?;
    fs::remove_dir_all(&stage).map_err(LabError::file(&stage))?;
    Ok(image)
}

fn copy(from: &Path, to: &Path, program: bool) -> Result<u64, LabError> {
    let bytes = fs::copy(from, to).map_err(LabError::file(from))?;
    let mode = fs::Permissions::from_mode(if program { 0o755 } else { 0o644 });
    fs::set_permissions(to, mode).map_err(LabError::file(to))?;
    Ok(bytes)
}
