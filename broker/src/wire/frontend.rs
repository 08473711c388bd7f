//! What a client sends after start-up, as far as we read it.

use bytes::{BufMut, BytesMut};

use super::{Body, WireFault};

/// `Parse`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parse<'a> {
    /// The prepared statement's name, empty for the unnamed one.
    pub name: &'a str,
    /// The SQL text.
    pub text: &'a str,
    /// The OIDs of the types that parameters are declared to be of, 0 where the server is to find out.
    pub declared: &'a [[u8; 4]],
}

impl Parse<'_> {
    /// The OIDs of the declared types.
    pub fn types(&self) -> impl Iterator<Item = u32> {
        self.declared
            .iter()
            .map(|oid| u32::from_be_bytes(*oid))
            .filter(|oid| *oid != 0)
    }

    /// A parameter is declared to be of a type that is not PostgreSQL's own.
    pub fn has_user_types(&self) -> bool {
        self.types().any(|oid| oid >= FIRST_USER_OID)
    }
}

/// The first OID that PostgreSQL gives to what users create (`FirstNormalObjectId`).
const FIRST_USER_OID: u32 = 16_384;

/// Whether a `Describe` or `Close` names a statement or a portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// A portal.
    Portal(&'a str),
    /// A prepared statement.
    Statement(&'a str),
}

/// The text of a `Query`.
pub fn query(body: &[u8]) -> Result<&str, WireFault> {
    let mut reader = Body::new("Query", body);
    let text = reader.cstr()?;
    reader.end()?;
    Ok(text)
}

/// Reads a `Parse`.
pub fn parse(body: &[u8]) -> Result<Parse<'_>, WireFault> {
    let mut reader = Body::new("Parse", body);
    let name = reader.cstr()?;
    let text = reader.cstr()?;
    let count = usize::try_from(reader.int16()?).map_err(|_| reader.malformed())?;
    let types = reader.bytes(count * 4)?;
    reader.end()?;
    Ok(Parse {
        name,
        text,
        declared: types.as_chunks::<4>().0,
    })
}

/// The portal and the statement a `Bind` names. The body may be cut after them: the values are streamed past, and
/// the server checks them.
pub fn bind(start: &[u8]) -> Result<(&str, &str), WireFault> {
    let mut reader = Body::new("Bind", start);
    Ok((reader.cstr()?, reader.cstr()?))
}

/// The values of a whole `Bind`, in order; `None` for NULL. Text reads the same in both formats.
pub fn bound(body: &[u8]) -> Result<Vec<Option<&[u8]>>, WireFault> {
    let mut reader = Body::new("Bind", body);
    reader.cstr()?;
    reader.cstr()?;
    for _ in 0..reader.int16()?.cast_unsigned() {
        reader.int16()?;
    }
    (0..reader.int16()?.cast_unsigned())
        .map(|_| match usize::try_from(reader.int32()?) {
            Ok(length) => reader.bytes(length).map(Some),
            Err(_) => Ok(None),
        })
        .collect()
}

/// Reads a `Describe` or a `Close`.
pub fn target(body: &[u8]) -> Result<Target<'_>, WireFault> {
    let mut reader = Body::new("Describe or Close", body);
    let kind = reader.byte()?;
    let name = reader.cstr()?;
    let target = match kind {
        b'P' => Target::Portal(name),
        b'S' => Target::Statement(name),
        _ => return Err(reader.malformed()),
    };
    reader.end()?;
    Ok(target)
}

/// The portal an `Execute` names.
pub fn execute(body: &[u8]) -> Result<&str, WireFault> {
    let mut reader = Body::new("Execute", body);
    let portal = reader.cstr()?;
    reader.int32()?;
    reader.end()?;
    Ok(portal)
}

/// Appends a frame of type `tag` whose body `fill` writes.
pub fn frame(out: &mut BytesMut, tag: u8, fill: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    let start = out.len();
    out.put_u32(0);
    fill(out);
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    if let Some(slot) = out.get_mut(start..start + 4) {
        slot.copy_from_slice(&length.to_be_bytes());
    }
}

/// Appends NUL-terminated text. A NUL inside would end it early, so it is cut there.
pub fn put_cstr(out: &mut BytesMut, text: &str) {
    out.extend_from_slice(text.split('\0').next().unwrap_or_default().as_bytes());
    out.put_u8(0);
}

/// Appends a `Query`.
pub fn put_query(out: &mut BytesMut, text: &str) {
    frame(out, b'Q', |body| put_cstr(body, text));
}

/// Appends a `Parse` without parameter types.
pub fn put_parse(out: &mut BytesMut, name: &str, text: &str) {
    frame(out, b'P', |body| {
        put_cstr(body, name);
        put_cstr(body, text);
        body.put_i16(0);
    });
}

/// Appends a `Parse` with the parameter types of another one.
pub fn put_parse_of_types(out: &mut BytesMut, name: &str, text: &str, types: &[[u8; 4]]) {
    frame(out, b'P', |body| {
        put_cstr(body, name);
        put_cstr(body, text);
        body.put_u16(u16::try_from(types.len()).unwrap_or(u16::MAX));
        body.extend_from_slice(types.as_flattened());
    });
}

/// Appends a `Bind` without parameters, results as texts or in binary format.
pub fn put_bind(out: &mut BytesMut, portal: &str, statement: &str, binary: bool) {
    frame(out, b'B', |body| {
        put_cstr(body, portal);
        put_cstr(body, statement);
        body.put_i16(0);
        body.put_i16(0);
        // One format for all columns.
        body.put_i16(1);
        body.put_i16(binary.into());
    });
}

/// Appends a `Describe` of a portal.
pub fn put_describe_portal(out: &mut BytesMut, portal: &str) {
    frame(out, b'D', |body| {
        body.put_u8(b'P');
        put_cstr(body, portal);
    });
}

/// Appends a `Describe` of a prepared statement.
pub fn put_describe_statement(out: &mut BytesMut, name: &str) {
    frame(out, b'D', |body| {
        body.put_u8(b'S');
        put_cstr(body, name);
    });
}

/// Appends an `Execute` without a row limit.
pub fn put_execute(out: &mut BytesMut, portal: &str) {
    frame(out, b'E', |body| {
        put_cstr(body, portal);
        body.put_i32(0);
    });
}

/// Appends a `Close` of a prepared statement.
pub fn put_close_statement(out: &mut BytesMut, name: &str) {
    frame(out, b'C', |body| {
        body.put_u8(b'S');
        put_cstr(body, name);
    });
}

/// Appends a `Close` of a portal.
pub fn put_close_portal(out: &mut BytesMut, name: &str) {
    frame(out, b'C', |body| {
        body.put_u8(b'P');
        put_cstr(body, name);
    });
}

/// Appends a message without a body: `Sync`, `Flush`, `Terminate`.
pub fn put_bare(out: &mut BytesMut, tag: u8) {
    frame(out, tag, |_| {});
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let mut out = BytesMut::new();
        put_parse(&mut out, "s", "SELECT 1");
        assert_eq!(
            parse(&out[5..]).unwrap(),
            Parse {
                name: "s",
                text: "SELECT 1",
                declared: &[],
            }
        );
        out.clear();
        put_query(&mut out, "SELECT 1");
        assert_eq!(query(&out[5..]).unwrap(), "SELECT 1");
        out.clear();
        put_execute(&mut out, "p");
        assert_eq!(execute(&out[5..]).unwrap(), "p");
    }

    #[test]
    fn a_query_with_bytes_after_its_nul_is_refused() {
        assert_eq!(query(b"SELECT 1\0DROP TABLE t\0"), Err(WireFault::Malformed("Query")));
        assert_eq!(query(b"SELECT 1"), Err(WireFault::Malformed("Query")));
        assert_eq!(query(b"SELECT '\xff'\0"), Err(WireFault::NotUtf8));
    }

    #[test]
    fn a_parse_with_a_lying_type_count_is_refused() {
        assert!(parse(b"\0SELECT 1\0\0\x01").is_err());
        assert!(parse(b"\0SELECT 1\0\xff\xff").is_err());
        assert!(parse(b"\0SELECT 1\0\0\0x").is_err());
    }
}
