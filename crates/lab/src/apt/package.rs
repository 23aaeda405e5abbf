//! A package as apt prints it, and what it is called in the cache.

/// A version of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// The name of the package.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The size of its file in bytes.
    pub bytes: u64,
    /// The digest of its file, as apt's signed lists have it.
    pub digest: String,
}

impl Package {
    /// Its key in the cache.
    pub(super) fn key(&self) -> String {
        let digest: String = self.digest.chars().take(16).collect();
        format!("{}_{}_{digest}", self.name, self.version.replace([':', '/'], "-"))
    }
}

/// A line of `--print-uris`: `'URI' NAME_VERSION_ARCH.deb BYTES ALGORITHM:DIGEST`.
pub(super) fn printed(line: &str) -> Option<Package> {
    let (_, rest) = line.strip_prefix('\'')?.split_once("' ")?;
    let mut rest = rest.split_whitespace();
    let mut file = rest.next()?.strip_suffix(".deb")?.split('_');
    let (name, version) = (file.next()?.to_owned(), file.next()?.replace("%3a", ":"));
    let bytes = rest.next()?.parse().ok()?;
    let (_, digest) = rest.next()?.split_once(':')?;
    Some(Package { name, version, bytes, digest: digest.to_owned() })
}

/// The key of packages together.
pub(super) fn set_key(packages: &[Package]) -> String {
    let mut hasher = blake3::Hasher::new();
    packages.iter().for_each(|package| {
        hasher.update(package.digest.as_bytes()).update(b" ");
    });
    hasher.finalize().to_hex()[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apt_prints_is_a_package() {
        let line = "'http://mirror.example/b/busybox-static_1.37.0-6%2bb9_arm64.deb' busybox-static_1%3a1.37.0-6+b9_arm64.deb 847552 SHA256:c833be48abfa16bc19c4966ec93e289f";
        let package = printed(line).unwrap();
        assert_eq!(package.name, "busybox-static");
        assert_eq!(package.version, "1:1.37.0-6+b9");
        assert_eq!(package.bytes, 847_552);
        assert_eq!(package.key(), "busybox-static_1-1.37.0-6+b9_c833be48abfa16bc");
        assert_eq!(printed("Get:1 something"), None);
        assert_eq!(printed(""), None);
    }
}
