//! A relay between the broker and PostgreSQL that keeps every byte sent upstream.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use hoop::demo::cluster::free_port;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What went upstream.
#[derive(Debug, Clone, Default)]
pub struct Tap(Arc<Mutex<Vec<u8>>>);

impl Tap {
    /// Relays every connection to the returned port on to `to`; everything on loopback, and in plain text.
    pub async fn start(to: u16) -> Result<(Self, u16)> {
        let port = free_port()?;
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let tap = Self::default();
        let kept = tap.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(kept.clone().relay(client, to));
            }
        });
        Ok((tap, port))
    }

    async fn relay(self, client: TcpStream, to: u16) -> Result<()> {
        client.set_nodelay(true)?;
        let server = TcpStream::connect(("127.0.0.1", to)).await?;
        server.set_nodelay(true)?;
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let back = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
        let mut buffer = vec![0; 16 * 1024];
        loop {
            match from_client.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(length) => {
                    self.bytes().extend(&buffer[..length]);
                    if to_server.write_all(&buffer[..length]).await.is_err() {
                        break;
                    }
                }
            }
        }
        let _closed = to_server.shutdown().await;
        let _ended = back.await;
        Ok(())
    }

    fn bytes(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets everything so far.
    pub fn clear(&self) {
        self.bytes().clear();
    }

    /// True when these bytes went upstream since the tap was cleared.
    pub fn saw(&self, needle: &[u8]) -> bool {
        !needle.is_empty() && self.bytes().windows(needle.len()).any(|window| window == needle)
    }
}
