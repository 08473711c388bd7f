//! A TCP connection, with or without TLS, of either side.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// How long a connection that is over is read on.
const LINGER: Duration = Duration::from_secs(1);

/// One peer's connection.
#[derive(Debug)]
pub enum Transport {
    /// Plain TCP.
    Plain(TcpStream),
    /// TLS, as client or as server.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Transport {
    /// The TCP socket below.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }

    /// True when the bytes are encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

/// Sends the last bytes of this side, and its end. False when the peer did not take them `within` that time.
pub async fn part(to: &mut (impl AsyncWrite + Unpin), last: &[u8], within: Duration) -> bool {
    let parting = async {
        to.write_all(last).await?;
        to.shutdown().await
    };
    matches!(tokio::time::timeout(within, parting).await, Ok(Ok(())))
}

/// Reads on, and drops, until the peer ends its side too, for a second at most. A socket that is closed over bytes
/// nobody read resets the connection, and a reset may take with it what was said last: the reason of the end.
pub async fn linger(mut from: impl AsyncRead + Unpin) {
    let mut unheard = [0; 4096];
    let heard_out = async { while matches!(from.read(&mut unheard).await, Ok(1..)) {} };
    let _in_time = tokio::time::timeout(LINGER, heard_out).await;
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Self::Tls(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Self::Tls(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_flush(cx),
            Self::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Self::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}

/// TLS towards a database, verified in full: against `ca` (PEM), or the system's authorities.
pub fn verifying(ca: Option<&str>) -> Result<Arc<rustls::ClientConfig>, TrustFault> {
    let mut roots = rustls::RootCertStore::empty();
    let pem = match ca {
        Some(pem) => pem.as_bytes().to_vec(),
        None => std::fs::read(SYSTEM_ROOTS).map_err(|error| TrustFault(format!("{SYSTEM_ROOTS}: {error}")))?,
    };
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| TrustFault(error.to_string()))?;
        roots.add(certificate).map_err(|error| TrustFault(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(TrustFault("no certificate in it".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TrustFault(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Where Debian, Ubuntu and Alpine keep the system's authorities.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The authorities to trust cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the certificate authorities cannot be used: {0}")]
pub struct TrustFault(String);

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn who_is_still_sending_reads_why_it_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut ending, _) = listener.accept().await.unwrap();
        assert!(part(&mut ending, b"why", Duration::from_secs(20)).await);
        let ended = tokio::spawn(linger(ending));
        // More than both sockets hold: all of it is taken, or this would not end.
        sender.write_all(&vec![0; 16 * 1024 * 1024]).await.unwrap();
        let mut heard = Vec::new();
        sender.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"why");
        drop(sender);
        ended.await.unwrap();
    }

    #[tokio::test]
    async fn who_never_ends_is_not_waited_for() {
        let (mut ending, silent) = tokio::io::duplex(8);
        assert!(!part(&mut ending, b"more than it takes", Duration::ZERO).await);
        linger(ending).await;
        drop(silent);
    }
}
