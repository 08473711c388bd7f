//! One look at an issuer's keys: bounded in time and size, never redirected, never to an address a token named.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Certificate, Client, StatusCode, redirect};
use serde::Deserialize;
use url::Url;

use crate::token::config::ConfigError;
use crate::token::{Issuer, KeySet, KeySource, is_loopback};

/// The largest document taken from an issuer.
const MAX_DOCUMENT: usize = 64 * 1024;

/// The longest one request may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why an issuer's keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No answer.
    #[error("no answer from {url}")]
    NoAnswer {
        /// What was asked.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// An answer other than 200. A redirect is one: it is never followed.
    #[error("{url} answered {status}")]
    Status {
        /// What was asked.
        url: String,
        /// The answer.
        status: StatusCode,
    },
    /// More than 64 KiB.
    #[error("the document at {place} is larger than 64 KiB")]
    TooLarge {
        /// The URL or file.
        place: String,
    },
    /// Not what it should be.
    #[error("the document at {place} is not {what}")]
    Nonsense {
        /// The URL or file.
        place: String,
        /// What it should be.
        what: &'static str,
    },
    /// The discovery document speaks for someone else.
    #[error("the discovery document at {url} names another issuer")]
    OtherIssuer {
        /// What was asked.
        url: String,
    },
    /// The discovery document sends the broker elsewhere.
    #[error("the discovery document at {url} names keys at another origin; set `jwks-url` if that is right")]
    ForeignKeys {
        /// What was asked.
        url: String,
    },
    /// The file with the keys cannot be read.
    #[error("cannot read {path}")]
    File {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl FetchError {
    /// The error and its causes in one line, for the operator.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(inner) = cause {
            text = format!("{text}: {inner}");
            cause = inner.source();
        }
        text
    }
}

/// Where one issuer's keys are looked for.
#[derive(Debug)]
pub(super) enum Fetcher {
    Discover { client: Client, issuer: String, url: Url },
    Url { client: Client, url: Url },
    File(PathBuf),
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Fetcher {
    pub(super) fn new(issuer: &Issuer) -> Result<Self, ConfigError> {
        let fail = |key, problem| ConfigError {
            issuer: issuer.name.clone(),
            key,
            problem,
        };
        let discovery = format!("{}/.well-known/openid-configuration", issuer.url.trim_end_matches('/'));
        let discovery = Url::parse(&discovery).map_err(|why| fail("url", why.to_string()))?;
        Ok(match &issuer.keys {
            KeySource::File(path) => Self::File(path.clone()),
            KeySource::Url(url) => Self::Url {
                client: client(issuer, url).map_err(|problem| fail("ca", problem))?,
                url: url.clone(),
            },
            KeySource::Discover => Self::Discover {
                client: client(issuer, &discovery).map_err(|problem| fail("ca", problem))?,
                issuer: issuer.url.clone(),
                url: discovery,
            },
        })
    }

    pub(super) async fn keys(&self) -> Result<KeySet, FetchError> {
        let (document, place) = match self {
            Self::File(path) => (read(path).await?, path.display().to_string()),
            Self::Url { client, url } => (get(client, url).await?, url.to_string()),
            Self::Discover { client, issuer, url } => {
                let keys_url = discover(client, issuer, url).await?;
                (get(client, &keys_url).await?, keys_url.to_string())
            }
        };
        match KeySet::read(&document) {
            Some(set) if !set.is_empty() => Ok(set),
            _ => Err(FetchError::Nonsense {
                place,
                what: "a JWKS with at least one usable key",
            }),
        }
    }
}

/// Where the keys are, by the issuer's own word, if that is at its own origin.
async fn discover(client: &Client, issuer: &str, url: &Url) -> Result<Url, FetchError> {
    let document = get(client, url).await?;
    let nonsense = || FetchError::Nonsense {
        place: url.to_string(),
        what: "a discovery document",
    };
    let discovery: Discovery = serde_json::from_slice(&document).map_err(|_| nonsense())?;
    if discovery.issuer != issuer {
        return Err(FetchError::OtherIssuer { url: url.to_string() });
    }
    let keys_url = Url::parse(&discovery.jwks_uri).map_err(|_| nonsense())?;
    let plain = keys_url.username().is_empty() && keys_url.password().is_none();
    if keys_url.origin() != url.origin() || !plain {
        return Err(FetchError::ForeignKeys { url: url.to_string() });
    }
    Ok(keys_url)
}

fn client(issuer: &Issuer, url: &Url) -> Result<Client, String> {
    let mut builder = Client::builder()
        .redirect(redirect::Policy::none())
        .connect_timeout(TIMEOUT)
        .timeout(TIMEOUT)
        .pool_max_idle_per_host(1)
        .user_agent(concat!("hoop-db-access/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = &issuer.ca {
        let pem = std::fs::read(path).map_err(|why| format!("cannot read {}: {why}", path.display()))?;
        let roots = Certificate::from_pem_bundle(&pem).map_err(|why| format!("{}: {why}", path.display()))?;
        if roots.is_empty() {
            return Err(format!("{} holds no PEM certificate", path.display()));
        }
        builder = builder.tls_certs_only(roots);
    } else if url.scheme() == "http" {
        // Plain HTTP is for loopback only: no authorities are needed, and the machine may have none.
        builder = builder.tls_certs_only([]);
    }
    if is_loopback(url) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|why| {
        format!("no TLS client can be made ({why}); install the system's CA certificates or set `ca: file:…`")
    })
}

async fn get(client: &Client, url: &Url) -> Result<Vec<u8>, FetchError> {
    let no_answer = |source: reqwest::Error| FetchError::NoAnswer {
        url: url.to_string(),
        source: source.without_url(),
    };
    let mut response = client.get(url.clone()).send().await.map_err(no_answer)?;
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status {
            url: url.to_string(),
            status: response.status(),
        });
    }
    let mut document = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(no_answer)? {
        if document.len() + chunk.len() > MAX_DOCUMENT {
            return Err(FetchError::TooLarge { place: url.to_string() });
        }
        document.extend_from_slice(&chunk);
    }
    Ok(document)
}

async fn read(path: &Path) -> Result<Vec<u8>, FetchError> {
    let document = tokio::fs::read(path).await.map_err(|source| FetchError::File {
        path: path.display().to_string(),
        source,
    })?;
    if document.len() > MAX_DOCUMENT {
        return Err(FetchError::TooLarge {
            place: path.display().to_string(),
        });
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::token::config::IssuerConfig;

    const KEYS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"k","x":"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY","y":"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"}]}"#;

    fn issuer(url: &str, extra: &Value) -> Issuer {
        let mut entry = json!({
            "kind": "github-actions", "url": url, "audience": "db", "allow": { "owner-ids": ["1"] },
        });
        for (name, value) in extra.as_object().unwrap() {
            entry[name] = value.clone();
        }
        serde_json::from_value::<IssuerConfig>(entry)
            .unwrap()
            .build("ci")
            .unwrap()
    }

    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    /// A TLS server that answers every request with [`KEYS`] as `name`; returns its port.
    async fn serve(authority: &CertifiedIssuer<'static, KeyPair>, name: &str) -> u16 {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .signed_by(&key, authority)
            .unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let Ok(mut socket) = acceptor.accept(socket).await else {
                    continue;
                };
                let _request = socket.read(&mut [0; 4096]).await;
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{KEYS}", KEYS.len());
                let _sent = socket.write_all(answer.as_bytes()).await;
            }
        });
        port
    }

    async fn fetch(port: u16, ca: &Path) -> Result<usize, String> {
        let extra = json!({
            "ca": format!("file:{}", ca.display()), "jwks-url": format!("https://localhost:{port}/keys"),
        });
        let fetcher = Fetcher::new(&issuer("https://ci.example.com", &extra)).map_err(|error| error.to_string())?;
        fetcher
            .keys()
            .await
            .map(|keys| keys.len())
            .map_err(|error| error.chain())
    }

    #[tokio::test]
    async fn tls_is_verified_against_the_configured_authority_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (authority(), authority());
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, ours.pem()).unwrap();
        assert_eq!(fetch(serve(&ours, "localhost").await, &ca).await, Ok(1));
        let stranger = fetch(serve(&theirs, "localhost").await, &ca).await.unwrap_err();
        assert!(
            stranger.contains("UnknownIssuer") || stranger.contains("BadSignature"),
            "{stranger}"
        );
        let misnamed = fetch(serve(&ours, "other.example.com").await, &ca).await.unwrap_err();
        assert!(misnamed.contains("not valid for name"), "{misnamed}");
    }

    #[tokio::test]
    async fn an_authority_file_that_is_none_is_a_configuration_error() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "").unwrap();
        for (path, problem) in [
            (empty, "holds no PEM certificate"),
            (folder.path().join("none.pem"), "cannot read"),
        ] {
            let error = fetch(1, &path).await.unwrap_err();
            assert!(
                error.starts_with("issuers.ci.ca: ") && error.contains(problem),
                "{error}"
            );
        }
    }
}
