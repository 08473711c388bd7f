//! The pass over a value: where something may begin, and what does.

use super::number::{self, Groups, Sep};
use super::{Kind, Kinds, Span, address, iban, ids, secret};

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
    let (mut no_token_before, mut no_number_before) = (0, 0);
    // Behind this place nothing is part of an escape.
    let mut escaped = 0;
    let mut before = 0_u8;
    while let Some(&byte) = bytes.get(at) {
        let class = class(byte);
        let follows = std::mem::replace(&mut before, byte);
        if class == Class::None {
            at += 1;
            continue;
        }
        if matches!(byte, b'\\' | b'%') {
            escaped = at + ESCAPE;
        }
        // A word or a number goes on, unless what stands before it is an escape.
        let inside = match class {
            Class::Letter => follows.is_ascii_alphanumeric(),
            Class::Digit => follows.is_ascii_digit(),
            _ => false,
        };
        let apart = !inside || ((at <= escaped || text.packed) && text.follows_escape(at));
        let found = match class {
            // A byte of a length stands for no character.
            _ if !apart || text.packed && text.is_length(at) => None,
            Class::At if kinds.has(Kind::Email) => address::around(text, at, free).map(|at| (at, Kind::Email)),
            Class::Digit | Class::Wide if at < no_number_before || !kinds.has_numbers() || text.digit(at).is_none() => {
                None
            }
            Class::Digit | Class::Wide => match text.digits_ahead(at) {
                Ok(()) => numbers(text, at, kinds),
                Err(end) => {
                    no_number_before = end;
                    None
                }
            },
            Class::Sign if kinds.has(Kind::Phone) => number::phone(text, at).map(|end| (at..end, Kind::Phone)),
            Class::Letter | Class::Dash if kinds.has_words() => words(text, at, kinds, &mut no_token_before),
            _ => None,
        };
        // Full-width signs begin as full-width digits do.
        let found = found.or_else(|| {
            let wide = class == Class::Wide && byte == 0xef && kinds.has(Kind::Email);
            let address = wide.then(|| address::around(text, at, free)).flatten();
            address.map(|at| (at, Kind::Email))
        });
        if let Some((span, kind)) = found {
            at = span.end.max(at + 1);
            free = at;
            before = text.before(at);
            escaped = at + ESCAPE;
            spans.push(Span { at: span, kind });
            continue;
        }
        at += 1;
        // What goes on begins nothing, unless an escape ends in it.
        let goes_on: fn(&u8) -> bool = match class {
            Class::Letter => u8::is_ascii_alphabetic,
            Class::Digit => u8::is_ascii_digit,
            _ => continue,
        };
        if at > escaped && !text.packed {
            let rest = bytes.get(at..).unwrap_or_default().iter();
            at += rest.take_while(|byte| goes_on(byte)).count();
            before = byte;
        }
    }
    spans
}

/// The longest escape: `\u00e9`.
const ESCAPE: usize = 6;

/// What a byte may begin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    None,
    /// The sign of an address, in some spelling.
    At,
    Digit,
    /// A digit or a sign beyond ASCII.
    Wide,
    /// What a phone number begins with.
    Sign,
    Letter,
    Dash,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::None; 256];
    let mut byte = 0_u8;
    while byte < u8::MAX {
        let place = byte as usize;
        #[expect(clippy::indexing_slicing, reason = "computed when it is compiled")]
        {
            classes[place] = match byte {
                b'@' | b'%' | b'\\' | b'&' => Class::At,
                b'0'..=b'9' => Class::Digit,
                0xd9 | 0xdb | 0xe0 | 0xef => Class::Wide,
                b'+' | b'(' => Class::Sign,
                b'A'..=b'Z' | b'a'..=b'z' => Class::Letter,
                b'-' => Class::Dash,
                _ => Class::None,
            };
        }
        byte += 1;
    }
    classes
};

fn class(byte: u8) -> Class {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(Class::None)
}

type Place = (std::ops::Range<usize>, Kind);

/// The fewest digits of anything: a Spanish id.
const FEWEST: usize = 8;

fn numbers(text: &Text<'_>, at: usize, kinds: Kinds) -> Option<Place> {
    let groups = Groups::read(text, at);
    text.looked(groups.count());
    if groups.count() < FEWEST {
        return None;
    }
    let place = |kind: Kind, find: fn(&Text<'_>, usize, &Groups) -> Option<usize>| {
        let end = kinds.has(kind).then(|| find(text, at, &groups)).flatten()?;
        (!text.is_hash(at, end)).then_some((at..end, kind))
    };
    place(Kind::Card, number::card)
        .or_else(|| place(Kind::NationalId, ids::of_digits))
        .or_else(|| place(Kind::Phone, number::phone_of))
}

fn words(text: &Text<'_>, at: usize, kinds: Kinds, no_token_before: &mut usize) -> Option<Place> {
    if kinds.has(Kind::Token)
        && let Some(end) = secret::token(text, at, no_token_before)
    {
        return Some((at..end, Kind::Token));
    }
    if kinds.has(Kind::Iban)
        && let Some(end) = iban::iban(text, at)
        && !text.is_hash(at, end)
    {
        return Some((at..end, Kind::Iban));
    }
    let id = kinds.has(Kind::NationalId).then(|| ids::of_letters(text, at)).flatten();
    id.map(|end| (at..end, Kind::NationalId))
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

    /// In a packed value: a byte of a length stands at `at`, behind its first one.
    fn is_length(&self, at: usize) -> bool {
        // The first byte of any length of less than 16 MiB is 0.
        let small = self.bytes.len() < 1 << 24;
        (1..=3)
            .any(|more| (!small || self.before((at + more).saturating_sub(3)) == 0) && self.follows_length(at + more))
    }

    /// The digit at `at` and its width: ASCII, full-width, Arabic, Persian or Devanagari.
    pub fn digit(&self, at: usize) -> Option<(u8, usize)> {
        match *self.from(at) {
            [digit @ b'0'..=b'9', ..] => Some((digit - b'0', 1)),
            [0xef, 0xbc, digit @ 0x90..=0x99, ..] => Some((digit - 0x90, 3)),
            [0xd9, digit @ 0xa0..=0xa9, ..] => Some((digit - 0xa0, 2)),
            [0xdb, digit @ 0xb0..=0xb9, ..] => Some((digit - 0xb0, 2)),
            [0xe0, 0xa5, digit @ 0xa6..=0xaf, ..] => Some((digit - 0xa6, 3)),
            _ => None,
        }
    }

    /// Whether there are enough digits from `at` on for anything, close enough to each other; where that was seen not to be.
    fn digits_ahead(&self, at: usize) -> Result<(), usize> {
        /// Three characters between two groups, and what has no width.
        const APART: usize = 16;
        let (mut digits, mut apart) = (0, 0);
        for (ahead, byte) in self.bytes.get(at..).unwrap_or_default().iter().enumerate() {
            match byte {
                b'0'..=b'9' => (digits, apart) = (digits + 1, 0),
                0xd9 | 0xdb | 0xe0 | 0xef => digits += 1,
                b' ' | b'-' | b'.' | b'/' | b'+' | b'(' | b')' | 0x80.. if apart < APART => apart += 1,
                _ => {
                    self.looked(ahead);
                    return Err(at + ahead);
                }
            }
            if digits >= FEWEST {
                self.looked(ahead);
                return Ok(());
            }
        }
        Err(self.bytes.len())
    }

    /// The width of a character without any at `at`: soft hyphens, joiners, marks of direction.
    pub fn invisible(&self, at: usize) -> usize {
        match self.from(at) {
            [0xc2, 0xad, ..] => 2,
            [0xe2, 0x80, 0x8b..=0x8f, ..] | [0xe2, 0x81, 0xa0, ..] | [0xef, 0xbb, 0xbf, ..] => 3,
            _ => 0,
        }
    }

    /// What stands between two groups at `at`, and where the next one may begin.
    pub fn sep(&self, at: usize) -> (Sep, usize) {
        let first = self.byte(at);
        match first {
            b'.' => return (Sep::Point, at + 1),
            b'/' => return (Sep::Slash, at + 1),
            b'+' => return (Sep::Plus, at + 1),
            _ => {}
        }
        if !matches!(first, b' ' | b'-' | 0xc2 | 0xe2 | 0xef) {
            return (Sep::End, at);
        }
        let (mut end, mut count) = (at, 0);
        while count < 3 {
            match self.gap(end) + self.invisible(end) {
                0 => break,
                width => end += width,
            }
            count += 1;
        }
        let sep = match (count, first) {
            (0, _) => Sep::End,
            (1, b' ' | 0xc2) => Sep::Blank,
            (1, b'-') => Sep::Dash,
            // Blanks of some width, and dashes.
            (1, _)
                if self
                    .bytes
                    .get(at + 2)
                    .is_some_and(|byte| matches!(byte, 0x80..=0x8a | 0xaf)) =>
            {
                Sep::Blank
            }
            (1, _) => Sep::Dash,
            _ => Sep::Wide,
        };
        (sep, end)
    }

    /// Whether what stands from `start` to `end` is a part of a uuid or of a hash.
    fn is_hash(&self, start: usize, end: usize) -> bool {
        /// Of a uuid as a text, and the fewest digits of a hash.
        const UUID: usize = 36;
        const HASH: usize = 24;
        let inside = |byte: &&u8| byte.is_ascii_hexdigit() || **byte == b'-';
        let ahead = self
            .bytes
            .get(start..)
            .unwrap_or_default()
            .iter()
            .take(2 * UUID)
            .take_while(inside)
            .count();
        if start + ahead < end {
            return false;
        }
        let front = self.bytes.get(..start).unwrap_or_default();
        let back = front.iter().rev().take(2 * UUID).take_while(inside).count();
        self.looked(ahead + back);
        let whole = self.bytes.get(start - back..start + ahead).unwrap_or_default();
        let is_uuid = |at: &[u8]| {
            at.iter()
                .enumerate()
                .all(|(place, byte)| matches!(place, 8 | 13 | 18 | 23) == (*byte == b'-'))
        };
        let has_letters = |part: &[u8]| part.iter().any(u8::is_ascii_alphabetic);
        let mut windows = whole.windows(UUID).take(back + 1);
        windows.any(|part| is_uuid(part) && has_letters(part))
            || whole
                .split(|byte| *byte == b'-')
                .any(|part| part.len() >= HASH && has_letters(part))
    }

    /// The length of what may stand between two groups of digits at `at`: a blank or a dash, a typographic one as well.
    pub fn gap(&self, at: usize) -> usize {
        match self.from(at) {
            [b' ' | b'-', ..] => 1,
            // U+00A0.
            [0xc2, 0xa0, ..] => 2,
            // Narrow blanks, and dashes.
            [0xe2, 0x80, 0x80..=0x8a | 0x90..=0x95 | 0xaf, ..] | [0xe2, 0x88, 0x92, ..] => 3,
            _ => 0,
        }
    }
}
