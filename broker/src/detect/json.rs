//! What JSON needs besides: characters spelled as escapes, and numbers outside of texts.

use super::Span;

/// The value with every escape that stands for a printable ASCII character as that character, but for quotes and
/// backslashes; `None` when there is none. It says the same.
pub fn spell_out(value: &[u8]) -> Option<Vec<u8>> {
    memchr::memmem::find(value, b"\\u00")?;
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    loop {
        rest = match rest {
            [b'\\', b'u', b'0', b'0', high @ b'2'..=b'7', low, after @ ..] if printable(*high, *low).is_some() => {
                out.extend(printable(*high, *low));
                after
            }
            // Whatever is escaped is no beginning of an escape.
            [b'\\', escaped, after @ ..] => {
                out.extend_from_slice(&[b'\\', *escaped]);
                after
            }
            [byte, after @ ..] => {
                out.push(*byte);
                after
            }
            [] => return Some(out),
        };
    }
}

fn printable(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = digit(high)? * 16 + digit(low)?;
    (matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')).then_some(byte)
}

/// The value with each span replaced: inside of a text by its kind, outside, where only a number can be, by a text.
pub fn replaced(value: &[u8], spans: &[Span]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let (mut at, mut inside) = (0, false);
    for span in spans {
        let mut escaped = false;
        for byte in value.get(at..span.at.start).unwrap_or_default() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = inside,
                b'"' => inside = !inside,
                _ => {}
            }
            out.push(*byte);
        }
        at = span.at.end;
        if inside {
            out.extend_from_slice(span.kind.placeholder().as_bytes());
            continue;
        }
        // The whole number goes: its sign, what follows its point.
        while out.last().is_some_and(|byte| is_numeric(*byte)) {
            out.pop();
        }
        out.push(b'"');
        out.extend_from_slice(span.kind.placeholder().as_bytes());
        out.push(b'"');
        at += value
            .get(at..)
            .unwrap_or_default()
            .iter()
            .take_while(|byte| is_numeric(**byte))
            .count();
    }
    out.extend_from_slice(value.get(at..).unwrap_or_default());
    out
}

fn is_numeric(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E')
}

/// Whether a span of digits stands where a JSON object or array has a number: between `:`, `,` or `[` and `,`, `}` or `]`.
pub fn is_number(value: &[u8], span: &Span) -> bool {
    let digits = value.get(span.at.clone()).unwrap_or_default();
    let blank = |byte: &&u8| !byte.is_ascii_whitespace();
    // Blanks are passed over only as far as a writer of JSON puts any.
    let before = value.get(..span.at.start).unwrap_or_default();
    let before = before.iter().rev().take(64).find(blank);
    let after = value.get(span.at.end..).unwrap_or_default();
    let after = after.iter().take(64).find(blank);
    digits.iter().all(u8::is_ascii_digit)
        && matches!(before, Some(b':' | b'[' | b','))
        && matches!(after, Some(b',' | b'}' | b']'))
}
