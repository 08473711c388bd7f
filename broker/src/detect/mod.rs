//! Finds what looks like a card number, an e-mail address, an IBAN, a phone number, a national id or a token in a value, and
//! puts its kind in its place: `[card]`. A net under the masks of columns, for texts that people write freely.
//!
//! One pass from left to right. What is looked at again is bounded for every place in the text, so the time is linear in
//! its length. Nothing of what was found stays, and nothing else changes.

mod address;
mod checks;
mod find;
mod iban;
mod ids;
mod json;
mod line;
mod number;
mod secret;

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use line::{Line, scrub_lines};

/// What can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A payment card's number: 13 to 19 digits of some network with Luhn's check digit, in groups or not.
    Card,
    /// An e-mail address.
    Email,
    /// An international bank account number: its country's length, and 1 modulo 97.
    Iban,
    /// A phone number: international with `+` or `00`, or in one of the usual national forms.
    Phone,
    /// A national id: the social security number of the US and the UK's, and those with check digits of some countries.
    NationalId,
    /// A JSON web token, a private key, or an access key with a known prefix.
    Token,
}

impl Kind {
    /// All, in the order in which they are counted.
    pub const ALL: [Self; 6] = [
        Self::Card,
        Self::Email,
        Self::Iban,
        Self::Phone,
        Self::NationalId,
        Self::Token,
    ];

    /// The word in policies and in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::Email => "email",
            Self::Iban => "iban",
            Self::Phone => "phone",
            Self::NationalId => "national-id",
            Self::Token => "token",
        }
    }

    /// What stands for it.
    fn placeholder(self) -> &'static str {
        match self {
            Self::Card => "[card]",
            Self::Email => "[email]",
            Self::Iban => "[iban]",
            Self::Phone => "[phone]",
            Self::NationalId => "[national-id]",
            Self::Token => "[token]",
        }
    }

    fn bit(self) -> u8 {
        1 << (self as u8)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of kinds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Kinds(u8);

impl Kinds {
    /// Whether `kind` is among them.
    pub fn has(self, kind: Kind) -> bool {
        self.0 & kind.bit() != 0
    }

    /// Whether any is written in digits.
    fn has_numbers(self) -> bool {
        [Kind::Card, Kind::NationalId, Kind::Phone]
            .iter()
            .any(|kind| self.has(*kind))
    }

    /// Whether any begins with a letter.
    fn has_words(self) -> bool {
        [Kind::Token, Kind::Iban, Kind::NationalId]
            .iter()
            .any(|kind| self.has(*kind))
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Kind> for Kinds {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Self {
        Self(kinds.into_iter().fold(0, |all, kind| all | kind.bit()))
    }
}

/// How often each kind was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found([u64; Kind::ALL.len()]);

impl Found {
    /// The kinds that were found, with their counts.
    pub fn counts(&self) -> impl Iterator<Item = (Kind, u64)> {
        Kind::ALL.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }

    /// Whether nothing was.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|count| *count == 0)
    }

    /// Counts what was found elsewhere as well.
    pub fn join(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count = count.saturating_add(more);
        }
    }

    fn add(&mut self, kind: Kind) {
        if let Some(count) = self.0.get_mut(kind as usize) {
            *count = count.saturating_add(1);
        }
    }
}

/// What a value is, as far as its replacement must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A text.
    Text,
    /// Several values as a text: an array, a composite, a row of COPY. Any of them may be JSON.
    Mixed,
    /// A JSON value: it stays one.
    Json,
    /// Values with their lengths between them: what is found is overwritten, and every length stays.
    Packed,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Span {
    at: Range<usize>,
    kind: Kind,
}

/// The value without what was found in it; `None` when nothing was. Adds to `found`.
pub fn scrub(value: &[u8], form: Form, kinds: Kinds, found: &mut Found) -> Option<Vec<u8>> {
    let spelled = (form == Form::Json).then(|| json::spell_out(value)).flatten();
    let value = spelled.as_deref().unwrap_or(value);
    let spans = find::spans(value, kinds, form == Form::Packed);
    if spans.is_empty() {
        return None;
    }
    for span in &spans {
        found.add(span.kind);
    }
    Some(match form {
        Form::Text => replaced(value, &spans, |_| false),
        // A number of a JSON value among other texts: a number it stays.
        Form::Mixed => replaced(value, &spans, |span| json::is_number(value, span)),
        Form::Json => json::replaced(value, &spans),
        Form::Packed => overwritten(value, &spans),
    })
}

fn replaced(value: &[u8], spans: &[Span], is_number: impl Fn(&Span) -> bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut done = 0;
    for span in spans {
        out.extend_from_slice(value.get(done..span.at.start).unwrap_or_default());
        let text = if is_number(span) { "0" } else { span.kind.placeholder() };
        out.extend_from_slice(text.as_bytes());
        done = span.at.end;
    }
    out.extend_from_slice(value.get(done..).unwrap_or_default());
    out
}

fn overwritten(value: &[u8], spans: &[Span]) -> Vec<u8> {
    let mut out = value.to_vec();
    for span in spans {
        let filler = if json::is_number(value, span) { b'9' } else { b'*' };
        if let Some(place) = out.get_mut(span.at.clone()) {
            place.fill(filler);
        }
    }
    out
}

#[cfg(test)]
mod tests;
