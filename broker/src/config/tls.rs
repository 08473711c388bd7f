//! The certificate of the listeners: read, checked against its key, its dates and its names before anybody connects.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::server::ParsedCertificate;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::base::secret::Secret;

/// A certificate chain with its key, as both listeners use it.
pub struct Tls {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// The CA jobs are told to trust, PEM.
    pub ca: Option<String>,
    /// When the certificate ends.
    pub expires_at: Timestamp,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// What is wrong with a certificate or its key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsMistake {
    /// No certificate in the file.
    #[error("there is no PEM certificate in it")]
    NoCertificate,
    /// No key in the file.
    #[error("there is no PEM private key in it")]
    NoKey,
    /// The certificate cannot be read.
    #[error("the certificate is damaged: {0}")]
    Damaged(String),
    /// The certificate has ended.
    #[error("the certificate expired at {0}")]
    Expired(Timestamp),
    /// The certificate has not begun.
    #[error("the certificate is valid only from {0}")]
    NotYet(Timestamp),
    /// Key and certificate do not belong together.
    #[error("the key does not belong to the certificate")]
    KeyMismatch,
    /// The key cannot be used.
    #[error("the key cannot be used: {0}")]
    Key(String),
    /// Jobs verify the name, and it is not in the certificate.
    #[error("the certificate does not name {0}")]
    WrongName(String),
}

impl Tls {
    /// Reads the chain and its key.
    pub fn read(certificate: &str, key: &Secret, ca: Option<String>, now: Timestamp) -> Result<Self, TlsMistake> {
        let chain = certificates(certificate)?;
        let leaf = chain.first().ok_or(TlsMistake::NoCertificate)?;
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|error| TlsMistake::Damaged(error.to_string()))?;
        let time = |seconds| Timestamp::from_second(seconds).map_err(|error| TlsMistake::Damaged(error.to_string()));
        let begins_at = time(parsed.validity().not_before.timestamp())?;
        let expires_at = time(parsed.validity().not_after.timestamp())?;
        if now >= expires_at {
            return Err(TlsMistake::Expired(expires_at));
        }
        if now < begins_at {
            return Err(TlsMistake::NotYet(begins_at));
        }
        let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).map_err(|_| TlsMistake::NoKey)?;
        let tls = Self {
            chain,
            key,
            ca,
            expires_at,
        };
        tls.server(&[]).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => TlsMistake::KeyMismatch,
            other => TlsMistake::Key(other.to_string()),
        })?;
        Ok(tls)
    }

    /// Whether a job that verifies `host` will accept the certificate.
    pub fn names(&self, host: &str) -> Result<(), TlsMistake> {
        let wrong = || TlsMistake::WrongName(host.to_owned());
        let leaf = self.chain.first().ok_or(TlsMistake::NoCertificate)?;
        let parsed = ParsedCertificate::try_from(leaf).map_err(|error| TlsMistake::Damaged(error.to_string()))?;
        let name = ServerName::try_from(host.trim_matches(['[', ']'])).map_err(|_| wrong())?;
        verify_server_name(&parsed, &name).map_err(|_| wrong())
    }

    /// The server side of TLS for a listener that speaks these protocols (ALPN).
    pub fn server(&self, protocols: &[&str]) -> Result<Arc<ServerConfig>, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())?;
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Ok(Arc::new(config))
    }

    /// The certificate of the listener, for channel binding.
    pub fn leaf(&self) -> Option<&CertificateDer<'static>> {
        self.chain.first()
    }
}

/// Every certificate of a PEM text; at least one.
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsMistake> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let all = all.map_err(|error| TlsMistake::Damaged(error.to_string()))?;
    if all.is_empty() {
        return Err(TlsMistake::NoCertificate);
    }
    for one in &all {
        X509Certificate::from_der(one).map_err(|error| TlsMistake::Damaged(error.to_string()))?;
    }
    Ok(all)
}
