//! Kernel modules in the order in which they must be loaded. Debian's packages have no modules.dep:
//! depmod makes it when they are installed. So the dependencies are read where depmod reads them, in
//! the modules themselves: the string `depends=a,b` of the section .modinfo.

use crate::kernel::children;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Why modules can't be obtained.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// The kernel has no such module, and not built in either.
    #[error("no kernel module {name} in {}", folder.display())]
    Unknown {
        /// The module.
        name: String,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// Its file can't be read or unpacked.
    #[error("{}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        error: io::Error,
    },
    /// It is no module that we know.
    #[error("{}: no `depends=` in it, which each module has", path.display())]
    NoModule {
        /// The file.
        path: PathBuf,
    },
}

/// A module, unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// The modules with all that they depend on, each after what it depends on. What is built into the
/// kernel is left out. `folder` is the kernel's module folder.
pub(crate) fn ordered(folder: &Path, names: &[&str]) -> Result<Vec<Module>, ModuleError> {
    let builtin_list = folder.join("modules.builtin");
    let builtin = fs::read_to_string(&builtin_list)
        .map_err(|error| ModuleError::Read { path: builtin_list, error })?;
    let mut search = Search {
        folder,
        files: find(&folder.join("kernel")),
        builtin: builtin.lines().filter_map(|line| module_name(Path::new(line))).collect(),
        visited: Vec::new(),
        found: Vec::new(),
    };
    names.iter().try_for_each(|name| search.visit(&name.replace('-', "_")))?;
    Ok(search.found)
}

struct Search<'a> {
    folder: &'a Path,
    files: BTreeMap<String, PathBuf>,
    builtin: Vec<String>,
    visited: Vec<String>,
    found: Vec<Module>,
}

impl Search<'_> {
    fn visit(&mut self, name: &str) -> Result<(), ModuleError> {
        // A circle would end here too; the kernel could not load one.
        if self.visited.iter().chain(&self.builtin).any(|other| other == name) {
            return Ok(());
        }
        self.visited.push(name.to_owned());
        let path = self.files.get(name).ok_or_else(|| ModuleError::Unknown {
            name: name.to_owned(),
            folder: self.folder.to_owned(),
        })?;
        let bytes = unpacked(path)?;
        let depends =
            depends(&bytes).ok_or_else(|| ModuleError::NoModule { path: path.to_owned() })?;
        depends.iter().try_for_each(|name| self.visit(name))?;
        self.found.push(Module { name: name.to_owned(), bytes });
        Ok(())
    }
}

/// All module files below a folder, by the names of their modules.
fn find(folder: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    for path in children(folder) {
        if path.is_dir() {
            found.extend(find(&path));
        } else if let Some(name) = module_name(&path) {
            found.insert(name, path);
        }
    }
    found
}

/// `virtio_blk` of `…/virtio-blk.ko.xz`.
fn module_name(path: &Path) -> Option<String> {
    let (name, packing) = path.file_name()?.to_str()?.split_once(".ko")?;
    ["", ".xz"].contains(&packing).then(|| name.replace('-', "_"))
}

fn unpacked(path: &Path) -> Result<Vec<u8>, ModuleError> {
    let read = || {
        let mut file = File::open(path)?;
        let mut bytes = Vec::new();
        if path.extension().is_some_and(|ending| ending == "xz") {
            lzma_rust2::XzReader::new(file, true).read_to_end(&mut bytes)?;
        } else {
            file.read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    };
    read().map_err(|error| ModuleError::Read { path: path.to_owned(), error })
}

/// The names in the string `depends=`.
fn depends(module: &[u8]) -> Option<Vec<String>> {
    let field = module.split(|&byte| byte == 0).find_map(|text| text.strip_prefix(b"depends="))?;
    let names = String::from_utf8_lossy(field);
    Some(names.split(',').filter(|name| !name.is_empty()).map(|n| n.replace('-', "_")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(modules: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("kernel/drivers/block");
        fs::create_dir_all(&deep).unwrap();
        for (name, depends) in modules {
            let text = format!("\x7fELF\0license=GPL\0depends={depends}\0name={name}\0");
            fs::write(deep.join(name), text).unwrap();
        }
        fs::write(folder.path().join("modules.builtin"), "kernel/lib/crc16.ko\n").unwrap();
        folder
    }

    fn names(folder: &Path, names: &[&str]) -> Vec<String> {
        ordered(folder, names).unwrap().into_iter().map(|module| module.name).collect()
    }

    #[test]
    fn what_a_module_depends_on_comes_before_it() {
        let kernel = kernel(&[
            ("ext4.ko", "jbd2,mbcache,crc16"),
            ("jbd2.ko", ""),
            ("mbcache.ko", ""),
            ("virtio-net.ko", "net-failover"),
            ("net_failover.ko", "failover"),
            ("failover.ko", ""),
        ]);
        assert_eq!(names(kernel.path(), &["ext4", "jbd2"]), ["jbd2", "mbcache", "ext4"]);
        let net = ["failover", "net_failover", "virtio_net"];
        assert_eq!(names(kernel.path(), &["virtio_net"]), net);
        assert_eq!(names(kernel.path(), &["crc16"]), [""; 0], "it is built in");
    }

    #[test]
    fn a_module_that_is_not_there_is_named() {
        let kernel = kernel(&[("ext4.ko", "jbd2")]);
        let error = ordered(kernel.path(), &["ext4"]).unwrap_err().to_string();
        assert!(error.starts_with("no kernel module jbd2 in "), "{error}");
        fs::write(kernel.path().join("kernel/bad.ko.xz"), "no xz").unwrap();
        let error = ordered(kernel.path(), &["bad"]).unwrap_err().to_string();
        assert!(error.contains("bad.ko.xz: "), "{error}");
        fs::write(kernel.path().join("kernel/odd.ko"), "no module").unwrap();
        let error = ordered(kernel.path(), &["odd"]).unwrap_err().to_string();
        assert!(error.contains("no `depends=` in it"), "{error}");
    }
}
