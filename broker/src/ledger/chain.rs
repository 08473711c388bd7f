//! The chain: each line carries the SHA-256 of the line before it and of itself.
//!
//! A line is `<hash> <json>\n`, where `hash` is the lower-case hexadecimal SHA-256 of `<previous hash> <json>`; the hash
//! before the first line is 64 zeros. `sha256sum` is all one needs to check it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// The hash before the first record.
pub const GENESIS: Hash = Hash([b'0'; 64]);

/// A SHA-256 in lower-case hexadecimal, the form in which it is chained.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash([u8; 64]);

impl Hash {
    /// Reads 64 lower-case hexadecimal digits.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let digits: [u8; 64] = text.try_into().ok()?;
        digits
            .iter()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
            .then_some(Self(digits))
    }

    /// The hash of a record that follows `self`.
    #[must_use]
    pub fn next(&self, json: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(self.0);
        hasher.update(b" ");
        hasher.update(json);
        let digest: [u8; 32] = hasher.finalize().into();
        let mut hex = [0_u8; 64];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(digest) {
            if let [high, low] = pair {
                *high = digit(byte >> 4);
                *low = digit(byte & 15);
            }
        }
        Self(hex)
    }

    /// The 64 digits.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

fn digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).unwrap_or_default())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(text.as_bytes()).ok_or_else(|| serde::de::Error::custom("not a SHA-256 in lower-case hexadecimal"))
    }
}

/// The end of a chain, to which the next record is linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Linker {
    /// The number of the last record; 0 when there is none.
    pub seq: u64,
    /// The hash of the last record.
    pub hash: Hash,
}

/// A journal line that is not an object of JSON on one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the line is not a record")]
pub struct NotARecord;

impl Linker {
    /// The beginning of a chain.
    pub fn genesis() -> Self {
        Self { seq: 0, hash: GENESIS }
    }

    /// Appends the chain line of `record`, a journal line without its newline that ends at offset `at` of `journal`.
    pub fn link(&mut self, out: &mut Vec<u8>, journal: &str, at: u64, record: &[u8]) -> Result<(), NotARecord> {
        let Some(rest) = record.strip_prefix(b"{\"t\":") else {
            return Err(NotARecord);
        };
        if rest.contains(&b'\n') || content(rest).is_none() {
            return Err(NotARecord);
        }
        let start = out.len();
        let seq = self.seq + 1;
        // The hash takes its place once it is known.
        out.extend_from_slice(GENESIS.as_bytes());
        out.push(b' ');
        let json = out.len();
        out.extend_from_slice(b"{\"seq\":");
        serde_json::to_writer(&mut *out, &seq).map_err(|_| NotARecord)?;
        out.extend_from_slice(b",\"journal\":\"");
        out.extend_from_slice(journal.as_bytes());
        out.extend_from_slice(b"\",\"at\":");
        serde_json::to_writer(&mut *out, &at).map_err(|_| NotARecord)?;
        out.extend_from_slice(b",\"t\":");
        out.extend_from_slice(rest);
        let hash = self.hash.next(out.get(json..).unwrap_or_default());
        if let Some(place) = out.get_mut(start..start + hash.0.len()) {
            place.copy_from_slice(&hash.0);
        }
        out.push(b'\n');
        *self = Self { seq, hash };
        Ok(())
    }
}

/// Splits a chain line, without its newline, into its hash and its JSON.
pub fn split(line: &[u8]) -> Option<(Hash, &[u8])> {
    let (hash, rest) = line.split_at_checked(64)?;
    Some((Hash::parse(hash)?, rest.strip_prefix(b" ")?))
}

/// What can be read off the beginning of a chain line's JSON without parsing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peek<'a> {
    /// The record's number.
    pub seq: u64,
    /// The journal it came through.
    pub journal: &'a str,
    /// The offset in that journal at which it ends.
    pub at: u64,
    /// Microseconds since the epoch.
    pub t: i64,
    /// The record's kind.
    pub kind: &'a str,
    /// The session or grant it belongs to, when it has one.
    pub id: Option<&'a str>,
}

/// Reads the beginning of a chain line's JSON. `None` when it is not what [`Linker::link`] writes.
pub fn peek(json: &[u8]) -> Option<Peek<'_>> {
    let (seq, rest) = digits(json.strip_prefix(b"{\"seq\":")?)?;
    let (journal, rest) = text(rest.strip_prefix(b",\"journal\":\"")?)?;
    let (at, rest) = digits(rest.strip_prefix(b",\"at\":")?)?;
    let (t, kind, id) = content(rest.strip_prefix(b",\"t\":")?)?;
    Some(Peek {
        seq,
        journal,
        at,
        t,
        kind,
        id,
    })
}

/// What follows `"t":` in every record: the time, the kind, and the session or grant when there is one.
fn content(rest: &[u8]) -> Option<(i64, &str, Option<&str>)> {
    if !rest.ends_with(b"}") {
        return None;
    }
    let (negative, rest) = rest.strip_prefix(b"-").map_or((false, rest), |rest| (true, rest));
    let (t, rest) = digits(rest)?;
    let t = i64::try_from(t).ok()?;
    let (kind, rest) = text(rest.strip_prefix(b",\"kind\":\"")?)?;
    let id = rest
        .strip_prefix(b",\"session\":\"")
        .or_else(|| rest.strip_prefix(b",\"grant\":\""))
        .and_then(text)
        .map(|(id, _)| id);
    Some((if negative { -t } else { t }, kind, id))
}

/// A number without sign or leading zero.
fn digits(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0_u64;
    let mut rest = bytes;
    while let Some((digit @ b'0'..=b'9', after)) = rest.split_first() {
        number = number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
        rest = after;
    }
    let length = bytes.len() - rest.len();
    if rest.is_empty() || length == 0 || (length > 1 && bytes.starts_with(b"0")) {
        return None;
    }
    Some((number, rest))
}

/// A text without escapes, up to its closing quote.
fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'"')?;
    let (text, rest) = bytes.split_at_checked(end)?;
    Some((std::str::from_utf8(text).ok()?, rest.strip_prefix(b"\"")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_what_sha256sum_prints() {
        // printf '%s %s' "$(printf '0%.0s' $(seq 64))" '{"a":1}' | sha256sum
        assert_eq!(
            GENESIS.next(br#"{"a":1}"#).to_string(),
            "b0aa22647839315ad434a18d17796bdaa2467388b4077692a5748877de3758db"
        );
    }

    #[test]
    fn a_link_reads_back() {
        let mut out = Vec::new();
        let mut linker = Linker::genesis();
        let line = br#"{"t":-5,"kind":"outcome","session":"session_1","i":2}"#;
        linker.link(&mut out, "b-1", 54, line).unwrap();
        linker.link(&mut out, "b-1", 108, line).unwrap();
        let lines: Vec<&[u8]> = out.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n').collect();
        let (first, json) = split(lines[0]).unwrap();
        assert_eq!(first, GENESIS.next(json));
        let (second, json) = split(lines[1]).unwrap();
        assert_eq!(second, first.next(json));
        assert_eq!(linker, Linker { seq: 2, hash: second });
        let seen = peek(json).unwrap();
        assert_eq!((seen.seq, seen.journal, seen.at, seen.t), (2, "b-1", 108, -5));
        assert_eq!((seen.kind, seen.id), ("outcome", Some("session_1")));
    }

    #[test]
    fn what_is_not_a_record_is_not_linked() {
        let mut out = Vec::new();
        for bad in [
            &b""[..],
            b"{}",
            b"{\"t\":1}",
            b"{\"t\":x,\"kind\":\"kill\"}",
            b"{\"t\":1,\"kind\":\"kill\"}\n}",
            b"\0",
        ] {
            assert_eq!(Linker::genesis().link(&mut out, "b-1", 1, bad), Err(NotARecord));
        }
        assert!(out.is_empty());
    }
}
