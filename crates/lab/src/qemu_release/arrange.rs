//! What is kept of a QEMU's unpacked packages, and the small script that starts one of its programs.

use crate::{Arch, CacheError};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where Debian's programs lie.
pub(super) const PROGRAMS: &str = "usr/bin";
/// What QEMU loads by name at run time (its option -L): its own data, firmware, option ROMs.
const DATA: [&str; 3] = ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"];

/// What is kept of a folder: nothing else that lies there.
const KEPT: [(&str, &[&str]); 4] = [
    ("", &["lib", "lib64", "usr"]),
    ("usr", &["bin", "lib", "lib64", "share"]),
    ("usr/share", &["qemu", "seabios"]),
    (PROGRAMS, &["qemu-system-aarch64", "qemu-system-x86_64"]),
];

/// Removes what no QEMU needs.
pub(super) fn prune(root: &Path) -> Result<(), CacheError> {
    for (folder, kept) in KEPT {
        let folder = root.join(folder);
        for path in crate::kernel::children(&folder) {
            let name = path.file_name().and_then(|name| name.to_str());
            if name.is_some_and(|name| kept.contains(&name)) {
                continue;
            }
            let is_folder = path.symlink_metadata().is_ok_and(|path| path.is_dir());
            let removed =
                if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(CacheError::at(&path))?;
        }
    }
    Ok(())
}

/// How the programs of a root are started on another system.
pub(super) struct Loader {
    /// The dynamic loader, from the root on.
    program: PathBuf,
    /// The folders of libraries, from the root on.
    libraries: Vec<PathBuf>,
}

impl Loader {
    /// The loader and the libraries of this architecture.
    pub(super) fn find(root: &Path, arch: Arch) -> Option<Self> {
        let triplet = format!("{}-linux-gnu", arch.name());
        let below = |path: PathBuf| path.strip_prefix(root).map(Path::to_owned).ok();
        // A link from /lib to /usr/lib is there or not: what both lead to is looked at twice.
        let folders = ["lib", "usr/lib"].map(|lib| root.join(lib).join(&triplet));
        let mut libraries: Vec<PathBuf> = Vec::new();
        for folder in &folders {
            let inner = crate::kernel::children(folder).into_iter();
            let inner = inner.filter(|path| path.is_dir() && has_library(path));
            let all = folder.is_dir().then(|| folder.clone()).into_iter().chain(inner);
            libraries.extend(all.filter_map(below));
        }
        // Not by the name in lib64, which may be a link to the host's own.
        let program = folders
            .iter()
            .flat_map(|folder| crate::kernel::children(folder))
            .find(|path| {
                is_named(path, "ld-") && path.symlink_metadata().is_ok_and(|p| p.is_file())
            })
            .and_then(below)?;
        Some(Self { program, libraries })
    }

    /// Writes a script that starts a program of the root, which lies beside the script's folder.
    pub(super) fn write_starter(&self, folder: &Path, name: &str) -> Result<PathBuf, CacheError> {
        let bin = folder.join("bin");
        fs::create_dir_all(&bin).map_err(CacheError::at(&bin))?;
        let path = bin.join(name);
        let written = fs::write(&path, self.script(name)).and_then(|()| {
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(&path, mode)
        });
        written.map_err(CacheError::at(&path))?;
        Ok(path)
    }

    /// The host's cache of libraries is not looked at: a library of the host would be of another version.
    fn script(&self, name: &str) -> String {
        let below = |path: &Path| format!("$root/{}", path.display());
        let libraries: Vec<String> = self.libraries.iter().map(|path| below(path)).collect();
        let modules = self.libraries.iter().find(|path| path.ends_with("qemu"));
        let modules = modules.map_or_else(|| "$root/none".to_owned(), |path| below(path));
        let data: Vec<String> = DATA.iter().map(|data| format!("-L \"$root/{data}\"")).collect();
        format!(
            "#!/bin/sh\n\
             # Starts this QEMU with the libraries that it was built for (ld.so(8)).\n\
             root=$(cd \"${{0%/*}}/../root\" && pwd) || exit\n\
             export QEMU_MODULE_DIR=\"{modules}\"\n\
             exec \"{}\" --inhibit-cache --library-path \"{}\" \"$root/{PROGRAMS}/{name}\" {} \"$@\"\n",
            below(&self.program),
            libraries.join(":"),
            data.join(" "),
        )
    }
}

fn is_named(path: &Path, begin: &str) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(begin))
}

/// Whether a folder has shared libraries, or modules, of its own.
fn has_library(folder: &Path) -> bool {
    crate::kernel::children(folder)
        .iter()
        .any(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains(".so")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::process::Command;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn only_what_a_qemu_needs_is_kept() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        let kept = ["usr/bin/qemu-system-x86_64", "usr/share/qemu/a", "usr/lib/b", "lib/c"];
        let dropped = ["usr/bin/perl", "usr/share/doc/x/y", "etc/passwd", "usr/sbin/d", "bin/sh"];
        kept.iter().chain(&dropped).for_each(|path| write(&root.join(path), "x"));
        symlink("/etc", root.join("var")).unwrap();
        prune(root).unwrap();
        assert!(kept.iter().all(|path| root.join(path).exists()));
        assert!(!dropped.iter().any(|path| root.join(path).exists()));
        assert!(root.join("var").symlink_metadata().is_err() && Path::new("/etc").is_dir());
    }

    /// A loader that says what it was given stands for the true one.
    #[test]
    fn a_program_is_started_by_its_own_loader_from_wherever_it_lies() {
        let place = tempfile::tempdir().unwrap();
        let (folder, lib) = (place.path().join("a folder"), "root/usr/lib/x86_64-linux-gnu");
        let tell = "#!/bin/sh\nprintf '%s\\n' \"$QEMU_MODULE_DIR\" \"$@\"\n";
        write(&folder.join(lib).join("ld-2.31.so"), tell);
        symlink("ld-2.31.so", folder.join(lib).join("ld-linux-x86-64.so.2")).unwrap();
        write(&folder.join(lib).join("qemu/block-nfs.so"), "");
        write(&folder.join(lib).join("gconv/UTF.txt"), "");
        let loader = Loader::find(&folder.join("root"), Arch::X86_64).unwrap();
        let starter = loader.write_starter(&folder, "qemu-system-x86_64").unwrap();
        // It is put in its place when it is whole.
        let moved = place.path().join("moved");
        fs::rename(&folder, &moved).unwrap();
        let starter = moved.join(starter.strip_prefix(&folder).unwrap());
        let said = Command::new(starter).args(["-M", "a b"]).output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        let root = moved.canonicalize().unwrap().join("root");
        let root = root.to_str().unwrap();
        let lib = format!("{root}/usr/lib/x86_64-linux-gnu");
        let expected = [
            &format!("{lib}/qemu"),
            "--inhibit-cache",
            "--library-path",
            &format!("{lib}:{lib}/qemu"),
            &format!("{root}/usr/bin/qemu-system-x86_64"),
            "-L",
            &format!("{root}/usr/share/qemu"),
            "-L",
            &format!("{root}/usr/share/seabios"),
            "-L",
            &format!("{root}/usr/lib/ipxe/qemu"),
            "-M",
            "a b",
        ];
        assert_eq!(said.lines().collect::<Vec<_>>(), expected);
        assert!(Loader::find(&moved.join("root"), Arch::Aarch64).is_none(), "another's loader");
    }
}
