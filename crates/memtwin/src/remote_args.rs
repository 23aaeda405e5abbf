//! What the two ends of a remote twin are told alike: keys, certificates, limits.

use crate::values::Size;
use clap::Args;
use memtwin_remote::{
    Compression, Identity, RemoteTarget, Security, SenderConfig, TlsClient, TlsServer,
};
use memtwin_report::Failure;
use memtwin_safe_path::{Place, SafePathError};
use memtwin_wire::CompressionMethod;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The line of `memtwin receive --new-identity`, in place of a file with it.
const VARIABLE: &str = "MEMTWIN_IDENTITY";

/// Who may speak to whom.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Keys {
    /// The file with this side's half of a pair (`memtwin receive --new-identity`)
    #[arg(long, value_name = "FILE", help_heading = "Remote twin")]
    pub(crate) identity: Option<PathBuf>,
    /// This side's certificate chain, in PEM
    #[arg(long, value_name = "FILE", requires_all = ["key", "ca"], conflicts_with = "identity", help_heading = "Remote twin")]
    pub(crate) cert: Option<PathBuf>,
    /// Its private key, in PEM
    #[arg(long, value_name = "FILE", requires = "cert", help_heading = "Remote twin")]
    pub(crate) key: Option<PathBuf>,
    /// Who signs the other side's certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "cert", help_heading = "Remote twin")]
    pub(crate) ca: Option<PathBuf>,
    /// Speak plain text to another host; anyone on the way can read and change the twin
    #[arg(long, conflicts_with_all = ["identity", "cert"], help_heading = "Remote twin")]
    pub(crate) insecure_plaintext: bool,
}

/// The sender's options.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Sender {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) keys: Keys,
    /// Send at most this many bytes a second
    #[arg(long, value_name = "SIZE", help_heading = "Remote twin")]
    pub(crate) bandwidth: Option<Size>,
    /// Keep no copy of the twin: saves the guest's memory once, and sends whole pages
    #[arg(long, help_heading = "Remote twin")]
    pub(crate) no_delta: bool,
    /// Whether to compress: auto (where it pays), none, lz4 or zstd
    #[arg(long, default_value = "auto", value_parser = ["auto", "none", "lz4", "zstd"], help_heading = "Remote twin")]
    pub(crate) compress: Option<String>,
    /// Try for this long to have a broken connection back [default: 60s]
    #[arg(long, value_name = "TIME", help_heading = "Remote twin")]
    pub(crate) retry: Option<crate::values::Time>,
    /// The ssh program, for ssh:// twins
    #[arg(long, default_value = "ssh", value_name = "PROGRAM", help_heading = "Remote twin")]
    pub(crate) ssh: OsString,
}

impl Sender {
    /// The options as they are where none is given.
    pub(crate) fn unasked() -> Self {
        Self { ssh: "ssh".into(), ..Self::default() }
    }

    /// How to send to this target.
    ///
    /// Errors: a key can't be read, or there is none for a target that is not this host alone.
    pub(crate) fn config(&self, target: &RemoteTarget) -> Result<SenderConfig, Failure> {
        let mut config = SenderConfig::new(target.clone(), self.keys.security(target)?);
        config.delta = !self.no_delta;
        config.bandwidth = self.bandwidth.map(|size| size.0);
        config.ssh.clone_from(&self.ssh);
        config.ssh_said = crate::output::say;
        if let Some(retry) = self.retry {
            config.retry = retry.0;
        }
        config.compression = match self.compress.as_deref() {
            Some("none") => Compression::Always(CompressionMethod::None),
            Some("lz4") => Compression::Always(CompressionMethod::Lz4),
            Some("zstd") => Compression::Always(CompressionMethod::Zstd),
            _ => Compression::Auto,
        };
        Ok(config)
    }
}

/// Which half of a pair.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Half {
    /// That of `memtwin receive`.
    Receiver,
    /// That of `memtwin replicate`.
    Sender,
}

impl Half {
    /// Where it lies unless told: in the user's configuration directory.
    pub(crate) fn default_path(self) -> Option<PathBuf> {
        let directory = match std::env::var_os("XDG_CONFIG_HOME").filter(|path| !path.is_empty()) {
            Some(path) => PathBuf::from(path),
            None => PathBuf::from(std::env::var_os("HOME")?).join(".config"),
        };
        let name = match self {
            Self::Receiver => "receiver.identity",
            Self::Sender => "sender.identity",
        };
        Some(directory.join("memtwin").join(name))
    }
}

impl Keys {
    /// What protects the way to this target.
    pub(crate) fn security(&self, target: &RemoteTarget) -> Result<Security, Failure> {
        let fail = |error: memtwin_remote::TlsError| Failure::environment(error);
        if matches!(target, RemoteTarget::Ssh { .. }) || self.insecure_plaintext {
            return Ok(Security::Plain);
        }
        if let (Some(cert), Some(key), Some(ca)) = (&self.cert, &self.key, &self.ca) {
            return Ok(Security::Tls(TlsClient::from_files(cert, key, ca).map_err(fail)?));
        }
        match self.half(Half::Sender, target.is_loopback())? {
            Some(identity) => Ok(Security::Tls(TlsClient::pinned(&identity).map_err(fail)?)),
            None if target.is_loopback() => Ok(Security::Plain),
            None => Err(in_the_open(target)),
        }
    }

    /// What protects those who come in at this address.
    pub(crate) fn door(&self, address: SocketAddr) -> Result<Option<TlsServer>, Failure> {
        let fail = |error: memtwin_remote::TlsError| Failure::environment(error);
        if self.insecure_plaintext {
            return Ok(None);
        }
        if let (Some(cert), Some(key), Some(ca)) = (&self.cert, &self.key, &self.ca) {
            return TlsServer::from_files(cert, key, ca).map(Some).map_err(fail);
        }
        let here = address.ip().is_loopback();
        match self.half(Half::Receiver, here)? {
            Some(identity) => TlsServer::pinned(&identity).map(Some).map_err(fail),
            None if here => Ok(None),
            None => Err(in_the_open(&address)),
        }
    }

    /// The half that was named, or the one that lies where it would lie; between two processes of
    /// one host only the former.
    fn half(&self, half: Half, loopback: bool) -> Result<Option<Identity>, Failure> {
        let (line, path) = match (&self.identity, std::env::var(VARIABLE)) {
            (Some(path), _) => (read(path)?, path.clone()),
            (None, Ok(line)) => (line, PathBuf::from(VARIABLE)),
            (None, Err(_)) => match half.default_path().filter(|path| !loopback && path.exists()) {
                Some(path) => (read(&path)?, path),
                None => return Ok(None),
            },
        };
        let wrong = |error| Failure::environment(format!("{}: {error}", path.display()));
        Identity::parse(line.trim()).map(Some).map_err(wrong)
    }
}

fn in_the_open(what: &impl std::fmt::Display) -> Failure {
    Failure::usage(format!(
        "{what} is not this host alone: make a pair with `memtwin receive --new-identity` there, or \
         give --cert, --key and --ca, or --insecure-plaintext"
    ))
}

fn read(path: &Path) -> Result<String, Failure> {
    let fail = |error| Failure::environment(format!("{}: {error}", path.display()));
    let mut line = String::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(4096).read_to_string(&mut line).map_err(fail)?;
    Ok(line)
}

/// Saves a half for its owner's eyes, where there is none yet.
pub(crate) fn save(identity: &Identity, path: &Path) -> Result<(), Failure> {
    let fail = |error: std::io::Error| {
        let out = match error.kind() {
            std::io::ErrorKind::AlreadyExists => "; move the old one away, or give --identity",
            _ => "",
        };
        Failure::environment(format!("{}: {error}{out}", path.display()))
    };
    let refused = |error: SafePathError| match error.into_errno() {
        Ok(errno) => fail(errno),
        Err(refused) => Failure::environment(refused),
    };
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        memtwin_safe_path::make_dirs(directory).map_err(refused)?;
    }
    let place = Place::find_name(path).map_err(refused)?;
    let mut file = place.create_new(0o600).map_err(refused)?;
    writeln!(file, "{}", identity.line()).map_err(fail)
}
