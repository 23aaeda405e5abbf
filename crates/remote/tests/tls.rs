//! Who may speak to whom: pairs, certificates from files, and everyone else.

#![allow(clippy::unwrap_used, reason = "a test may end at what it did not expect")]

mod common;

use common::{Receiving, Toy, receiver_config, replicate, sender_config};
use memtwin_remote::{
    Identity, Listener, ReceiverConfig, RemoteTwin, Security, SenderConfig, TlsClient, TlsServer,
    new_pair,
};
use memtwin_replicate::CancelToken;
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn door(tls: TlsServer) -> Listener {
    Listener::listen("127.0.0.1:0".parse().unwrap(), Some(tls)).unwrap()
}

fn secured(address: SocketAddr, tls: TlsClient) -> SenderConfig {
    SenderConfig { security: Security::Tls(tls), ..sender_config(address) }
}

fn again(identity: &Identity) -> Identity {
    Identity::parse(&identity.line()).unwrap()
}

/// A receiver that soon loses patience with strangers.
fn impatient() -> ReceiverConfig {
    ReceiverConfig { patience: Duration::from_secs(2), ..receiver_config() }
}

#[test]
fn a_pair_knows_its_other_half_and_nobody_else() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = dir.path().join("twin");
    let (pair, other) = (new_pair().unwrap(), new_pair().unwrap());
    let receiving =
        Receiving::through(door(TlsServer::pinned(&pair.receiver).unwrap()), &path, impatient());
    let address = receiving.address;
    let stop = CancelToken::default();

    // Another pair's half: neither side accepts it. A half with the right pin and another key: the
    // receiver does not.
    let forged =
        format!("{} {}", other.sender.line().rsplit_once(' ').unwrap().0, pair.receiver.pin());
    for (stranger, said) in
        [(again(&other.sender), "paste the line"), (Identity::parse(&forged).unwrap(), "")]
    {
        let config = secured(address, TlsClient::pinned(&stranger).unwrap());
        let refused = RemoteTwin::connect(config, stop.clone()).unwrap_err().to_string();
        assert!(refused.contains(said), "{refused}");
    }
    // Plain text.
    let plain = SenderConfig { patience: Duration::from_secs(3), ..sender_config(address) };
    RemoteTwin::connect(plain, stop.clone()).unwrap_err();
    // No certificate at all.
    assert!(!reaches_hello_without_certificate(address));
    assert!(!path.exists());

    let config = secured(address, TlsClient::pinned(&pair.sender).unwrap());
    let sent = replicate(Toy::new(20), config, 10, 30).unwrap();
    assert!(sent.memory == sent.twin && sent.kept.is_ok());
    receiving.end().unwrap();
    assert!(fs::read(&path).unwrap() == sent.memory);
}

/// Whether a client without a certificate gets an answer to anything it says.
fn reaches_hello_without_certificate(address: SocketAddr) -> bool {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    // It accepts whatever receiver: as an attacker would.
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_no_client_auth();
    let mut state =
        rustls::ClientConnection::new(Arc::new(config), "memtwin".try_into().unwrap()).unwrap();
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut stream = rustls::Stream::new(&mut state, &mut socket);
    let _ = stream.write_all(&[0; 100]);
    matches!(stream.read(&mut [0; 100]), Ok(1..))
}

#[derive(Debug)]
struct Anyone;

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Writes a key and a certificate that `by` signed.
fn certificate(dir: &Path, name: &str, san: &str, by: &CertifiedIssuer<'_, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![san.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, by).unwrap();
    fs::write(dir.join(format!("{name}.pem")), certificate.pem()).unwrap();
    fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

fn authority(dir: &Path, name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(dir.join(format!("{name}.pem")), issuer.pem()).unwrap();
    issuer
}

#[test]
fn certificates_from_files_are_checked_on_both_sides() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let at = |name: &str| dir.path().join(name);
    let (ours, theirs) = (authority(dir.path(), "ca"), authority(dir.path(), "other"));
    certificate(dir.path(), "receiver", "127.0.0.1", &ours);
    certificate(dir.path(), "sender", "sender", &ours);
    certificate(dir.path(), "stranger", "sender", &theirs);
    certificate(dir.path(), "elsewhere", "192.0.2.1", &ours);
    let server = |name: &str| {
        let (cert, key) = (at(&format!("{name}.pem")), at(&format!("{name}.key")));
        TlsServer::from_files(&cert, &key, &at("ca.pem")).unwrap()
    };
    let client = |name: &str, ca: &str| {
        let (cert, key) = (at(&format!("{name}.pem")), at(&format!("{name}.key")));
        TlsClient::from_files(&cert, &key, &at(&format!("{ca}.pem"))).unwrap()
    };
    let stop = CancelToken::default();
    let receiving = Receiving::through(door(server("receiver")), &at("twin"), impatient());
    let call =
        |name, ca| RemoteTwin::connect(secured(receiving.address, client(name, ca)), stop.clone());
    assert!(call("stranger", "ca").is_err(), "a sender that nobody we trust has signed");
    assert!(call("sender", "other").is_err(), "a receiver that nobody we trust has signed");
    let config = secured(receiving.address, client("sender", "ca"));
    assert!(replicate(Toy::new(21), config, 3, 30).unwrap().kept.is_ok());
    receiving.end().unwrap();

    // A receiver whose certificate names another host.
    let receiving = Receiving::through(door(server("elsewhere")), &at("twin2"), impatient());
    let config = secured(receiving.address, client("sender", "ca"));
    let refused = RemoteTwin::connect(config, stop.clone()).unwrap_err().to_string();
    assert!(refused.contains("TLS"), "{refused}");
    receiving.stop.set();
    receiving.end().unwrap_err();

    let missing = TlsServer::from_files(&at("no.pem"), &at("ca.pem"), &at("ca.pem")).unwrap_err();
    assert!(missing.to_string().contains("expected"), "{missing}");
}

/// Connections that say nothing, or the beginning of a handshake, or that show no certificate, held
/// open and opened again as soon as they are closed: the right sender is served every time.
#[test]
fn forty_without_a_certificate_do_not_keep_the_right_sender_out() {
    let pair = new_pair().unwrap();
    let done = CancelToken::default();
    // As long as nobody comes, nobody is sent away: the receiver is as patient as can be.
    let patient = ReceiverConfig { patience: Duration::from_secs(3600), ..receiver_config() };
    let mut door = door(TlsServer::pinned(&pair.receiver).unwrap());
    let address = door.address().unwrap();
    std::thread::scope(|scope| {
        for number in 0..40 {
            let done = done.clone();
            scope.spawn(move || {
                while !done.is_set() {
                    let Ok(mut socket) = TcpStream::connect(address) else { continue };
                    let _ = match number % 4 {
                        // The head of a ClientHello that never comes to its end.
                        0 => socket.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]),
                        _ => Ok(()),
                    };
                    let _ = socket.set_read_timeout(Some(Duration::from_millis(100)));
                    while !done.is_set() {
                        match socket.read(&mut [0; 64]) {
                            Ok(0) => break,
                            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => break,
                            _ => {}
                        }
                    }
                }
            });
        }
        let served = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 0..6 {
                let dir = tempfile::tempdir_in("/dev/shm").unwrap();
                let path = dir.path().join("twin");
                let mut receiver =
                    memtwin_remote::TwinReceiver::new(&path, patient.clone()).unwrap();
                let stop = CancelToken::default();
                std::thread::scope(|scope| {
                    let run = scope.spawn(|| receiver.run(&mut door, &stop));
                    let config = secured(address, TlsClient::pinned(&pair.sender).unwrap());
                    let config = SenderConfig { patience: Duration::from_secs(30), ..config };
                    let sent = replicate(Toy::with(22, &[(40, 4096)]), config, 3, 9);
                    if sent.is_err() {
                        stop.set();
                    }
                    let kept = sent.map(|sent| sent.kept).map_err(|error| error.to_string());
                    assert_eq!(kept, Ok(Ok(())), "session {round}");
                    run.join().unwrap().unwrap();
                });
            }
        }));
        done.set();
        served.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}
