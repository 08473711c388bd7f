//! A record as the line of JSON that a journal holds.

use serde::Serialize;

use super::record::Record;

/// Appends `record` as one line, `{"t":…,"kind":…}` and a newline, to `out`. On an error `out` is as it was.
pub fn encode(out: &mut Vec<u8>, t: i64, record: &Record<'_>) -> Result<(), serde_json::Error> {
    let start = out.len();
    let mut write = || {
        out.extend_from_slice(b"{\"t\":");
        put(out, &t)?;
        match record {
            Record::Intent { .. } | Record::Outcome { .. } => by_hand(out, record)?,
            other => {
                let brace = out.len();
                serde_json::to_writer(&mut *out, other)?;
                // The record's own opening brace becomes the comma after the time.
                if let Some(byte) = out.get_mut(brace) {
                    *byte = b',';
                }
            }
        }
        out.push(b'\n');
        Ok(())
    };
    let written = write();
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// The two records of every execution, field by field: what serde writes for them, by a shorter way.
fn by_hand(out: &mut Vec<u8>, record: &Record<'_>) -> Result<(), serde_json::Error> {
    match record {
        Record::Intent {
            session,
            i,
            n,
            params,
            class,
            text,
            cut,
            rules,
        } => {
            out.extend_from_slice(b",\"kind\":\"intent\",\"session\":\"");
            session.put(out);
            out.extend_from_slice(b"\",\"i\":");
            put(out, i)?;
            put_some(out, b",\"n\":", n.as_ref())?;
            put_some(out, b",\"params\":", params.as_ref())?;
            put_some(out, b",\"class\":", class.as_ref())?;
            put_some(out, b",\"text\":", text.as_ref())?;
            put_some(out, b",\"cut\":", cut.as_ref())?;
            put_some(out, b",\"rules\":", (!rules.is_empty()).then_some(rules))?;
        }
        Record::Outcome {
            session,
            i,
            status,
            tag,
            rows,
            sqlstate,
            masked,
            detected,
            micros,
        } => {
            out.extend_from_slice(b",\"kind\":\"outcome\",\"session\":\"");
            session.put(out);
            out.extend_from_slice(b"\",\"i\":");
            put(out, i)?;
            put_some(out, b",\"status\":", Some(status))?;
            put_some(out, b",\"tag\":", tag.as_ref())?;
            put_some(out, b",\"rows\":", rows.as_ref())?;
            put_some(out, b",\"sqlstate\":", sqlstate.as_ref())?;
            put_some(out, b",\"masked\":", (!masked.is_empty()).then_some(masked))?;
            put_some(out, b",\"detected\":", (!detected.is_empty()).then_some(detected))?;
            out.extend_from_slice(b",\"micros\":");
            put(out, micros)?;
        }
        _ => return Err(serde::ser::Error::custom("not a record of an execution")),
    }
    out.push(b'}');
    Ok(())
}

fn put(out: &mut Vec<u8>, value: &impl Serialize) -> Result<(), serde_json::Error> {
    serde_json::to_writer(out, value)
}

fn put_some(out: &mut Vec<u8>, key: &[u8], value: Option<&impl Serialize>) -> Result<(), serde_json::Error> {
    let Some(value) = value else { return Ok(()) };
    out.extend_from_slice(key);
    put(out, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::SessionId;
    use crate::ledger::record::tests::origins;
    use crate::ledger::record::{Cut, Rules, Status};
    use crate::sql::Class;

    #[test]
    fn what_is_written_by_hand_is_what_serde_writes() {
        let (origins, session) = (origins(), SessionId::fresh());
        let counts = [("a.b.\"c\" é".to_owned(), u64::MAX), ("a.b.d".to_owned(), 0)];
        let texts = [None, Some("select '\\', \"a\"\n\t\u{1}\u{7f}\u{2028} é"), Some("")];
        let mut records = Vec::new();
        for (n, text) in (0_u64..).zip(texts) {
            for full in [false, true] {
                records.push(Record::Intent {
                    session,
                    i: n * 1_000_003,
                    n: full.then_some(n),
                    params: full.then_some(u32::MAX),
                    class: full.then_some(Class::CopyIn),
                    text: text.map(Into::into),
                    cut: full.then(|| Cut {
                        bytes: u64::MAX,
                        sha256: "ab".into(),
                    }),
                    rules: if full {
                        Rules::Origins(&origins)
                    } else {
                        Rules::default()
                    },
                });
                for status in [
                    Status::Ok,
                    Status::Error,
                    Status::Cancelled,
                    Status::Skipped,
                    Status::Unknown,
                ] {
                    records.push(Record::Outcome {
                        session,
                        i: n,
                        status,
                        tag: text.map(Into::into),
                        rows: full.then_some(n),
                        sqlstate: full.then(|| "57014".into()),
                        masked: counts.clone().into_iter().filter(|_| full).collect(),
                        detected: counts.clone().into_iter().filter(|_| n == 1).collect(),
                        micros: u64::MAX - n,
                    });
                }
            }
        }
        for (t, record) in (-3..).zip(&records) {
            let mut line = Vec::new();
            encode(&mut line, t, record).unwrap();
            let text = serde_json::to_string(record).unwrap();
            assert_eq!(
                String::from_utf8(line).unwrap(),
                format!("{{\"t\":{t},{}\n", text.strip_prefix('{').unwrap())
            );
        }
    }
}
