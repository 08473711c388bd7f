//! A client that costs as little as possible, for bulk: bytes are counted, not looked at.

use anyhow::{Context as _, Result, bail};
use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::rig::{DATABASE, Way};
use crate::raw::{Raw, Stream, frame, query};

/// A logged-in connection.
pub struct Client {
    stream: Box<dyn Stream>,
    inbound: BytesMut,
}

impl Client {
    /// Connects and logs in.
    pub async fn connect(way: &Way, ca: &str) -> Result<Self> {
        let stream: Box<dyn Stream> = if way.tls {
            Box::new(crate::client::tls(way.port, ca).await?)
        } else {
            let tcp = TcpStream::connect(("127.0.0.1", way.port)).await?;
            tcp.set_nodelay(true)?;
            Box::new(tcp)
        };
        let raw = Raw::login(stream, &way.user, &way.password, &[("database", DATABASE)]).await?;
        let (stream, inbound) = raw.into_stream();
        Ok(Self { stream, inbound })
    }

    /// Sends one Query and reads to ReadyForQuery.
    pub async fn query(&mut self, sql: &str) -> Result<u64> {
        self.stream.write_all(&query(sql)).await?;
        self.stream.flush().await?;
        self.until(b'Z').await
    }

    /// COPY … FROM STDIN with data that is framed already.
    pub async fn copy_in(&mut self, sql: &str, framed: &[u8]) -> Result<u64> {
        self.stream.write_all(&query(sql)).await?;
        self.stream.flush().await?;
        self.until(b'G').await?;
        self.stream.write_all(framed).await?;
        self.stream.write_all(&frame('c', b"")).await?;
        self.stream.flush().await?;
        self.until(b'Z').await
    }

    /// Reads up to and including the first message of type `last`; returns how many messages there were.
    async fn until(&mut self, last: u8) -> Result<u64> {
        let (mut messages, mut rest) = (0, 0_usize);
        loop {
            let here = rest.min(self.inbound.len());
            self.inbound.advance(here);
            rest -= here;
            while rest == 0 && self.inbound.len() >= 5 {
                let tag = self.inbound[0];
                let total = u32::from_be_bytes(self.inbound[1..5].try_into()?) as usize + 1;
                if tag == b'E' {
                    if self.inbound.len() < total {
                        break;
                    }
                    bail!("refused: {}", crate::raw::fields(&self.inbound[5..total]).join(" "));
                }
                messages += 1;
                let here = total.min(self.inbound.len());
                self.inbound.advance(here);
                rest = total - here;
                if tag == last {
                    anyhow::ensure!(rest == 0, "the last message is not whole");
                    return Ok(messages);
                }
            }
            self.inbound.reserve(256 * 1024);
            if self.stream.read_buf(&mut self.inbound).await.context("read")? == 0 {
                bail!("closed");
            }
        }
    }
}
