//! Opening a connection to the database: TCP, SSLRequest, TLS verified in full. The only way upstream.

use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Target, Transport, UpstreamFault};

/// TCP, TLS and login together may take this long.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Connects to `target`, up to and including TLS.
pub async fn dial(target: &Target) -> Result<Transport, UpstreamFault> {
    let unreachable = |cause: String| UpstreamFault::Unreachable {
        database: target.name.clone(),
        cause,
    };
    let connect = TcpStream::connect((target.host.as_str(), target.port));
    let tcp = tokio::time::timeout(DEADLINE, connect)
        .await
        .map_err(|_| unreachable(format!("no answer within {} s", DEADLINE.as_secs())))?
        .map_err(|error| unreachable(error.to_string()))?;
    tcp.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
    match &target.tls {
        None => Ok(Transport::Plain(tcp)),
        Some(config) => tokio::time::timeout(DEADLINE, encrypt(target, config, tcp))
            .await
            .map_err(|_| unreachable(format!("no TLS handshake within {} s", DEADLINE.as_secs())))?,
    }
}

async fn encrypt(
    target: &Target,
    config: &std::sync::Arc<rustls::ClientConfig>,
    mut tcp: TcpStream,
) -> Result<Transport, UpstreamFault> {
    let refuse = |cause: String| UpstreamFault::Tls {
        database: target.name.clone(),
        cause,
    };
    let request = [0_u8, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
    tcp.write_all(&request)
        .await
        .map_err(|error| refuse(error.to_string()))?;
    // Exactly one byte is read: whatever a man in the middle puts behind it would have to be a TLS record.
    let answer = tcp.read_u8().await.map_err(|error| refuse(error.to_string()))?;
    if answer != b'S' {
        return Err(refuse("the server does not offer TLS".to_owned()));
    }
    let name = ServerName::try_from(target.host.clone()).map_err(|error| refuse(error.to_string()))?;
    let tls = TlsConnector::from(config.clone())
        .connect(name, tcp)
        .await
        .map_err(|error| refuse(error.to_string()))?;
    Ok(Transport::Tls(Box::new(tokio_rustls::TlsStream::Client(tls))))
}
