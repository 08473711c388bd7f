//! A raw-wire PostgreSQL peer: sends exactly the bytes a test says and shows exactly the messages that come back.

use anyhow::{Context as _, Result, bail};
use bytes::{Buf as _, BufMut as _, BytesMut};
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Any byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection after login.
pub struct Raw {
    stream: Box<dyn Stream>,
    inbound: BytesMut,
    /// The backend's process id as the peer was told.
    pub pid: u32,
    /// The cancel secret as the peer was told.
    pub secret: Vec<u8>,
}

/// One message: its type and its body.
pub type Message = (char, Vec<u8>);

impl Raw {
    /// Logs in over an open stream, with extra start-up keys.
    pub async fn login(stream: Box<dyn Stream>, user: &str, password: &str, keys: &[(&str, &str)]) -> Result<Self> {
        let mut raw = Self {
            stream,
            inbound: BytesMut::new(),
            pid: 0,
            secret: Vec::new(),
        };
        let mut body = BytesMut::new();
        body.put_u32(196_608);
        for (key, value) in [("user", user)].iter().chain(keys) {
            body.put_slice(key.as_bytes());
            body.put_u8(0);
            body.put_slice(value.as_bytes());
            body.put_u8(0);
        }
        body.put_u8(0);
        let mut packet = BytesMut::new();
        packet.put_u32(u32::try_from(body.len() + 4)?);
        packet.put_slice(&body);
        raw.send(&packet).await?;
        let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        loop {
            let (tag, body) = raw.next().await?;
            match tag {
                'R' => match i32::from_be_bytes(body[..4].try_into()?) {
                    10 => {
                        let first = scram.message().to_vec();
                        let mut out = b"SCRAM-SHA-256\0".to_vec();
                        out.extend(i32::try_from(first.len())?.to_be_bytes());
                        out.extend(first);
                        raw.message('p', &out).await?;
                    }
                    11 => {
                        scram.update(&body[4..])?;
                        let last = scram.message().to_vec();
                        raw.message('p', &last).await?;
                    }
                    12 => scram.finish(&body[4..])?,
                    0 => {}
                    other => bail!("authentication {other}"),
                },
                'K' => {
                    raw.pid = u32::from_be_bytes(body[..4].try_into()?);
                    raw.secret = body[4..].to_vec();
                }
                'Z' => return Ok(raw),
                'E' => bail!("refused: {}", fields(&body).join(" ")),
                _ => {}
            }
        }
    }

    /// The stream again, with what was read of it and not yet shown.
    pub fn into_stream(self) -> (Box<dyn Stream>, BytesMut) {
        (self.stream, self.inbound)
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    /// Sends one message.
    pub async fn message(&mut self, tag: char, body: &[u8]) -> Result<()> {
        self.send(&frame(tag, body)).await
    }

    /// The next message.
    pub async fn next(&mut self) -> Result<Message> {
        loop {
            if self.inbound.len() >= 5 {
                let length = u32::from_be_bytes(self.inbound[1..5].try_into()?) as usize;
                if self.inbound.len() > length {
                    let tag = char::from(self.inbound.get_u8());
                    self.inbound.advance(4);
                    return Ok((tag, self.inbound.split_to(length - 4).to_vec()));
                }
            }
            if self.stream.read_buf(&mut self.inbound).await.context("read")? == 0 {
                bail!("closed");
            }
        }
    }

    /// Every message up to and including ReadyForQuery, `count` times; ends early when the connection closes.
    pub async fn until_ready(&mut self, count: usize) -> Result<Vec<Message>> {
        let mut seen = Vec::new();
        let mut ready = 0;
        while ready < count {
            match tokio::time::timeout(std::time::Duration::from_secs(20), self.next()).await {
                Ok(Ok(message)) => {
                    ready += usize::from(message.0 == 'Z');
                    seen.push(message);
                }
                Ok(Err(_)) => break,
                Err(_) => bail!(
                    "no answer; so far {:?}",
                    seen.iter().map(|(tag, _)| *tag).collect::<String>()
                ),
            }
        }
        Ok(seen)
    }
}

/// One frame.
pub fn frame(tag: char, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag as u8];
    out.extend(u32::try_from(body.len() + 4).expect("a small body").to_be_bytes());
    out.extend(body);
    out
}

/// A Query message.
pub fn query(sql: &str) -> Vec<u8> {
    frame('Q', &[sql.as_bytes(), b"\0"].concat())
}

/// A Parse message.
pub fn parse(name: &str, sql: &str) -> Vec<u8> {
    frame('P', &[name.as_bytes(), b"\0", sql.as_bytes(), b"\0\0\0"].concat())
}

/// A Bind message without parameters.
pub fn bind(portal: &str, statement: &str) -> Vec<u8> {
    frame(
        'B',
        &[portal.as_bytes(), b"\0", statement.as_bytes(), b"\0\0\0\0\0\0\0"].concat(),
    )
}

/// A Describe of a portal.
pub fn describe(portal: &str) -> Vec<u8> {
    frame('D', &[b"P", portal.as_bytes(), b"\0"].concat())
}

/// An Execute message.
pub fn execute(portal: &str) -> Vec<u8> {
    frame('E', &[portal.as_bytes(), b"\0\0\0\0\0"].concat())
}

/// A Sync message.
pub fn sync() -> Vec<u8> {
    frame('S', b"")
}

/// The fields of an ErrorResponse, each with its type in front.
pub fn fields(body: &[u8]) -> Vec<String> {
    body.split(|&byte| byte == 0)
        .filter(|field| !field.is_empty())
        .map(|field| String::from_utf8_lossy(field).into_owned())
        .collect()
}

/// One field of an ErrorResponse.
pub fn field(body: &[u8], kind: char) -> String {
    fields(body)
        .into_iter()
        .find_map(|field| field.strip_prefix(kind).map(str::to_owned))
        .unwrap_or_default()
}
