//! TLS 1.3 around a TCP stream, both sides with a certificate.
//!
//! rustls keeps one state for both directions; here a reader and a writer share it. The reader
//! waits for bytes outside of the lock, so a writer is never held up by a silent peer. What the
//! state itself has to say (a key update's answer) goes out with the writer's next bytes.

mod halves;

use crate::identity::PinnedVerifier;
use crate::stream::{PeerStream, StreamCloser, is_tick, prepare};
use crate::{Identity, RemoteError};
use halves::{TlsReader, TlsWriter};
use memtwin_replicate::CancelToken;
use memtwin_wait::Deadline;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
};
use std::fmt;
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How many bytes a peer may send in a handshake: the longest chain of certificates, and more.
const MOST_HANDSHAKE: u64 = 256 << 10;

/// Why certificates can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that is not what it should be.
    #[error("{}: {cause}; expected {what} in PEM", path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What is wrong.
        cause: String,
    },
    /// The library refuses them.
    #[error("the certificates: {0}")]
    Config(String),
}

fn config(error: impl fmt::Display) -> TlsError {
    TlsError::Config(error.to_string())
}

/// The files of one side: its own certificate and key, and who signs the other side's.
#[derive(Debug)]
struct CertificateFiles {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: RootCertStore,
}

impl CertificateFiles {
    fn read(cert: &Path, key: &Path, ca: &Path) -> Result<Self, TlsError> {
        let failed = |path: &Path, what| {
            let path = path.to_owned();
            move |cause: rustls::pki_types::pem::Error| TlsError::File {
                path,
                what,
                cause: cause.to_string(),
            }
        };
        let certificates = |path: &Path| -> Result<Vec<_>, TlsError> {
            CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect)
                .map_err(failed(path, "certificates"))
        };
        let mut roots = RootCertStore::empty();
        for root in certificates(ca)? {
            roots.add(root).map_err(config)?;
        }
        let key = PrivateKeyDer::from_pem_file(key).map_err(failed(key, "a private key"))?;
        Ok(Self { chain: certificates(cert)?, key, roots })
    }
}

/// The sender's side.
#[derive(Clone, Debug)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
}

/// The receiver's side.
#[derive(Clone, Debug)]
pub struct TlsServer {
    config: Arc<ServerConfig>,
}

impl TlsClient {
    /// With certificates from files. The receiver's must name the host that is called.
    pub fn from_files(cert: &Path, key: &Path, ca: &Path) -> Result<Self, TlsError> {
        let files = CertificateFiles::read(cert, key, ca)?;
        let config = client_builder()?
            .with_root_certificates(files.roots)
            .with_client_auth_cert(files.chain, files.key)
            .map_err(config)?;
        Ok(Self { config: Arc::new(config) })
    }

    /// With one half of a pair, which pins the other.
    pub fn pinned(identity: &Identity) -> Result<Self, TlsError> {
        let (chain, key) = identity.certificate().map_err(config)?;
        let config = client_builder()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(PinnedVerifier::new(identity.peer())))
            .with_client_auth_cert(vec![chain], key)
            .map_err(config)?;
        Ok(Self { config: Arc::new(config) })
    }

    /// Introduces itself over a socket.
    pub(crate) fn connect(
        &self,
        socket: TcpStream,
        host: &str,
        within: Duration,
        stop: &CancelToken,
    ) -> Result<PeerStream, RemoteError> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| RemoteError::Tls(rustls::Error::General(error.to_string())))?;
        let state = ClientConnection::new(Arc::clone(&self.config), name)?;
        handshake(state.into(), socket, within, stop, || ())
    }
}

impl TlsServer {
    /// With certificates from files. Senders need one that `ca` signed.
    pub fn from_files(cert: &Path, key: &Path, ca: &Path) -> Result<Self, TlsError> {
        let files = CertificateFiles::read(cert, key, ca)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(
            Arc::new(files.roots),
            Arc::new(rustls::crypto::ring::default_provider()),
        )
        .build()
        .map_err(config)?;
        let config = server_builder()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(files.chain, files.key)
            .map_err(config)?;
        Ok(Self { config: Arc::new(config) })
    }

    /// With one half of a pair, which pins the other.
    pub fn pinned(identity: &Identity) -> Result<Self, TlsError> {
        let (chain, key) = identity.certificate().map_err(config)?;
        let config = server_builder()?
            .with_client_cert_verifier(Arc::new(PinnedVerifier::new(identity.peer())))
            .with_single_cert(vec![chain], key)
            .map_err(config)?;
        Ok(Self { config: Arc::new(config) })
    }

    /// Lets a peer introduce itself over a socket. `heard` is called when something has come.
    pub(crate) fn accept(
        &self,
        socket: TcpStream,
        within: Duration,
        stop: &CancelToken,
        heard: impl FnMut(),
    ) -> Result<PeerStream, RemoteError> {
        let state = ServerConnection::new(Arc::clone(&self.config))?;
        handshake(state.into(), socket, within, stop, heard)
    }
}

fn client_builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, TlsError>
{
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(config)
}

fn server_builder() -> Result<rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier>, TlsError>
{
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(config)
}

/// The handshake, to its end or the deadline's.
fn handshake(
    mut state: Connection,
    socket: TcpStream,
    within: Duration,
    stop: &CancelToken,
    mut heard: impl FnMut(),
) -> Result<PeerStream, RemoteError> {
    prepare(&socket)?;
    let deadline = Deadline::after(within);
    let mut socket = socket;
    let mut read = 0;
    // One call at a time, so that a peer that sends byte after byte meets the deadline too.
    while state.is_handshaking() || state.wants_write() {
        let done = if state.wants_write() {
            state.write_tls(&mut socket)
        } else {
            state.read_tls(&mut socket).inspect(|&bytes| {
                read += bytes as u64;
                heard();
            })
        };
        if stop.is_set() {
            return Err(RemoteError::Stopped);
        }
        if read > MOST_HANDSHAKE {
            return Err(RemoteError::Excess { what: "bytes", most: MOST_HANDSHAKE });
        }
        match done {
            Ok(0) => return Err(RemoteError::Closed),
            Ok(_) => {
                if let Err(error) = state.process_new_packets() {
                    // The peer is told by an alert, if it listens.
                    let _ = state.write_tls(&mut socket);
                    return Err(error.into());
                }
            }
            Err(error) if is_tick(&error) => {}
            Err(error) => return Err(error.into()),
        }
        if deadline.is_over() {
            return Err(RemoteError::Late(within));
        }
    }
    let state = Arc::new(Mutex::new(state));
    let (write, end) = (socket.try_clone()?, socket.try_clone()?);
    Ok(PeerStream {
        read: Box::new(TlsReader::new(Arc::clone(&state), socket)),
        write: Box::new(TlsWriter::new(state, write)),
        closer: StreamCloser::new(move || drop(end.shutdown(Shutdown::Both))),
    })
}
