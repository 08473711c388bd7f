//! PostgreSQL's wire protocol as bytes: frames, the few messages we read, the few we write. Pure.
//!
//! A frame is sliced by its own checked length and nothing else: what is not read whole is forwarded untouched.

pub mod answer;
pub mod backend;
pub mod frame;
pub mod frontend;
pub mod startup;

/// A breach of the protocol. The text may be shown to the peer: it never holds what the peer sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireFault {
    /// A message body does not have the shape its type demands.
    #[error("malformed {0} message")]
    Malformed(&'static str),
    /// A declared length is below the protocol's minimum or above our cap.
    #[error("message of type {tag:?} declares {length} bytes; at most {cap} are accepted")]
    TooLong {
        /// The message type.
        tag: char,
        /// The declared length.
        length: u64,
        /// What is accepted.
        cap: u64,
    },
    /// A message type that may not stand here.
    #[error("unexpected message type {0:?}")]
    Unexpected(char),
    /// Text that is not UTF-8.
    #[error("invalid byte sequence for encoding \"UTF8\"")]
    NotUtf8,
    /// A start-up packet for another protocol.
    #[error("unsupported frontend protocol {major}.{minor}: the broker speaks 3.0 to 3.2")]
    Version {
        /// Major version asked for.
        major: u16,
        /// Minor version asked for.
        minor: u16,
    },
}

impl WireFault {
    /// The SQLSTATE that fits.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::NotUtf8 => "22021",
            Self::Version { .. } => "0A000",
            Self::Malformed(_) | Self::TooLong { .. } | Self::Unexpected(_) => "08P01",
        }
    }
}

/// Reads the fields of one message body in order. Every method refuses to run past the end.
#[derive(Debug, Clone)]
pub struct Body<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Body<'a> {
    /// A reader over `bytes`, the body of a `what` message.
    pub fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, rest: bytes }
    }

    /// The refusal for this message.
    pub fn malformed(&self) -> WireFault {
        WireFault::Malformed(self.what)
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, WireFault> {
        let (first, rest) = self.rest.split_first().ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(*first)
    }

    /// `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], WireFault> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(head)
    }

    /// A big-endian 16-bit integer.
    pub fn int16(&mut self) -> Result<i16, WireFault> {
        let bytes = self.bytes(2)?;
        Ok(i16::from_be_bytes(bytes.try_into().map_err(|_| self.malformed())?))
    }

    /// A big-endian 32-bit integer.
    pub fn int32(&mut self) -> Result<i32, WireFault> {
        let bytes = self.bytes(4)?;
        Ok(i32::from_be_bytes(bytes.try_into().map_err(|_| self.malformed())?))
    }

    /// Bytes up to a NUL, which is consumed.
    pub fn cstr_bytes(&mut self) -> Result<&'a [u8], WireFault> {
        let end = self
            .rest
            .iter()
            .position(|&byte| byte == 0)
            .ok_or_else(|| self.malformed())?;
        let text = self.bytes(end)?;
        self.byte()?;
        Ok(text)
    }

    /// UTF-8 up to a NUL, which is consumed.
    pub fn cstr(&mut self) -> Result<&'a str, WireFault> {
        std::str::from_utf8(self.cstr_bytes()?).map_err(|_| WireFault::NotUtf8)
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Refuses trailing bytes.
    pub fn end(self) -> Result<(), WireFault> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.malformed())
        }
    }
}
