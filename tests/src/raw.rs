//! A raw-wire PostgreSQL peer: sends exactly the bytes a test says and shows exactly the messages that come back.

use anyhow::{Context as _, Result, bail};
use bytes::{Buf as _, BytesMut};
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::client;
use crate::house::{Grant, House, LOGIN, LOGIN_PASSWORD};

/// An answer that does not come in this time is missing.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

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
    /// The ParameterStatus values of the greeting.
    pub parameters: Vec<(String, String)>,
    /// The body of NegotiateProtocolVersion, when there was one.
    pub negotiated: Option<Vec<u8>>,
}

/// One message: its type and its body.
pub type Message = (char, Vec<u8>);

/// Logs in at the endpoint, with extra start-up keys.
pub async fn endpoint(house: &House, grant: &Grant, keys: &[(&str, &str)]) -> Result<Raw> {
    let stream = client::tls(house.port, house.authority.pem()).await?;
    Raw::login(Box::new(stream), &grant.user(), &grant.password(), keys).await
}

/// Logs in at the database directly, as the broker's own login.
pub async fn server(house: &House) -> Result<Raw> {
    let stream = client::tls(house.cluster.port(), house.authority.pem()).await?;
    Raw::login(Box::new(stream), LOGIN, LOGIN_PASSWORD, &[("database", "shop")]).await
}

/// The next client is served.
pub async fn served(house: &House, grant: &Grant) -> Result<()> {
    let mut peer = endpoint(house, grant, &[]).await.context("the next client")?;
    peer.send(&query("SELECT 1")).await?;
    anyhow::ensure!(
        tags(&peer.until_ready(1).await?) == "TDCZ",
        "the next client gets no rows"
    );
    peer.send(&frame('X', b"")).await
}

impl Raw {
    /// Logs in over an open stream, with extra start-up keys.
    pub async fn login(stream: Box<dyn Stream>, user: &str, password: &str, keys: &[(&str, &str)]) -> Result<Self> {
        Self::login_as(stream, 196_608, user, password, keys).await
    }

    /// The same in a certain version of the protocol.
    pub async fn login_as(
        stream: Box<dyn Stream>,
        version: u32,
        user: &str,
        password: &str,
        keys: &[(&str, &str)],
    ) -> Result<Self> {
        let mut raw = Self::new(stream);
        let pairs: Vec<_> = [("user", user)].into_iter().chain(keys.iter().copied()).collect();
        raw.send(&packet(version, &self::keys(&pairs))).await?;
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
                'S' => {
                    let texts: Vec<&[u8]> = body.split(|&byte| byte == 0).collect();
                    let text = |index: usize| String::from_utf8_lossy(texts[index]).into_owned();
                    raw.parameters.push((text(0), text(1)));
                }
                'v' => raw.negotiated = Some(body),
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

    /// A peer on an open stream that has said nothing yet.
    pub fn new(stream: Box<dyn Stream>) -> Self {
        Self {
            stream,
            inbound: BytesMut::new(),
            pid: 0,
            secret: Vec::new(),
            parameters: Vec::new(),
            negotiated: None,
        }
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

    /// Every message up to and including the first of type `last`; ends early when the connection closes.
    pub async fn until(&mut self, last: char) -> Result<Vec<Message>> {
        let mut seen = Vec::new();
        loop {
            match tokio::time::timeout(PATIENCE, self.next()).await {
                Ok(Ok(message)) => {
                    let done = message.0 == last;
                    seen.push(message);
                    if done {
                        return Ok(seen);
                    }
                }
                Ok(Err(_)) => return Ok(seen),
                Err(_) => bail!("no {last}; so far {}", tags(&seen)),
            }
        }
    }

    /// Every message until the peer closes the connection.
    pub async fn until_closed(&mut self) -> Result<Vec<Message>> {
        self.until('\0').await
    }

    /// Every message up to and including ReadyForQuery, `count` times; ends early when the connection closes.
    pub async fn until_ready(&mut self, count: usize) -> Result<Vec<Message>> {
        let mut seen = Vec::new();
        let mut ready = 0;
        while ready < count {
            match tokio::time::timeout(PATIENCE, self.next()).await {
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

/// A Parse message that declares the parameters' types.
pub fn parse_typed(name: &str, sql: &str, types: &[u32]) -> Vec<u8> {
    let mut body = [name.as_bytes(), b"\0", sql.as_bytes(), b"\0"].concat();
    body.extend(u16::try_from(types.len()).expect("few types").to_be_bytes());
    for oid in types {
        body.extend(oid.to_be_bytes());
    }
    frame('P', &body)
}

/// A Bind message with parameters in text, all results in text.
pub fn bind_values(portal: &str, statement: &str, values: &[&[u8]]) -> Vec<u8> {
    let mut body = [portal.as_bytes(), b"\0", statement.as_bytes(), b"\0\0\0"].concat();
    body.extend(
        u16::try_from(values.len())
            .expect("at most 65,535 values")
            .to_be_bytes(),
    );
    for value in values {
        body.extend(u32::try_from(value.len()).expect("a small value").to_be_bytes());
        body.extend(*value);
    }
    body.extend([0, 0]);
    frame('B', &body)
}

/// A Bind message with parameters in text, all results in binary.
pub fn bind_binary(portal: &str, statement: &str, values: &[&[u8]]) -> Vec<u8> {
    let text = bind_values(portal, statement, values);
    let body = &text[5..text.len() - 2];
    frame('B', &[body, &[0, 1, 0, 1]].concat())
}

/// A Describe of a prepared statement.
pub fn describe_statement(name: &str) -> Vec<u8> {
    frame('D', &[b"S", name.as_bytes(), b"\0"].concat())
}

/// A Close of a portal (`'P'`) or a prepared statement (`'S'`).
pub fn close(kind: char, name: &str) -> Vec<u8> {
    frame('C', &[&[kind as u8], name.as_bytes(), b"\0"].concat())
}

/// An Execute message that wants at most `rows` rows.
pub fn execute_some(portal: &str, rows: u32) -> Vec<u8> {
    frame('E', &[portal.as_bytes(), b"\0", &rows.to_be_bytes()].concat())
}

/// A Flush message.
pub fn flush() -> Vec<u8> {
    frame('H', b"")
}

/// A CopyData message.
pub fn copy_data(data: &[u8]) -> Vec<u8> {
    frame('d', data)
}

/// CopyDone.
pub fn copy_done() -> Vec<u8> {
    frame('c', b"")
}

/// CopyFail.
pub fn copy_fail() -> Vec<u8> {
    frame('f', b"no more\0")
}

/// A FunctionCall without arguments.
pub fn function_call(oid: u32) -> Vec<u8> {
    frame('F', &[&oid.to_be_bytes()[..], &[0, 0, 0, 0, 0, 0]].concat())
}

/// A start-up packet (or any other packet without a type byte).
pub fn packet(code: u32, rest: &[u8]) -> Vec<u8> {
    let length = u32::try_from(rest.len() + 8).expect("a small packet");
    [&length.to_be_bytes()[..], &code.to_be_bytes(), rest].concat()
}

/// The body of a start-up message: its keys and values.
pub fn keys(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in pairs {
        body.extend([key.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    body.push(0);
    body
}

/// The types of messages in a row.
pub fn tags(messages: &[Message]) -> String {
    messages.iter().map(|(tag, _)| *tag).collect()
}
