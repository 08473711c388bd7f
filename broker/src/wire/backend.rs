//! What a server sends, as far as we read it. The server is not trusted to be well-formed.

use bytes::BytesMut;

use super::frontend::frame;
use super::{Body, WireFault};

/// The fields of an ErrorResponse or NoticeResponse that we look at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report<'a> {
    /// `V`, the severity that is never translated; falls back to `S`.
    pub severity: &'a str,
    /// `C`, the SQLSTATE.
    pub sqlstate: &'a str,
    /// `M`, the message.
    pub message: &'a str,
}

impl Report<'_> {
    /// True when the server ends the connection after it.
    pub fn is_fatal(&self) -> bool {
        matches!(self.severity, "FATAL" | "PANIC")
    }
}

/// Reads an ErrorResponse or NoticeResponse. Missing fields read as empty.
pub fn report(body: &[u8]) -> Result<Report<'_>, WireFault> {
    let mut reader = Body::new("ErrorResponse", body);
    let mut report = Report::default();
    loop {
        let field = reader.byte()?;
        if field == 0 {
            break;
        }
        // Before the encoding is agreed a server may speak any encoding: what is not UTF-8 reads as empty.
        let text = std::str::from_utf8(reader.cstr_bytes()?).unwrap_or_default();
        match field {
            b'V' => report.severity = text,
            b'S' if report.severity.is_empty() => report.severity = text,
            b'C' => report.sqlstate = text,
            b'M' => report.message = text,
            _ => {}
        }
    }
    reader.end()?;
    Ok(report)
}

/// The whole ErrorResponse or NoticeResponse (`tag`) of this body without the fields `left_out`, and with another
/// message where one is given, as bytes for the wire.
pub fn reworded(tag: u8, body: &[u8], left_out: &[u8], message: Option<&str>) -> Result<BytesMut, WireFault> {
    let mut reader = Body::new("ErrorResponse", body);
    let mut kept = Vec::with_capacity(body.len());
    loop {
        let field = reader.byte()?;
        if field == 0 {
            break;
        }
        let text = reader.cstr_bytes()?;
        if !left_out.contains(&field) {
            kept.push(field);
            kept.extend_from_slice(message.filter(|_| field == b'M').map_or(text, str::as_bytes));
            kept.push(0);
        }
    }
    kept.push(0);
    let mut out = BytesMut::with_capacity(kept.len() + 5);
    frame(&mut out, tag, |out| out.extend_from_slice(&kept));
    Ok(out)
}

/// The ErrorResponse or NoticeResponse (`tag`) of this body with other words where `clean` has some for a field of
/// `fields`, as bytes for the wire; `None` when it has none.
pub fn respelled(
    tag: u8,
    body: &[u8],
    fields: &[u8],
    mut clean: impl FnMut(&[u8]) -> Option<Vec<u8>>,
) -> Result<Option<BytesMut>, WireFault> {
    let mut reader = Body::new("ErrorResponse", body);
    let (mut kept, mut changed) = (Vec::with_capacity(body.len()), false);
    loop {
        let field = reader.byte()?;
        kept.push(field);
        if field == 0 {
            break;
        }
        let text = reader.cstr_bytes()?;
        let other = fields.contains(&field).then(|| clean(text)).flatten();
        changed |= other.is_some();
        kept.extend_from_slice(other.as_deref().unwrap_or(text));
        kept.push(0);
    }
    let mut out = BytesMut::with_capacity(kept.len() + 5);
    frame(&mut out, tag, |out| out.extend_from_slice(&kept));
    Ok(changed.then_some(out))
}

/// The NotificationResponse of this body with another payload where `clean` has one.
pub fn renotified(body: &[u8], clean: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> Result<Option<BytesMut>, WireFault> {
    let mut reader = Body::new("NotificationResponse", body);
    reader.int32()?;
    reader.cstr_bytes()?;
    let before = body.len() - reader.rest().len();
    let Some(payload) = clean(reader.cstr_bytes()?) else {
        return Ok(None);
    };
    let mut out = BytesMut::with_capacity(body.len() + 5);
    frame(&mut out, b'A', |out| {
        out.extend_from_slice(body.get(..before).unwrap_or_default());
        out.extend_from_slice(&payload);
        out.extend_from_slice(&[0]);
    });
    Ok(Some(out))
}

/// A column of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// The OID of its type.
    pub of: u32,
    /// Its values come in binary format.
    pub binary: bool,
}

/// The columns that a RowDescription tells.
pub fn columns(body: &[u8]) -> Result<Vec<Column>, WireFault> {
    let mut reader = Body::new("RowDescription", body);
    (0..reader.int16()?.cast_unsigned())
        .map(|_| {
            reader.cstr_bytes()?;
            reader.bytes(6)?;
            let of = reader.int32()?.cast_unsigned();
            reader.bytes(6)?;
            let binary = reader.int16()? != 0;
            Ok(Column { of, binary })
        })
        .collect()
}

/// The DataRow of this body, of `count` columns, with other values where `clean` has one for a column and its value, as
/// bytes for the wire; `None` when it has none.
pub fn data_row(
    body: &[u8],
    count: usize,
    mut clean: impl FnMut(usize, &[u8]) -> Option<Vec<u8>>,
) -> Result<Option<BytesMut>, WireFault> {
    let mut reader = Body::new("DataRow", body);
    if usize::from(reader.int16()?.cast_unsigned()) != count {
        return Err(reader.malformed());
    }
    let mut out = None;
    values(&mut reader, body, count, &mut clean, &mut out)?;
    reader.end()?;
    Ok(out.map(|body| {
        let mut row = BytesMut::with_capacity(body.len() + 5);
        frame(&mut row, b'D', |row| row.extend_from_slice(&body));
        row
    }))
}

/// A piece of binary COPY data with other values where `clean` has one for a column and its value; `None` when it has
/// none. Rows have `count` columns; the header in front and the trailer stay.
pub fn copied(
    body: &[u8],
    count: usize,
    mut clean: impl FnMut(usize, &[u8]) -> Option<Vec<u8>>,
) -> Result<Option<Vec<u8>>, WireFault> {
    let mut reader = Body::new("CopyData", body);
    if body.starts_with(COPY_SIGNATURE) {
        copy_header(&mut reader)?;
    }
    let mut out: Option<Vec<u8>> = None;
    while !reader.rest().is_empty() {
        let columns = reader.int16()?;
        if let Some(out) = &mut out {
            out.extend_from_slice(&columns.to_be_bytes());
        }
        // The trailer has none.
        let Ok(columns) = usize::try_from(columns) else {
            continue;
        };
        if columns != count {
            return Err(reader.malformed());
        }
        values(&mut reader, body, count, &mut clean, &mut out)?;
    }
    Ok(out)
}

/// Reads the `count` values of a row of `body`, each behind its length. From the first other one on, `out` has everything
/// that was read so far, with other values where `clean` has one.
fn values(
    reader: &mut Body<'_>,
    body: &[u8],
    count: usize,
    clean: &mut impl FnMut(usize, &[u8]) -> Option<Vec<u8>>,
    out: &mut Option<Vec<u8>>,
) -> Result<(), WireFault> {
    for column in 0..count {
        let before = body.len() - reader.rest().len();
        let length = reader.int32()?;
        let Ok(size) = usize::try_from(length) else {
            if let Some(out) = out {
                out.extend_from_slice(&length.to_be_bytes());
            }
            continue;
        };
        let value = reader.bytes(size)?;
        let other = clean(column, value);
        if other.is_some() && out.is_none() {
            *out = Some(body.get(..before).unwrap_or_default().to_vec());
        }
        if let Some(out) = out {
            let value = other.as_deref().unwrap_or(value);
            let length = i32::try_from(value.len()).map_err(|_| reader.malformed())?;
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(value);
        }
    }
    Ok(())
}

const COPY_SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

fn copy_header(reader: &mut Body<'_>) -> Result<(), WireFault> {
    reader.bytes(COPY_SIGNATURE.len() + 4)?;
    let extension = usize::try_from(reader.int32()?).map_err(|_| reader.malformed())?;
    reader.bytes(extension).map(|_| ())
}

/// Whether a piece of binary COPY data is whole rows, behind the header or not, or the trailer.
pub fn is_binary_copy(body: &[u8]) -> bool {
    let whole = || -> Result<(), WireFault> {
        let mut reader = Body::new("CopyData", body);
        if body.starts_with(COPY_SIGNATURE) {
            copy_header(&mut reader)?;
        }
        while !reader.rest().is_empty() {
            for _ in 0..reader.int16()?.max(0) {
                if let Ok(length) = usize::try_from(reader.int32()?) {
                    reader.bytes(length)?;
                }
            }
        }
        Ok(())
    };
    whole().is_ok()
}

/// The columns that a RowDescription says its fields come from: OID of the relation and number of the column, zeros for
/// what is computed.
pub fn origins(body: &[u8]) -> Result<Vec<(u32, i16)>, WireFault> {
    let mut reader = Body::new("RowDescription", body);
    (0..reader.int16()?.cast_unsigned())
        .map(|_| {
            reader.cstr_bytes()?;
            let origin = (reader.int32()?.cast_unsigned(), reader.int16()?);
            reader.bytes(12)?;
            Ok(origin)
        })
        .collect()
}

/// What a client relies on of a result's column: its name, its type's OID and that type's length and modifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    name: Vec<u8>,
    of: Vec<u8>,
}

/// The columns of a RowDescription, wherever they come from and however they are sent.
pub fn shapes(body: &[u8]) -> Result<Vec<Shape>, WireFault> {
    let mut reader = Body::new("RowDescription", body);
    (0..reader.int16()?.cast_unsigned())
        .map(|_| {
            let name = reader.cstr_bytes()?.to_vec();
            reader.bytes(6)?;
            let of = reader.bytes(10)?.to_vec();
            reader.bytes(2)?;
            Ok(Shape { name, of })
        })
        .collect()
}

/// The text of a CommandComplete.
pub fn command_tag(body: &[u8]) -> Result<&str, WireFault> {
    let mut reader = Body::new("CommandComplete", body);
    let tag = reader.cstr()?;
    reader.end()?;
    Ok(tag)
}

/// The row count a command tag ends with: `INSERT 0 5`, `SELECT 3`, `COPY 9`.
pub fn tag_rows(tag: &str) -> u64 {
    tag.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// The transaction status of a ReadyForQuery: `I`, `T` or `E`.
pub fn ready(body: &[u8]) -> Result<u8, WireFault> {
    let mut reader = Body::new("ReadyForQuery", body);
    let status = reader.byte()?;
    if !matches!(status, b'I' | b'T' | b'E') {
        return Err(reader.malformed());
    }
    reader.end()?;
    Ok(status)
}

/// The name and value of a ParameterStatus.
pub fn parameter(body: &[u8]) -> Result<(&str, &str), WireFault> {
    let mut reader = Body::new("ParameterStatus", body);
    let pair = (reader.cstr()?, reader.cstr()?);
    reader.end()?;
    Ok(pair)
}

/// Process id and secret of a BackendKeyData.
pub fn key_data(body: &[u8]) -> Result<(u32, Vec<u8>), WireFault> {
    let mut reader = Body::new("BackendKeyData", body);
    let pid = u32::from_be_bytes(reader.int32()?.to_be_bytes());
    let secret = reader.rest();
    if (4..=256).contains(&secret.len()) {
        Ok((pid, secret.to_vec()))
    } else {
        Err(reader.malformed())
    }
}

/// The first column of a DataRow; `None` when it is NULL.
pub fn first_column(body: &[u8]) -> Result<Option<&[u8]>, WireFault> {
    let mut reader = Body::new("DataRow", body);
    if reader.int16()? < 1 {
        return Err(reader.malformed());
    }
    match usize::try_from(reader.int32()?) {
        Ok(length) => reader.bytes(length).map(Some),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_without_a_code_still_reads() {
        let report = report(b"SERROR\0Mboom\0\0").unwrap();
        assert_eq!(
            (report.severity, report.sqlstate, report.message),
            ("ERROR", "", "boom")
        );
        assert!(super::report(b"SERROR\0Mboom").is_err());
    }

    #[test]
    fn rows_come_from_the_tags_last_word() {
        assert_eq!(tag_rows("INSERT 0 5"), 5);
        assert_eq!(tag_rows("SELECT 12"), 12);
        assert_eq!(tag_rows("CREATE TABLE"), 0);
    }

    #[test]
    fn a_short_data_row_is_refused() {
        assert!(first_column(&[0, 1, 0, 0, 0, 9, 1]).is_err());
        assert_eq!(first_column(&[0, 1, 0xff, 0xff, 0xff, 0xff]), Ok(None));
    }
}
