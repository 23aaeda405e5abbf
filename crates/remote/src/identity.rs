//! Pairs of keys, made together, each of which knows the other: as a WireGuard key, one line.
//!
//! `memtwin receive --new-identity` makes a pair. One half stays with the receiver, the other is
//! the line to paste on the sender. A half holds its own private key and the pin of the other's
//! public key, so it is a secret:
//!
//! ```text
//! memtwin-identity-1 HEX(private key, PKCS#8)  HEX(BLAKE3 of the peer's SubjectPublicKeyInfo)
//! ```
//!
//! The certificates that TLS wants are made of the key again each time; nobody looks at their names
//! or dates, only at the key.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use std::fmt::{self, Write as _};

const PREFIX: &str = "memtwin-identity-1";

/// The name in our certificates. Nobody checks it.
const NAME: &str = "memtwin";

/// Why a line is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Not a line of ours.
    #[error("not an identity: expected the line that `memtwin receive --new-identity` printed")]
    Line,
    /// A key can't be made or used.
    #[error("the key of an identity: {0}")]
    Key(#[from] rcgen::Error),
}

/// The BLAKE3 of a public key (its SubjectPublicKeyInfo in DER).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPin(blake3::Hash);

impl fmt::Display for KeyPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One half of a pair.
pub struct Identity {
    key: rcgen::KeyPair,
    peer: KeyPin,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity {{ {} }}", self.pin())
    }
}

/// Both halves.
#[derive(Debug)]
pub struct IdentityPair {
    /// Stays here.
    pub receiver: Identity,
    /// Goes to the sender.
    pub sender: Identity,
}

/// Makes a pair that nobody has had before.
pub fn new_pair() -> Result<IdentityPair, IdentityError> {
    let key = || rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519);
    let (receiver, sender) = (key()?, key()?);
    let (of_receiver, of_sender) = (pin(&receiver), pin(&sender));
    Ok(IdentityPair {
        receiver: Identity { key: receiver, peer: of_sender },
        sender: Identity { key: sender, peer: of_receiver },
    })
}

fn pin(key: &rcgen::KeyPair) -> KeyPin {
    KeyPin(blake3::hash(&rcgen::PublicKeyData::subject_public_key_info(key)))
}

impl Identity {
    /// Reads the line.
    pub fn parse(line: &str) -> Result<Self, IdentityError> {
        let mut words = line.split_whitespace();
        let (Some(PREFIX), Some(key), Some(peer), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(IdentityError::Line);
        };
        let key = from_hex(key).ok_or(IdentityError::Line)?;
        let peer = from_hex(peer)
            .and_then(|bytes| blake3::Hash::from_slice(&bytes).ok())
            .ok_or(IdentityError::Line)?;
        let der = rustls::pki_types::PrivatePkcs8KeyDer::from(key);
        let key = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ED25519)?;
        Ok(Self { key, peer: KeyPin(peer) })
    }

    /// The line. A secret.
    pub fn line(&self) -> String {
        let mut line = format!("{PREFIX} ");
        for byte in self.key.serialized_der() {
            // Writing to a string can't fail.
            let _ = write!(line, "{byte:02x}");
        }
        let _ = write!(line, " {}", self.peer);
        line
    }

    /// Of its own public key.
    pub fn pin(&self) -> KeyPin {
        pin(&self.key)
    }

    /// Of the other's.
    pub fn peer(&self) -> KeyPin {
        self.peer
    }

    pub(crate) fn certificate(
        &self,
    ) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), IdentityError> {
        let params = rcgen::CertificateParams::new(vec![NAME.to_owned()])?;
        let certificate = params.self_signed(&self.key)?;
        let key = PrivateKeyDer::Pkcs8(self.key.serialize_der().into());
        Ok((certificate.der().clone(), key))
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

/// Accepts exactly one public key, whatever its certificate says.
#[derive(Debug)]
pub(crate) struct PinnedVerifier {
    peer: KeyPin,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PinnedVerifier {
    pub(crate) fn new(peer: KeyPin) -> Self {
        Self { peer, algorithms: ring::default_provider().signature_verification_algorithms }
    }

    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        let parsed = webpki::EndEntityCert::try_from(certificate)
            .map_err(|_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let got = KeyPin(blake3::hash(&parsed.subject_public_key_info()));
        if got == self.peer {
            return Ok(());
        }
        let expected = self.peer;
        Err(rustls::Error::General(format!(
            "the peer's key is {got}, expected {expected}: paste the line of this receiver's pair"
        )))
    }

    fn signed(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }
}

/// TLS 1.2 is not spoken.
fn never() -> rustls::Error {
    rustls::Error::General("TLS 1.2".to_owned())
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(certificate).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(never())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for PinnedVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(certificate).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(never())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_leads_back_to_its_half() {
        let pair = new_pair().unwrap();
        let read = Identity::parse(&pair.sender.line()).unwrap();
        assert_eq!((read.pin(), read.peer()), (pair.receiver.peer(), pair.receiver.pin()));
        assert!(!format!("{pair:?}").contains(&pair.sender.line()[30..80]), "it tells the secret");
        let line = pair.sender.line();
        for bad in ["", "x", &line[1..], &line[..line.len() - 1], &line.replace(' ', "  x ")] {
            assert!(Identity::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_half_accepts_its_other_half_only() {
        let (pair, other) = (new_pair().unwrap(), new_pair().unwrap());
        let (certificate, _) = pair.sender.certificate().unwrap();
        assert!(PinnedVerifier::new(pair.receiver.peer()).check(&certificate).is_ok());
        let refused = PinnedVerifier::new(other.receiver.peer()).check(&certificate).unwrap_err();
        assert!(refused.to_string().contains("paste the line"), "{refused}");
    }
}
