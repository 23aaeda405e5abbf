//! How our apt is told to keep to itself.

use crate::{Arch, CacheError};
use std::fs;
use std::path::{Path, PathBuf};

/// A file that apt reads, and what stands in it.
type Own = (PathBuf, String);

/// What apt reads in this folder. `preferred` is the suite that has precedence, where there are several.
pub(super) fn files(folder: &Path, arch: Arch, sources: &str, preferred: Option<&str>) -> [Own; 3] {
    let mut configuration = configuration(folder, arch);
    // Backports come after their suite otherwise (apt_preferences(5)).
    configuration.extend(preferred.map(|suite| format!("APT::Default-Release \"{suite}\";\n")));
    [("list.sources", sources.to_owned()), ("status", String::new()), ("apt.conf", configuration)]
        .map(|(name, text)| (folder.join(name), text))
}

/// Whether all of it is there.
pub(super) fn is_there(files: &[Own]) -> bool {
    files.iter().all(is_written)
}

/// Writes what is not.
pub(super) fn write(folder: &Path, files: &[Own]) -> Result<(), CacheError> {
    for name in ["state/lists/partial", "cache/archives/partial"] {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).map_err(CacheError::at(&folder))?;
    }
    // What is the same is not written again: apt would rebuild its index.
    for (path, text) in files.iter().filter(|file| !is_written(file)) {
        fs::write(path, text).map_err(CacheError::at(path))?;
    }
    Ok(())
}

fn is_written((path, text): &Own) -> bool {
    fs::read(path).is_ok_and(|old| old == text.as_bytes())
}

/// Our apt's configuration (apt.conf(5)). The system's is read before it, and holds as far as it is
/// about proxies and the like; but not its hooks, which would see to the system's own state.
fn configuration(folder: &Path, arch: Arch) -> String {
    let (folder, arch) = (folder.display(), arch.debian());
    format!(
        r#"#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Architectures;
APT::Architecture "{arch}";
APT::Architectures {{ "{arch}"; }};
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::ForceHash "SHA256";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::State "{folder}/state";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
Dir::Etc::sourcelist "{folder}/list.sources";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_about_our_folder_alone() {
        let text = configuration(Path::new("/cache/apt"), Arch::Aarch64);
        assert!(text.contains("Dir::State \"/cache/apt/state\";"));
        assert!(text.contains("APT::Architecture \"arm64\";"));
    }

    #[test]
    fn the_suite_with_precedence_is_named_where_there_are_several() {
        let text = |preferred| {
            let [_, _, (_, text)] = files(Path::new("/cache/apt"), Arch::Aarch64, "", preferred);
            text
        };
        assert!(!text(None).contains("Default-Release"));
        let both = text(Some("trixie-backports"));
        assert!(both.ends_with("APT::Default-Release \"trixie-backports\";\n"), "{both}");
    }
}
