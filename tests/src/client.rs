//! tokio-postgres over TLS, for tests: the same handshake any driver does.

use std::sync::Arc;

use anyhow::Result;
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_postgres::NoTls;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A TLS connection to a PostgreSQL port on loopback, after SSLRequest.
pub async fn tls(port: u16, ca: &str) -> Result<TlsStream<TcpStream>> {
    let mut tcp = TcpStream::connect(("127.0.0.1", port)).await?;
    tcp.set_nodelay(true)?;
    tcp.write_all(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]).await?;
    anyhow::ensure!(tcp.read_u8().await? == b'S', "the server does not offer TLS");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from("127.0.0.1")?, tcp)
        .await?)
}

/// Connects and drives the connection on a task of its own.
pub async fn connect(
    port: u16,
    user: &str,
    password: &str,
    database: &str,
    ca: Option<&str>,
) -> Result<tokio_postgres::Client> {
    let mut config = tokio_postgres::Config::new();
    config.user(user).password(password).dbname(database);
    match ca {
        Some(ca) => {
            let (client, connection) = config.connect_raw(tls(port, ca).await?, NoTls).await?;
            tokio::spawn(connection);
            Ok(client)
        }
        None => {
            let tcp = TcpStream::connect(("127.0.0.1", port)).await?;
            tcp.set_nodelay(true)?;
            let (client, connection) = config.connect_raw(tcp, NoTls).await?;
            tokio::spawn(connection);
            Ok(client)
        }
    }
}
