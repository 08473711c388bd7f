//! The pass over a value: where something may begin, and what does.

use super::{Kind, Kinds, Span, address, iban, ids, number, secret};

/// A text and what is asked of it.
pub struct Text<'a> {
    /// The whole value.
    pub bytes: &'a [u8],
    /// Lengths stand between the values in it.
    packed: bool,
    /// How much was looked at.
    #[cfg(test)]
    pub work: std::cell::Cell<usize>,
}

/// Everything that is found, from left to right, nothing of it over something else.
pub fn spans(bytes: &[u8], kinds: Kinds, packed: bool) -> Vec<Span> {
    spans_of(&Text::new(bytes, packed), kinds)
}

pub fn spans_of(text: &Text<'_>, kinds: Kinds) -> Vec<Span> {
    let bytes = text.bytes;
    let mut spans: Vec<Span> = Vec::new();
    let (mut at, mut free) = (0, 0);
    let mut no_token_before = 0;
    while let Some(&byte) = bytes.get(at) {
        let found = match byte {
            // A byte of a length stands for no character.
            _ if text.packed && (1..=3).any(|more| text.follows_length(at + more)) => None,
            b'@' | b'%' | b'\\' if kinds.has(Kind::Email) => {
                address::around(text, at, free).map(|at| (at, Kind::Email))
            }
            b'0'..=b'9' if text.begins_number(at) => numbers(text, at, kinds),
            b'+' | b'(' if kinds.has(Kind::Phone) => number::phone(text, at).map(|end| (at..end, Kind::Phone)),
            b'-' | b'A'..=b'Z' | b'a'..=b'z' if text.begins_word(at) => words(text, at, kinds, &mut no_token_before),
            _ => None,
        };
        match found {
            Some((span, kind)) => {
                at = span.end.max(at + 1);
                free = at;
                spans.push(Span { at: span, kind });
            }
            None => at += 1,
        }
    }
    spans
}

type Place = (std::ops::Range<usize>, Kind);

fn numbers(text: &Text<'_>, at: usize, kinds: Kinds) -> Option<Place> {
    let place = |kind: Kind, end: Option<usize>| end.filter(|_| kinds.has(kind)).map(|end| (at..end, kind));
    place(Kind::Card, number::card(text, at))
        .or_else(|| place(Kind::NationalId, ids::of_digits(text, at)))
        .or_else(|| place(Kind::Phone, number::phone(text, at)))
}

fn words(text: &Text<'_>, at: usize, kinds: Kinds, no_token_before: &mut usize) -> Option<Place> {
    let place = |kind: Kind, end: Option<usize>| end.map(|end| (at..end, kind));
    let token = kinds.has(Kind::Token).then(|| secret::token(text, at, no_token_before));
    place(Kind::Token, token.flatten())
        .or_else(|| {
            place(
                Kind::Iban,
                kinds.has(Kind::Iban).then(|| iban::iban(text, at)).flatten(),
            )
        })
        .or_else(|| {
            let id = kinds.has(Kind::NationalId).then(|| ids::of_letters(text, at));
            place(Kind::NationalId, id.flatten())
        })
}

impl<'a> Text<'a> {
    pub fn new(bytes: &'a [u8], packed: bool) -> Self {
        Self {
            bytes,
            packed,
            #[cfg(test)]
            work: std::cell::Cell::default(),
        }
    }

    /// Notes that so much was looked at, for the test that there is an end to it.
    #[cfg(test)]
    pub fn looked(&self, bytes: usize) {
        self.work.set(self.work.get() + bytes);
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "only tests count")]
    pub fn looked(&self, _: usize) {}

    /// The byte at `at`, and 0 beyond the end.
    pub fn byte(&self, at: usize) -> u8 {
        self.looked(1);
        self.bytes.get(at).copied().unwrap_or_default()
    }

    /// The byte before `at`, and 0 before the beginning.
    pub fn before(&self, at: usize) -> u8 {
        at.checked_sub(1).map_or(0, |before| self.byte(before))
    }

    /// The character before `at` as far as it may belong to the same word, and 0 where none does.
    pub fn left(&self, at: usize) -> u8 {
        if self.follows_escape(at) { 0 } else { self.before(at) }
    }

    /// What begins at `at`.
    pub fn from(&self, at: usize) -> &'a [u8] {
        self.looked(1);
        self.bytes.get(at..).unwrap_or_default()
    }

    /// A number may begin here: no digit stands before it that belongs to it.
    fn begins_number(&self, at: usize) -> bool {
        !self.left(at).is_ascii_digit()
    }

    /// A word may begin here.
    fn begins_word(&self, at: usize) -> bool {
        !self.left(at).is_ascii_alphanumeric()
    }

    /// Nothing that belongs to it follows a number that ends before `end`. Letters on both sides make it part of a word.
    pub fn ends_number(&self, start: usize, end: usize) -> bool {
        let next = self.byte(end);
        let inside = self.left(start).is_ascii_alphabetic();
        !(next.is_ascii_digit() || next.is_ascii_alphabetic() && inside)
    }

    /// What stands before `at` is no letter of the text: an escape (`\n`, `\u00e9`, `%20`), or the length of a packed value.
    pub fn follows_escape(&self, at: usize) -> bool {
        let back = |count: usize| at.checked_sub(count).map_or(0, |place| self.byte(place));
        let hex = |count: usize| (1..=count).all(|count| back(count).is_ascii_hexdigit());
        (back(2) == b'\\' && matches!(back(1), b'n' | b'r' | b't' | b'b' | b'f'))
            || (back(6) == b'\\' && back(5) == b'u' && hex(4))
            || (back(3) == b'%' && hex(2))
            || self.follows_length(at)
    }

    /// In a packed value: the four bytes before `at` are the length of something that fits into the rest.
    pub fn follows_length(&self, at: usize) -> bool {
        if !self.packed {
            return false;
        }
        let length = at.checked_sub(4).and_then(|start| self.from(start).first_chunk::<4>());
        let length = length.and_then(|length| usize::try_from(u32::from_be_bytes(*length)).ok());
        length.is_some_and(|length| length > 0 && length <= self.bytes.len() - at.min(self.bytes.len()))
    }

    /// The length of what may stand between two groups of digits at `at`: a blank or a dash, a typographic one as well.
    pub fn gap(&self, at: usize) -> usize {
        match self.from(at) {
            [b' ' | b'-', ..] => 1,
            // U+00A0.
            [0xc2, 0xa0, ..] => 2,
            // Narrow blanks, and dashes.
            [0xe2, 0x80, 0x80..=0x95 | 0xaf, ..] | [0xe2, 0x88, 0x92, ..] => 3,
            _ => 0,
        }
    }
}
