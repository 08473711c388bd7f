//! What goes over the socket between broker and worker: a kind, a length, that many bytes.

use std::io::{self, Read, Write};

/// A schema snapshot, as JSON; not answered.
pub const SNAPSHOT: u8 = b'S';
/// A text to read, as it is.
pub const TEXT: u8 = b'T';
/// The answer to a text, as JSON.
pub const READ: u8 = b'R';
/// A text and what shall stand in it, as JSON.
pub const SPLICE: u8 = b'P';
/// The answer to that, as JSON.
pub const SPLICED: u8 = b'D';

/// No frame is longer: neither a snapshot of a large schema nor the answer to a text of the largest size is.
const MAX: usize = 256 * 1024 * 1024;

/// Writes one frame.
pub fn write(to: &mut impl Write, kind: u8, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(body.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    to.write_all(&[kind])?;
    to.write_all(&length.to_be_bytes())?;
    to.write_all(body)?;
    to.flush()
}

/// Reads one frame; `None` where the peer closed instead of beginning one.
pub fn read(from: &mut impl Read) -> io::Result<Option<(u8, Vec<u8>)>> {
    let mut kind = [0];
    if from.read(&mut kind)? == 0 {
        return Ok(None);
    }
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| io::ErrorKind::InvalidData)?;
    if length > MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // Room is made for what comes, not for what is announced.
    let mut body = Vec::new();
    let limit = u64::try_from(length).map_err(|_| io::ErrorKind::InvalidData)?;
    if from.take(limit).read_to_end(&mut body)? < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let [kind] = kind;
    Ok(Some((kind, body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_as_it_went() {
        let mut wire = Vec::new();
        write(&mut wire, TEXT, b"SELECT 1").unwrap();
        write(&mut wire, READ, b"").unwrap();
        let mut wire = wire.as_slice();
        assert_eq!(read(&mut wire).unwrap(), Some((TEXT, b"SELECT 1".to_vec())));
        assert_eq!(read(&mut wire).unwrap(), Some((READ, Vec::new())));
        assert_eq!(read(&mut wire).unwrap(), None);
    }

    #[test]
    fn half_a_frame_and_an_endless_one_are_errors() {
        for wire in [&b"T"[..], b"T\0\0", b"T\0\0\0\x05SEL", b"T\xff\xff\xff\xff"] {
            assert!(read(&mut &*wire).is_err(), "{wire:?}");
        }
    }
}
