//! The first packet of a connection: TLS and GSS requests, cancel requests, the start-up message.

use super::{Body, WireFault};

/// PostgreSQL's own cap on a start-up packet.
pub const CAP: usize = 10_000;

const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;

/// A packet that starts a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum First {
    /// The client asks for TLS.
    Ssl,
    /// The client asks for GSS encryption.
    Gss,
    /// Cancel what runs for this key.
    Cancel {
        /// The backend process id.
        pid: u32,
        /// The secret, 4 bytes on protocol 3.0, up to 256 on 3.2.
        secret: Vec<u8>,
    },
    /// The start-up message.
    Startup(Startup),
}

/// The start-up message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup {
    /// The minor protocol version asked for.
    pub minor: u16,
    /// Keys and values in order. `user` and `database` are in here too.
    pub keys: Vec<(String, String)>,
}

impl Startup {
    /// The last value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.keys
            .iter()
            .rev()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }
}

/// The declared length of the packet whose first four bytes these are.
pub fn declared(length: [u8; 4]) -> Result<usize, WireFault> {
    let length = u32::from_be_bytes(length);
    let bytes = usize::try_from(length).unwrap_or(usize::MAX);
    if (8..=CAP).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(WireFault::Malformed("start-up"))
    }
}

/// Reads a packet without its length word.
pub fn read(packet: &[u8]) -> Result<First, WireFault> {
    let mut body = Body::new("start-up", packet);
    let code = u32::from_be_bytes(body.int32()?.to_be_bytes());
    match code {
        SSL_REQUEST => body.end().map(|()| First::Ssl),
        GSSENC_REQUEST => body.end().map(|()| First::Gss),
        CANCEL_REQUEST => {
            let pid = u32::from_be_bytes(body.int32()?.to_be_bytes());
            let secret = body.rest();
            if (4..=256).contains(&secret.len()) {
                Ok(First::Cancel {
                    pid,
                    secret: secret.to_vec(),
                })
            } else {
                Err(body.malformed())
            }
        }
        _ => startup(code, body).map(First::Startup),
    }
}

fn startup(code: u32, mut body: Body<'_>) -> Result<Startup, WireFault> {
    let [a, b, c, d] = code.to_be_bytes();
    let (major, minor) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    if major != 3 {
        return Err(WireFault::Version { major, minor });
    }
    let mut keys = Vec::new();
    loop {
        let key = body.cstr()?;
        if key.is_empty() {
            break;
        }
        keys.push((key.to_owned(), body.cstr()?.to_owned()));
    }
    body.end()?;
    Ok(Startup { minor, keys })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(code: u32, rest: &[u8]) -> Vec<u8> {
        [code.to_be_bytes().as_slice(), rest].concat()
    }

    #[test]
    fn reads_every_kind() {
        assert_eq!(read(&packet(SSL_REQUEST, b"")), Ok(First::Ssl));
        assert_eq!(read(&packet(GSSENC_REQUEST, b"")), Ok(First::Gss));
        assert_eq!(
            read(&packet(CANCEL_REQUEST, &[0, 0, 0, 7, 1, 2, 3, 4])),
            Ok(First::Cancel {
                pid: 7,
                secret: vec![1, 2, 3, 4]
            })
        );
        let First::Startup(startup) = read(&packet(196_608, b"user\0u\0database\0d\0\0")).unwrap() else {
            panic!("not a start-up");
        };
        assert_eq!(startup.get("database"), Some("d"));
    }

    #[test]
    fn refuses_what_is_not_terminated_or_has_trailing_bytes() {
        assert!(read(&packet(196_608, b"user\0u\0")).is_err());
        assert!(read(&packet(196_608, b"user\0u\0\0x")).is_err());
        assert!(read(&packet(SSL_REQUEST, b"x")).is_err());
        assert!(read(&packet(131_072, b"\0")).is_err());
        assert!(declared([0, 0, 0, 7]).is_err());
        assert!(declared([0, 0, 0x27, 0x11]).is_err());
    }
}
