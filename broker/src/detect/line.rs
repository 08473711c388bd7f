//! Rows of COPY in text and csv format. A number can be a whole JSON document there: what stands for it is one too.

use super::{Found, Kinds, Span, find, json};

/// How rows are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    /// In csv format: fields between commas, quotes doubled. Otherwise between tabs, with backslashes.
    pub csv: bool,
    /// Which columns hold JSON. What is not told may.
    pub json: Vec<bool>,
}

/// Whole lines without what was found in them; `None` when nothing was. Adds to `found`. `line` is `None` where rows are
/// written in another way.
pub fn scrub_lines(value: &[u8], line: Option<&Line>, kinds: Kinds, found: &mut Found) -> Option<Vec<u8>> {
    let spans = find::spans(value, kinds, false);
    if spans.is_empty() {
        return None;
    }
    let mut out = Vec::with_capacity(value.len());
    let mut fields = Fields::default();
    let mut done = 0;
    for span in &spans {
        found.add(span.kind);
        let before = value.get(done..span.at.start).unwrap_or_default();
        out.extend_from_slice(before);
        done = span.at.end;
        let name = span.kind.placeholder();
        if let Some(line) = line {
            fields.pass(before, line.csv);
            if fields.is_whole(value, span, line.csv) {
                let quotes = match (line.json.get(fields.column), line.csv, fields.quoted) {
                    (Some(false), ..) => "",
                    (_, false, _) => "\"",
                    (_, true, true) => "\"\"",
                    (_, true, false) => "\"\"\"",
                };
                out.extend([quotes, name, quotes].iter().flat_map(|part| part.bytes()));
                continue;
            }
        }
        let text = if json::is_number(value, span) { "0" } else { name };
        out.extend_from_slice(text.as_bytes());
    }
    out.extend_from_slice(value.get(done..).unwrap_or_default());
    Some(out)
}

/// Where a pass over lines stands.
#[derive(Default)]
struct Fields {
    column: usize,
    quoted: bool,
}

impl Fields {
    fn pass(&mut self, bytes: &[u8], csv: bool) {
        for byte in bytes {
            match byte {
                b'"' if csv => self.quoted = !self.quoted,
                b'\n' if !self.quoted => self.column = 0,
                b',' if csv && !self.quoted => self.column += 1,
                b'\t' if !csv => self.column += 1,
                _ => {}
            }
        }
    }

    /// Whether the field is digits and nothing else, in quotes or not.
    fn is_whole(&self, value: &[u8], span: &Span, csv: bool) -> bool {
        let delimiter = if csv { b',' } else { b'\t' };
        let ends = |byte: Option<&u8>| byte.is_none_or(|byte| matches!(byte, b'\n' | b'\r') || *byte == delimiter);
        let (Some(digits), Some(before), Some(after)) = (
            value.get(span.at.clone()),
            value.get(..span.at.start),
            value.get(span.at.end..),
        ) else {
            return false;
        };
        let (before, after) = if self.quoted {
            let Some(quotes) = before.strip_suffix(b"\"").zip(after.strip_prefix(b"\"")) else {
                return false;
            };
            quotes
        } else {
            (before, after)
        };
        digits.iter().all(u8::is_ascii_digit) && ends(before.last()) && ends(after.first())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Kind;

    #[test]
    fn a_field_that_is_one_number_stays_json_where_it_may_be() {
        let line = |csv, json: &[bool]| Line {
            csv,
            json: json.to_vec(),
        };
        let card = "4111111111111111";
        for (line, value, expected) in [
            (line(false, &[]), "1\tCARD\n", "1\t\"[card]\"\n"),
            (line(false, &[]), "CARD", "\"[card]\""),
            (
                line(false, &[false, true]),
                "CARD\tCARD\nCARD\tCARD\n",
                "[card]\t\"[card]\"\n[card]\t\"[card]\"\n",
            ),
            (line(false, &[true]), "{\"a\": CARD}\n", "{\"a\": 0}\n"),
            (line(false, &[true]), "\"CARD\"\n", "\"[card]\"\n"),
            (line(false, &[false]), "a CARD\n", "a [card]\n"),
            (line(true, &[]), "1,CARD,2\r\n", "1,\"\"\"[card]\"\"\",2\r\n"),
            (
                line(true, &[false, true]),
                "\"a\"\",\nb\",\"CARD\"\n",
                "\"a\"\",\nb\",\"\"\"[card]\"\"\"\n",
            ),
            (
                line(true, &[false, true]),
                "CARD,x\nx,CARD\n",
                "[card],x\nx,\"\"\"[card]\"\"\"\n",
            ),
            (line(true, &[true]), "\"x\n,CARD\"\n", "\"x\n,[card]\"\n"),
        ] {
            let value = value.replace("CARD", card);
            let mut found = Found::default();
            let clean = scrub_lines(
                value.as_bytes(),
                Some(&line),
                Kinds::from_iter([Kind::Card]),
                &mut found,
            );
            assert_eq!(String::from_utf8(clean.unwrap()).unwrap(), expected, "{value}");
        }
        let clean = scrub_lines(
            card.as_bytes(),
            None,
            Kinds::from_iter([Kind::Card]),
            &mut Found::default(),
        );
        assert_eq!(clean.unwrap(), b"[card]");
    }
}
