//! E-mail addresses.

use std::ops::Range;

use super::find::Text;

/// The longest that is looked for before and behind the `@`.
const LOCAL: usize = 128;
const DOMAIN: usize = 255;
/// How many backslashes stand before one more escape.
const MOST_ESCAPES: usize = 16;

/// The address around what may be an at sign at `at`, from `free` on.
pub fn around(text: &Text<'_>, at: usize, free: usize) -> Option<Range<usize>> {
    let sign = match text.from(at) {
        [b'@', ..] => 1,
        // In HTML.
        [b'&', b'#', b'6', b'4', b';', ..] => 5,
        [b'&', b'#', b'x' | b'X', b'4', b'0', b';', ..] => 6,
        // In an address of the web, and as it is written among wide characters.
        [b'%', b'4', b'0', ..] | [0xef, 0xbc, 0xa0, ..] => 3,
        // In JSON, which stands escaped itself in an array or in a row of COPY.
        [b'\\', rest @ ..] if text.before(at) != b'\\' => {
            let more = rest
                .iter()
                .take(MOST_ESCAPES)
                .take_while(|byte| **byte == b'\\')
                .count();
            rest.get(more..).filter(|rest| rest.starts_with(b"u0040"))?;
            1 + more + 5
        }
        _ => return None,
    };
    let end = domain(text, at + sign)?;
    let from = free.max(at.saturating_sub(LOCAL));
    let before = text.bytes.get(from..at).unwrap_or_default();
    if let Some(length) = quoted(before) {
        text.looked(length);
        return Some(at - length..end);
    }
    let local = before.iter().rev().take_while(|byte| is_local(**byte)).count();
    text.looked(local);
    let mut start = at - local;
    // What an escape before it says belongs to the escape.
    if text.before(start) == b'\\' {
        start += match text.byte(start) {
            b'u' => 5,
            b'n' | b'r' | b't' | b'b' | b'f' => 1,
            _ => 0,
        };
    }
    // Nor does the length of a packed value.
    start = (start + 1..at)
        .rev()
        .find(|place| text.follows_length(*place))
        .unwrap_or(start);
    while start < at && !is_letter(text.byte(start)) {
        start += 1;
    }
    (start < at).then_some(start..end)
}

/// The length of `"ann lee"` at the end of `before`, with whatever escapes its quotes.
fn quoted(before: &[u8]) -> Option<usize> {
    let inside = before.strip_suffix(b"\"")?;
    // Both quotes are escaped in the same way.
    let (inside, quote): (&[u8], &[u8]) = match inside {
        [inside @ .., b'\\'] => (inside, b"\\\""),
        [inside @ .., b'"'] => (inside, b"\"\""),
        _ => (inside, b"\""),
    };
    let start = inside.iter().rposition(|byte| matches!(byte, b'"' | b'\n'))?;
    let (front, name) = inside.split_at_checked(start + 1)?;
    (front.ends_with(quote) && !name.is_empty()).then_some(name.len() + 2 * quote.len())
}

/// Names of files, which no domain ends with: `icon@2x.png`.
const FILES: &[&str] = &[
    "png", "jpg", "jpeg", "gif", "webp", "svg", "pdf", "css", "js", "json", "html", "htm", "txt",
];

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || is_beyond(byte)
}

/// Part of a character beyond ASCII. What no UTF-8 holds is not: the length of NULL in a packed value.
fn is_beyond(byte: u8) -> bool {
    matches!(byte, 0x80..=0xf4)
}

fn is_local(byte: u8) -> bool {
    is_letter(byte)
        || matches!(
            byte,
            b'.' | b'%' | b'+' | b'-' | b'\'' | b'!' | b'#' | b'$' | b'&' | b'*' | b'=' | b'~'
        )
}

/// Where the domain ends that begins at `at`: labels with points between them, the last one of letters.
fn domain(text: &Text<'_>, at: usize) -> Option<usize> {
    let rest = text.from(at);
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.') || is_beyond(*byte);
    let length = rest.iter().take(DOMAIN).take_while(|byte| fits(byte)).count();
    text.looked(length);
    let mut name = rest.get(..length)?;
    // `me@here.example.` ends a sentence, `me@here.example.2` does not name a host.
    loop {
        let dot = name.iter().rposition(|byte| *byte == b'.')?;
        let (labels, last) = name.split_at(dot);
        let last = last.get(1..).unwrap_or_default();
        if FILES.iter().any(|file| last.eq_ignore_ascii_case(file.as_bytes())) {
            return None;
        }
        let is_top = last.len() >= 2
            && (last.iter().all(|byte| byte.is_ascii_alphabetic() || is_beyond(*byte)) || last.starts_with(b"xn--"));
        let first = labels.first()?;
        if is_top && (first.is_ascii_alphanumeric() || is_beyond(*first)) {
            return Some(at + name.len());
        }
        // `here.example-`, and what else is behind the last letter of a name.
        let letters = last.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        if letters >= 2 && first.is_ascii_alphanumeric() {
            return Some(at + dot + 1 + letters);
        }
        name = labels;
    }
}
