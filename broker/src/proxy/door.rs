//! From an accepted socket to a start-up message: GSS and TLS requests, direct TLS, cancel requests.
//!
//! Nothing is ever read beyond the packet at hand, so bytes sent before a TLS handshake can only be part of it: a
//! smuggled plain-text message ends as a broken handshake.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::upstream::Transport;
use crate::wire::WireFault;
use crate::wire::startup::{self, First, Startup};

/// A TLS handshake may take this long.
const TLS_DEADLINE: Duration = Duration::from_secs(5);
/// RFC-registered name of the protocol, demanded of clients that start with TLS at once.
pub const ALPN: &[u8] = b"postgresql";

/// What the door needs for TLS.
#[derive(Clone)]
pub struct Tls {
    /// The handshake.
    pub acceptor: TlsAcceptor,
    /// The certificate chain in PEM: SCRAM channel binding hashes the first one.
    pub certificate_pem: Arc<Vec<u8>>,
}

impl Tls {
    /// TLS with `config`, whose certificate is `leaf`.
    pub fn new(config: Arc<rustls::ServerConfig>, leaf: &CertificateDer<'_>) -> Self {
        let body = STANDARD.encode(leaf);
        let lines: Vec<&str> = body
            .as_bytes()
            .chunks(64)
            .filter_map(|line| std::str::from_utf8(line).ok())
            .collect();
        let pem = format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            lines.join("\n")
        );
        Self {
            acceptor: TlsAcceptor::from(config),
            certificate_pem: Arc::new(pem.into_bytes()),
        }
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls(…)")
    }
}

/// What came through the door.
pub enum Arrival {
    /// A client that wants to log in.
    Client(Box<Transport>, Startup),
    /// A request to cancel what runs for a key.
    Cancel {
        /// Who asks: it waits until the connection closes, which says that the request was delivered.
        asker: Box<Transport>,
        /// The backend's process id.
        pid: u32,
        /// The secret.
        secret: Vec<u8>,
    },
}

/// Why nobody came through.
pub enum Turned {
    /// The connection broke or never spoke: nobody to answer.
    Silent,
    /// The client can be told.
    Told(Box<Transport>, WireFault),
    /// Plain text where TLS is required.
    Plain(Box<Transport>),
}

impl From<io::Error> for Turned {
    fn from(_: io::Error) -> Self {
        Self::Silent
    }
}

/// Brings a socket to its start-up message. Each request for encryption is answered once.
pub async fn enter(tcp: TcpStream, tls: Option<&Tls>) -> Result<Arrival, Turned> {
    let mut first_byte = [0_u8; 1];
    if tcp.peek(&mut first_byte).await? == 0 {
        return Err(Turned::Silent);
    }
    if first_byte == [0x16] {
        let Some(tls) = tls else { return Err(Turned::Silent) };
        let stream = handshake(tls, tcp).await?;
        if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(Turned::Silent);
        }
        return encrypted(Transport::Tls(Box::new(stream.into()))).await;
    }
    let mut tcp = tcp;
    let (mut ssl_asked, mut gss_asked) = (false, false);
    loop {
        let packet = match packet(&mut tcp).await? {
            Ok(packet) => packet,
            Err(fault) => return Err(Turned::Told(Box::new(Transport::Plain(tcp)), fault)),
        };
        match startup::read(&packet) {
            Ok(First::Ssl) if !ssl_asked => {
                ssl_asked = true;
                let Some(tls) = tls else {
                    tcp.write_all(b"N").await?;
                    continue;
                };
                tcp.write_all(b"S").await?;
                let stream = handshake(tls, tcp).await?;
                return encrypted(Transport::Tls(Box::new(stream.into()))).await;
            }
            Ok(First::Gss) if !gss_asked => {
                gss_asked = true;
                tcp.write_all(b"N").await?;
            }
            Ok(First::Ssl | First::Gss) => return Err(Turned::Silent),
            Ok(First::Cancel { pid, secret }) => {
                return Ok(Arrival::Cancel {
                    asker: Box::new(Transport::Plain(tcp)),
                    pid,
                    secret,
                });
            }
            Ok(First::Startup(_)) if tls.is_some() => return Err(Turned::Plain(Box::new(Transport::Plain(tcp)))),
            Ok(First::Startup(startup)) => return Ok(Arrival::Client(Box::new(Transport::Plain(tcp)), startup)),
            Err(fault) => return Err(Turned::Told(Box::new(Transport::Plain(tcp)), fault)),
        }
    }
}

/// After TLS only a start-up message or a cancel request may come.
async fn encrypted(mut transport: Transport) -> Result<Arrival, Turned> {
    let packet = match packet(&mut transport).await? {
        Ok(packet) => packet,
        Err(fault) => return Err(Turned::Told(Box::new(transport), fault)),
    };
    match startup::read(&packet) {
        Ok(First::Startup(startup)) => Ok(Arrival::Client(Box::new(transport), startup)),
        Ok(First::Cancel { pid, secret }) => Ok(Arrival::Cancel {
            asker: Box::new(transport),
            pid,
            secret,
        }),
        Ok(First::Ssl | First::Gss) => Err(Turned::Silent),
        Err(fault) => Err(Turned::Told(Box::new(transport), fault)),
    }
}

async fn handshake(tls: &Tls, tcp: TcpStream) -> Result<tokio_rustls::server::TlsStream<TcpStream>, Turned> {
    match tokio::time::timeout(TLS_DEADLINE, tls.acceptor.accept(tcp)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(_)) | Err(_) => Err(Turned::Silent),
    }
}

/// Reads one packet without its length word, and not a byte more.
async fn packet<T>(io: &mut T) -> io::Result<Result<Vec<u8>, WireFault>>
where
    T: tokio::io::AsyncRead + Unpin,
{
    let mut length = [0_u8; 4];
    io.read_exact(&mut length).await?;
    match startup::declared(length) {
        Ok(declared) => {
            let mut packet = vec![0_u8; declared - 4];
            io.read_exact(&mut packet).await?;
            Ok(Ok(packet))
        }
        Err(fault) => Ok(Err(fault)),
    }
}
