//! What a guest boots: a kernel, and an initramfs of busybox, modules in the order in which they load,
//! programs and files. Made of Debian packages; the same inputs give the same bytes.

use crate::apt::{Apt, AptError, Package};
use crate::archive::Archive;
use crate::kernel::{Flavour, Kernel, KernelError, own};
use crate::modules::{self, ModuleError};
use crate::{Arch, Cache, CacheError, Progress};
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

/// The first program of a guest.
pub(crate) const INIT: &str = include_str!("init.sh");

/// Part of every key: to be raised when the same inputs give other bytes.
const FORMAT: u32 = 1;

/// The suite that images are made of unless another is asked for.
pub const SUITE: &str = "trixie";

/// What an image is made of.
#[derive(Clone, Debug)]
pub struct ImageSpec<'a> {
    /// The guest's architecture.
    pub arch: Arch,
    /// Debian's suite: [`SUITE`], bookworm, bookworm-backports, …
    pub suite: &'a str,
    /// Which kernel.
    pub kernel: Flavour,
    /// Kernel modules; those that they depend on come by themselves. What is built in is no error.
    pub modules: &'a [&'a str],
    /// Programs, static ones: each lies in /bin, under its file's name.
    pub programs: &'a [PathBuf],
    /// Further files: the path in the guest, without a slash at its beginning, and the host's file.
    pub files: &'a [(String, PathBuf)],
}

/// A made image. Its files stay in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initrd: PathBuf,
}

/// What would be fetched and made.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The packages, each with whether it is in the cache.
    pub packages: Vec<(Package, bool)>,
}

impl Plan {
    /// Lines for a person.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.packages.iter().map(|(Package { name, version, bytes, .. }, cached)| {
            let how = if *cached { "cached" } else { "fetch" };
            format!("{how:<7} {name} {version} {:.1} MB", *bytes as f64 / 1e6)
        })
    }
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The packages can't be obtained.
    #[error(transparent)]
    Apt(#[from] AptError),
    /// The kernel can't be obtained.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A module can't be obtained.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// A file can't be read or written.
    #[error(transparent)]
    File(#[from] CacheError),
    /// A program or file has no name that could be used in the guest.
    #[error("{}: no name for a file in the guest", path.display())]
    NoName {
        /// Its path.
        path: PathBuf,
    },
}

impl ImageSpec<'_> {
    /// What a build would fetch. Fetches the lists of packages themselves if they are not there.
    ///
    /// Errors: a package is unknown, or the lists can't be obtained.
    pub fn plan(&self, cache: &Cache, progress: &mut dyn Progress) -> Result<Plan, ImageError> {
        let apt = Apt::open(cache, self.arch, self.suite, progress)?;
        let packages = self.packages(&apt, progress)?;
        let packages = packages.into_iter().map(|package| {
            let cached = apt.has(&package);
            (package, cached)
        });
        Ok(Plan { packages: packages.collect() })
    }

    /// Makes the image, or takes it from the cache. Without a network that works as long as all is in
    /// the cache.
    ///
    /// Errors: something can't be fetched, read or written; the cache has nothing half done.
    pub fn build(&self, cache: &Cache, progress: &mut dyn Progress) -> Result<Image, ImageError> {
        let apt = Apt::open(cache, self.arch, self.suite, progress)?;
        match self.build_by(&apt, cache, progress) {
            // Lists may be older than what the archive still has.
            Err(ImageError::Apt(error) | ImageError::Kernel(KernelError::Apt(error)))
                if !error.is_cancelled() =>
            {
                progress.say(&format!("{error}: trying again with new lists"));
                apt.refresh(progress)?;
                self.build_by(&apt, cache, progress)
            }
            built => built,
        }
    }

    fn build_by(
        &self,
        apt: &Apt,
        cache: &Cache,
        progress: &mut dyn Progress,
    ) -> Result<Image, ImageError> {
        let [kernel, busybox] = self.packages(apt, progress)?;
        let own = self.own_files()?;
        let key = self.key(&[&kernel, &busybox], &own);
        let folder = cache.entry("images", &key, progress, |folder, progress| {
            let unpacked = match self.kernel {
                Flavour::Pages64K => own::built(cache, &kernel)?,
                _ => Kernel::find(&apt.unpacked(&kernel, progress)?)?,
            };
            let busybox = apt.unpacked(&busybox, progress)?;
            progress.say(&format!("image {key} for {}", self.arch));
            let archive = self.archive(&unpacked, &busybox, own)?;
            let initrd = folder.join("initrd");
            let output = File::create(&initrd).map_err(CacheError::at(&initrd))?;
            archive.write(BufWriter::new(output)).map_err(CacheError::at(&initrd))?;
            let image = folder.join("kernel");
            fs::copy(&unpacked.image, &image).map_err(CacheError::at(&unpacked.image))?;
            Ok::<(), ImageError>(())
        })?;
        Ok(Image { kernel: folder.join("kernel"), initrd: folder.join("initrd") })
    }

    fn packages(&self, apt: &Apt, progress: &mut dyn Progress) -> Result<[Package; 2], ImageError> {
        let kernel = self.kernel.package(self.arch, apt, progress)?;
        let busybox = apt.resolve(&["busybox-static"], progress)?.remove(0);
        Ok([kernel, busybox])
    }

    /// The files that are not Debian's: path, mode, content.
    fn own_files(&self) -> Result<Vec<(String, u32, Vec<u8>)>, ImageError> {
        let name = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.map(|name| format!("bin/{name}"))
                .ok_or_else(|| ImageError::NoName { path: path.clone() })
        };
        let programs = self.programs.iter().map(|path| Ok((name(path)?, 0o755, read(path)?)));
        let files = self.files.iter().map(|(name, path)| {
            if name.is_empty() || name.starts_with('/') || name.split('/').any(|part| part == "..")
            {
                return Err(ImageError::NoName { path: path.clone() });
            }
            Ok((name.clone(), 0o644, read(path)?))
        });
        programs.chain(files).collect()
    }

    /// The digest of all that the image depends on.
    fn key(&self, packages: &[&Package], own: &[(String, u32, Vec<u8>)]) -> String {
        let mut hasher = blake3::Hasher::new();
        // Each with its length, so that no two lists of parts look alike.
        let mut add = |part: &[u8]| {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        };
        add(&FORMAT.to_le_bytes());
        add(self.arch.name().as_bytes());
        add(INIT.as_bytes());
        packages.iter().for_each(|package| add(package.digest.as_bytes()));
        if self.kernel == Flavour::Pages64K {
            packages.iter().for_each(|package| add(own::key(package).as_bytes()));
        }
        add(self.modules.join(" ").as_bytes());
        for (path, mode, bytes) in own {
            add(path.as_bytes());
            add(&mode.to_le_bytes());
            add(bytes);
        }
        hasher.finalize().to_hex()[..16].to_owned()
    }

    fn archive(
        &self,
        kernel: &Kernel,
        busybox: &Path,
        own: Vec<(String, u32, Vec<u8>)>,
    ) -> Result<Archive, ImageError> {
        let mut archive = Archive::default();
        for folder in ["dev", "proc", "sys", "run", "tmp", "etc", "mnt"] {
            archive.folder(folder);
        }
        for (name, major, minor) in [("console", 5, 1), ("null", 1, 3), ("mem", 1, 1)] {
            archive.device(&format!("dev/{name}"), major, minor);
        }
        archive.file("init", 0o755, INIT.as_bytes().to_vec());
        // Where it lies depends on the suite.
        let places = [busybox.join("usr/bin/busybox"), busybox.join("bin/busybox")];
        let place = places.iter().find(|path| path.exists()).unwrap_or(&places[0]);
        archive.file("bin/busybox", 0o755, read(place)?);

        let mut order = String::new();
        for module in modules::ordered(&kernel.modules, self.modules)? {
            order.push_str(&format!("{}.ko\n", module.name));
            archive.file(&format!("modules/{}.ko", module.name), 0o644, module.bytes);
        }
        archive.file("modules/order", 0o644, order.into_bytes());
        own.into_iter().for_each(|(path, mode, bytes)| archive.file(&path, mode, bytes));
        Ok(archive)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ImageError> {
    Ok(fs::read(path).map_err(CacheError::at(path))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec<'a>(programs: &'a [PathBuf], files: &'a [(String, PathBuf)]) -> ImageSpec<'a> {
        ImageSpec {
            arch: Arch::Aarch64,
            suite: SUITE,
            kernel: Flavour::Standard,
            modules: &[],
            programs,
            files,
        }
    }

    fn package(digest: &str) -> Package {
        let (name, version) = ("linux".to_owned(), "6".to_owned());
        Package { name, version, bytes: 1_500_000, digest: digest.to_owned() }
    }

    #[test]
    fn the_key_changes_with_each_input() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("tstaeshm");
        fs::write(&program, "one").unwrap();
        let programs = [program.clone()];
        let key =
            |spec: &ImageSpec, digest| spec.key(&[&package(digest)], &spec.own_files().unwrap());
        let spec = spec(&programs, &[]);
        let first = key(&spec, "a");
        assert_eq!(key(&spec, "a"), first);
        assert_ne!(key(&spec, "b"), first);
        assert_ne!(key(&ImageSpec { modules: &["ext4"], ..spec.clone() }, "a"), first);
        assert_ne!(key(&ImageSpec { arch: Arch::X86_64, ..spec.clone() }, "a"), first);
        fs::write(&program, "two").unwrap();
        assert_ne!(key(&spec, "a"), first);
    }

    #[test]
    fn a_file_goes_nowhere_but_into_the_guest() {
        for name in ["", "/etc/passwd", "../x"] {
            let files = [(name.to_owned(), PathBuf::from("/dev/null"))];
            let error = spec(&[], &files).own_files().unwrap_err();
            assert!(matches!(error, ImageError::NoName { .. }), "{name}: {error}");
        }
        let missing = [PathBuf::from("/no/such/program")];
        let error = spec(&missing, &[]).own_files().unwrap_err().to_string();
        assert!(error.starts_with("/no/such/program: "), "{error}");
    }

    #[test]
    fn a_plan_says_what_is_fetched() {
        let plan = Plan { packages: vec![(package("a"), false), (package("b"), true)] };
        let lines: Vec<String> = plan.lines().collect();
        assert_eq!(lines, ["fetch   linux 6 1.5 MB", "cached  linux 6 1.5 MB"]);
    }
}
