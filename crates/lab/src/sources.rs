//! The system's own apt sources (sources.list(5)), read to learn where this machine gets Debian from:
//! Memtwin names no server.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why the sources say nothing.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    /// They can't be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// They name no archive that would have the suite.
    #[error(
        "apt's sources of this system name no archive with the suite {suite}: its images are made of Debian packages; on Debian, check /etc/apt/sources.list.d"
    )]
    NoArchive {
        /// The suite.
        suite: String,
    },
}

/// An entry of binary packages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct SourceEntry {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    /// Further fields that say whom to trust, as they stand.
    trust: Vec<(String, String)>,
}

/// The sources of a system.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    entries: Vec<SourceEntry>,
    codename: Option<String>,
    is_debian: bool,
}

/// The fields, and options of the one-line format, that are taken over.
const TRUST: [&str; 3] = ["signed-by", "trusted", "check-valid-until"];

impl Sources {
    /// Reads the sources of the system whose root folder is given.
    ///
    /// Errors: a file is there but can't be read. A system without apt has no sources.
    pub fn read(root: &Path) -> Result<Self, SourcesError> {
        let apt = root.join("etc/apt");
        let mut sources = Self::default();
        for path in files(&apt)? {
            let text = read(&path)?;
            if path.extension().is_some_and(|extension| extension == "sources") {
                sources.entries.extend(deb822(&text));
            } else {
                sources.entries.extend(text.lines().filter_map(one_line));
            }
        }
        let release = root.join("etc/os-release");
        let release = if release.exists() { read(&release)? } else { String::new() };
        let value = |key: &str| {
            let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.map(|value| value.trim_matches('"').to_owned())
        };
        sources.codename = value("VERSION_CODENAME");
        sources.is_debian = value("ID").is_some_and(|id| id == "debian");
        Ok(sources)
    }

    /// The codename of this system, if it is Debian.
    pub fn debian(&self) -> Option<&str> {
        self.codename.as_deref().filter(|_| self.is_debian)
    }

    /// Whether an entry has a suite.
    pub fn has(&self, suite: &str) -> bool {
        self.entry(suite).is_some()
    }

    /// An entry in the format deb822 for the component main of a suite: from an entry that has it,
    /// else from the one that has this system's own suite, as Debian's suites lie in one archive.
    /// `arch` is Debian's name of an architecture.
    ///
    /// Errors: there is neither.
    pub fn stanza(&self, suite: &str, arch: Option<&str>) -> Result<String, SourcesError> {
        let own = || self.debian().and_then(|codename| self.entry(codename));
        let error = || SourcesError::NoArchive { suite: suite.to_owned() };
        let SourceEntry { uris, trust, .. } = self.entry(suite).or_else(own).ok_or_else(error)?;
        let mut lines = vec![
            "Types: deb".to_owned(),
            format!("URIs: {}", uris.join(" ")),
            format!("Suites: {suite}"),
            "Components: main".to_owned(),
        ];
        lines.extend(arch.map(|arch| format!("Architectures: {arch}")));
        lines.extend(trust.iter().map(|(key, value)| format!("{key}: {value}")));
        Ok(lines.join("\n") + "\n")
    }

    fn entry(&self, suite: &str) -> Option<&SourceEntry> {
        let has = |list: &[String], word: &str| list.iter().any(|item| item == word);
        self.entries
            .iter()
            .find(|entry| has(&entry.suites, suite) && has(&entry.components, "main"))
    }
}

/// The files that apt reads, in its order.
fn files(apt: &Path) -> Result<Vec<PathBuf>, SourcesError> {
    let list = apt.join("sources.list");
    let folder = apt.join("sources.list.d");
    let mut parts = Vec::new();
    if folder.is_dir() {
        let error = |error| SourcesError::Read { path: folder.clone(), error };
        for entry in fs::read_dir(&folder).map_err(error)? {
            let path = entry.map_err(error)?.path();
            if path.extension().is_some_and(|ending| ending == "list" || ending == "sources") {
                parts.push(path);
            }
        }
        parts.sort();
    }
    Ok(list.exists().then_some(list).into_iter().chain(parts).collect())
}

fn read(path: &Path) -> Result<String, SourcesError> {
    fs::read_to_string(path).map_err(|error| SourcesError::Read { path: path.to_owned(), error })
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// `deb [signed-by=… arch=…] URI SUITE COMPONENT…`
fn one_line(line: &str) -> Option<SourceEntry> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let trust = options.split_whitespace().filter_map(|option| {
        let (key, value) = option.split_once('=')?;
        TRUST.contains(&key.to_lowercase().as_str()).then(|| (key.to_owned(), value.to_owned()))
    });
    let mut rest = words(rest).into_iter();
    let (uri, suite) = (rest.next()?, rest.next()?);
    let trust = trust.collect();
    Some(SourceEntry { uris: vec![uri], suites: vec![suite], components: rest.collect(), trust })
}

/// Stanzas of `Key: value` lines, a value going on in lines that begin with a blank.
fn deb822(text: &str) -> Vec<SourceEntry> {
    let without_comments = text.lines().filter(|line| !line.starts_with('#'));
    let lines: Vec<&str> = without_comments.map(str::trim_end).collect();
    lines.split(|line| line.is_empty()).filter_map(stanza).collect()
}

fn stanza(lines: &[&str]) -> Option<SourceEntry> {
    let mut fields: Vec<(&str, String)> = Vec::new();
    for line in lines {
        if line.starts_with([' ', '\t']) {
            let (_, value) = fields.last_mut()?;
            value.push('\n');
            value.push_str(line);
        } else {
            let (key, value) = line.split_once(':')?;
            fields.push((key, value.trim().to_owned()));
        }
    }
    let field = |name: &str| {
        let field = fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        field.map(|(_, value)| value.as_str()).unwrap_or_default()
    };
    let off = ["no", "false", "without", "off", "disable"].contains(&field("Enabled"));
    if off || !words(field("Types")).iter().any(|kind| kind == "deb") {
        return None;
    }
    let trust = fields.iter().filter(|(key, _)| TRUST.contains(&key.to_lowercase().as_str()));
    Some(SourceEntry {
        uris: words(field("URIs")),
        suites: words(field("Suites")),
        components: words(field("Components")),
        trust: trust.map(|(key, value)| ((*key).to_owned(), value.clone())).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(files: &[(&str, &str)]) -> Sources {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join("etc").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Sources::read(root.path()).unwrap()
    }

    const BOOKWORM: (&str, &str) = ("os-release", "ID=debian\nVERSION_CODENAME=bookworm\n");

    const MODERN: &str = "\
# A comment
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBFy

Types: deb
URIs: http://mirror.example/security
Suites: bookworm-security
Components: main contrib
Signed-By: /usr/share/keyrings/a.gpg

Types: deb
URIs: http://other.example/
Suites: nodistro
Components: main
Enabled: no
";

    #[test]
    fn the_modern_format_keeps_its_keys() {
        let sources = system(&[("apt/sources.list.d/debian.sources", MODERN), BOOKWORM]);
        let security = sources.stanza("bookworm-security", Some("arm64")).unwrap();
        assert_eq!(
            security,
            "Types: deb\nURIs: http://mirror.example/security\nSuites: bookworm-security\nComponents: main\nArchitectures: arm64\nSigned-By: /usr/share/keyrings/a.gpg\n"
        );
        let own = sources.stanza("bookworm", None).unwrap();
        assert!(
            own.ends_with("Signed-By: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBFy\n")
        );
        assert!(!sources.has("nodistro"), "it is disabled");
    }

    #[test]
    fn another_suite_lies_in_the_same_archive() {
        let sources = system(&[("apt/sources.list.d/debian.sources", MODERN), BOOKWORM]);
        assert_eq!(sources.debian(), Some("bookworm"));
        assert!(!sources.has("bookworm-backports"));
        let backports = sources.stanza("bookworm-backports", None).unwrap();
        assert!(
            backports.contains("URIs: http://mirror.example/debian\nSuites: bookworm-backports\n")
        );
    }

    #[test]
    fn the_old_format_is_read_as_well() {
        let list = "\
#deb http://commented.example/ trixie main
deb-src http://source.example/ trixie main
deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian trixie main contrib # why not
";
        let sources = system(&[("apt/sources.list", list)]);
        let stanza = sources.stanza("trixie", None).unwrap();
        assert!(stanza.contains("URIs: http://mirror.example/debian\n"), "{stanza}");
        assert!(stanza.ends_with("signed-by: /k.gpg\n"), "{stanza}");
    }

    #[test]
    fn a_system_without_debian_says_so() {
        let ubuntu = ("os-release", "ID=ubuntu\nVERSION_CODENAME=noble\n");
        let list = ("apt/sources.list", "deb http://mirror.example/ubuntu noble main\n");
        let error = system(&[list, ubuntu]).stanza("trixie", None).unwrap_err().to_string();
        assert!(error.contains("no archive with the suite trixie"), "{error}");
        assert!(system(&[]).stanza("trixie", None).is_err());
    }
}
