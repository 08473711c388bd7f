//! Frames: a type byte, a four-byte length that counts itself, a body.

use super::WireFault;

/// The type byte and the length: five bytes.
pub const HEADER: usize = 5;
/// A message that must be read whole before it can be judged or understood.
pub const WHOLE_CAP: u64 = 64 * 1024 * 1024;
/// A message that is streamed past (rows, COPY data, bound values): the protocol's own limit.
pub const STREAM_CAP: u64 = 1024 * 1024 * 1024;

/// The header of the frame at the start of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The message type.
    pub tag: u8,
    /// The whole frame in bytes, header included.
    pub total: usize,
}

impl Head {
    /// Reads the header at the start of `buffer`; `None` when fewer than five bytes are there. `streamed` says which
    /// types may be larger than [`WHOLE_CAP`].
    pub fn peek(buffer: &[u8], streamed: fn(u8) -> bool) -> Result<Option<Self>, WireFault> {
        let Some((&tag, rest)) = buffer.split_first() else {
            return Ok(None);
        };
        let Some(length) = rest.first_chunk::<4>() else {
            return Ok(None);
        };
        let declared = u64::from(u32::from_be_bytes(*length));
        let cap = if streamed(tag) { STREAM_CAP } else { WHOLE_CAP };
        if declared < 4 || declared > cap {
            return Err(WireFault::TooLong {
                tag: char::from(tag),
                length: declared,
                cap,
            });
        }
        let total = usize::try_from(declared + 1).map_err(|_| WireFault::Malformed("frame"))?;
        Ok(Some(Self { tag, total }))
    }

    /// True when the whole frame is in a buffer of `have` bytes.
    pub fn complete(self, have: usize) -> bool {
        have >= self.total
    }
}

/// Client message types whose bodies are streamed.
pub fn client_streams(tag: u8) -> bool {
    matches!(tag, b'd' | b'B')
}

/// Server message types whose bodies are streamed.
pub fn server_streams(tag: u8) -> bool {
    matches!(tag, b'D' | b'd')
}

/// The body of a complete frame of `total` bytes at the start of `buffer`.
pub fn body(buffer: &[u8], total: usize) -> Result<&[u8], WireFault> {
    buffer.get(HEADER..total).ok_or(WireFault::Malformed("frame"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundary_lengths() {
        for (length, ok) in [
            (0_u32, false),
            (1, false),
            (3, false),
            (4, true),
            (5, true),
            (0x7fff_ffff, false),
        ] {
            let mut bytes = vec![b'Q'];
            bytes.extend(length.to_be_bytes());
            assert_eq!(Head::peek(&bytes, client_streams).is_ok(), ok, "{length}");
        }
        for length in [0x8000_0000_u32, 0xffff_ffff] {
            let mut bytes = vec![b'd'];
            bytes.extend(length.to_be_bytes());
            assert!(Head::peek(&bytes, client_streams).is_err(), "{length}");
        }
    }

    #[test]
    fn a_short_header_is_not_a_frame_yet() {
        assert_eq!(Head::peek(b"Q\0\0\0", client_streams), Ok(None));
        let head = Head::peek(b"S\0\0\0\x04rest", client_streams).unwrap().unwrap();
        assert_eq!(head, Head { tag: b'S', total: 5 });
    }
}
