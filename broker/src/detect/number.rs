//! Numbers that people write in groups: cards and phones.

use super::checks::{luhn, number};
use super::find::Text;

/// The most digits of anything here.
const MOST: usize = 19;
/// The most groups that anything is written in, and one more.
const MOST_GROUPS: usize = 8;

/// What stands between two groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sep {
    /// Nothing: it is the last one.
    #[default]
    End,
    Blank,
    Dash,
    Point,
    Slash,
    Plus,
    /// Two or three blanks and dashes.
    Wide,
}

/// One group of digits.
#[derive(Debug, Clone, Copy, Default)]
pub struct Group {
    /// How many digits there are up to its end.
    count: u8,
    /// How many of them are its own.
    pub size: u8,
    /// Where it ends, behind the beginning of the first one.
    end: u16,
    /// What follows it.
    pub sep: Sep,
}

impl Group {
    /// How many digits there are up to its end.
    pub fn count(self) -> usize {
        self.count.into()
    }
}

/// Digits in groups.
#[derive(Default)]
pub struct Groups {
    digits: [u8; MOST + 1],
    parts: [Group; MOST_GROUPS],
    length: usize,
    start: usize,
}

impl Groups {
    /// Groups from `at` on, up to one digit more than [`MOST`]. What has no width is passed over.
    pub fn read(text: &Text<'_>, at: usize) -> Self {
        let mut all = Self {
            start: at,
            ..Self::default()
        };
        let (mut at, mut count) = (at, 0);
        loop {
            let (before, mut end) = (count, at);
            while count <= MOST {
                if let Some((digit, width)) = text.digit(at) {
                    if let Some(place) = all.digits.get_mut(count) {
                        *place = digit;
                    }
                    count += 1;
                    at += width;
                    end = at;
                } else {
                    match text.invisible(at) {
                        0 => break,
                        width => at += width,
                    }
                }
            }
            if count == before {
                // What stood before belongs to nothing.
                if let Some(last) = all.parts.get_mut(all.length.saturating_sub(1)) {
                    last.sep = Sep::End;
                }
                return all;
            }
            let (sep, next) = if count > MOST { (Sep::End, at) } else { text.sep(at) };
            if let Some(group) = all.parts.get_mut(all.length) {
                *group = Group {
                    count: u8::try_from(count).unwrap_or(u8::MAX),
                    size: u8::try_from(count - before).unwrap_or(u8::MAX),
                    end: u16::try_from(end - all.start).unwrap_or(u16::MAX),
                    sep,
                };
                all.length += 1;
            }
            if sep == Sep::End || all.length == MOST_GROUPS {
                return all;
            }
            at = next;
        }
    }

    /// The groups.
    pub fn all(&self) -> &[Group] {
        self.parts.get(..self.length).unwrap_or_default()
    }

    /// The values of the first `count` digits.
    pub fn digits(&self, count: usize) -> &[u8] {
        self.digits.get(..count).unwrap_or_default()
    }

    /// How many digits there are.
    pub fn count(&self) -> usize {
        self.all().last().map_or(0, |group| group.count())
    }

    /// Where `group` ends in the text.
    pub fn end(&self, group: Group) -> usize {
        self.start + usize::from(group.end)
    }
}

/// Where the card number ends that begins at `at`.
pub fn card(text: &Text<'_>, at: usize, groups: &Groups) -> Option<usize> {
    let (mut found, mut points) = (None, false);
    for (index, group) in groups.all().iter().enumerate() {
        let digits = groups.digits(group.count());
        let end = groups.end(*group);
        // A point is a decimal one where nothing else stands in the number.
        let grouped = !points || (index > 1 && group.size <= 6);
        let fraction = index == 0 && text.left(at) == b'.' && text.before(at - 1).is_ascii_digit();
        if (13..=MOST).contains(&group.count())
            && grouped
            && !fraction
            && is_issued(digits)
            && luhn(digits)
            && text.ends_number(at, end)
        {
            found = Some(end);
        }
        // Short groups are dates and amounts; only the last one of a card may be.
        if group.size < if index == 0 { 4 } else { 3 }
            || !matches!(group.sep, Sep::Blank | Sep::Dash | Sep::Point | Sep::Wide)
        {
            break;
        }
        points |= group.sep == Sep::Point;
    }
    found
}

/// Whether a network gives out numbers of this length that begin so.
fn is_issued(digits: &[u8]) -> bool {
    let length = digits.len();
    let of = |count: usize| number(digits.get(..count).unwrap_or_default());
    let (two, three, four) = (of(2), of(3), of(4));
    match (two, three, four) {
        // Visa.
        (40..=49, ..) => matches!(length, 13 | 16 | 19),
        // Mastercard.
        (51..=55, ..) | (.., 2221..=2720) => length == 16,
        // American Express.
        (34 | 37, ..) => length == 15,
        // Diners Club.
        (36 | 38 | 39, ..) | (_, 300..=305, _) | (.., 3095) => matches!(length, 14 | 16 | 19),
        // Maestro.
        (.., 5018 | 5020 | 5038 | 5893 | 6304 | 6759 | 6761..=6763) => true,
        // JCB, Mir, Discover, RuPay, UnionPay, Verve, Elo, InstaPayment, Troy.
        (60 | 62 | 65 | 81 | 82, ..)
        | (_, 506..=509 | 636..=639 | 644..=649, _)
        | (.., 3528..=3589 | 2200..=2205 | 9792) => length >= 16,
        _ => false,
    }
}

/// Where the phone number ends that begins with a sign at `at`.
pub fn phone(text: &Text<'_>, at: usize) -> Option<usize> {
    match text.byte(at) {
        b'+' => international(text, at, at + 1, true),
        b'(' => american(text, at),
        _ => None,
    }
}

/// Where the phone number ends that begins with a digit at `at`.
pub fn phone_of(text: &Text<'_>, at: usize, groups: &Groups) -> Option<usize> {
    // `tel:0170 …` is one, and the rest of a time, a date, a version or an amount is none.
    let joint = matches!(text.left(at), b'.' | b',' | b'-' | b'/' | b':');
    if joint && text.before(at - 1).is_ascii_digit() {
        return None;
    }
    match groups.digits(2) {
        [0, 0] => international(text, at, at + 2, false),
        [0, _] => national(text, at, groups),
        _ => american(text, at),
    }
}

/// `+49 170 1234567`, `+1 (555) 234-5678`, `0049 170 1234567`: a country's code, then 8 to 15 digits in all. Without the plus it
/// must be written in groups.
fn international(text: &Text<'_>, start: usize, at: usize, plus: bool) -> Option<usize> {
    if !matches!(text.byte(at), b'1'..=b'9') || text.left(start).is_ascii_alphanumeric() {
        return None;
    }
    let (mut digits, mut gaps, mut dots, mut open) = (0, 0, 0, false);
    // What stands between two digits counts once the second is there.
    let (mut new_gaps, mut new_dots) = (0, 0);
    let (mut at, mut end) = (at, at);
    while digits <= 15 {
        match text.byte(at) {
            byte if byte.is_ascii_digit() => {
                digits += 1;
                gaps += std::mem::take(&mut new_gaps);
                dots += std::mem::take(&mut new_dots);
                at += 1;
                end = at;
                continue;
            }
            b'(' if !open => open = true,
            b')' if open => open = false,
            b'.' | b'/' => {
                new_dots += 1;
                new_gaps += 1;
            }
            _ => {
                let gap = text.gap(at) + text.invisible(at);
                if gap == 0 {
                    break;
                }
                new_gaps += 1;
                at += gap - 1;
            }
        }
        at += 1;
        // `) ` and `) -` are as much as stands between two digits.
        if at - end > 6 {
            break;
        }
    }
    // One point alone is a decimal one.
    let fits = (8..=15).contains(&digits) && dots != 1 && (plus || gaps > 0);
    (fits && text.ends_number(start, end)).then_some(end)
}

/// `0170 1234567`, `030/12345678`, `06 12 34 56 78`: 10 to 12 digits in groups, the first of which is the area's.
fn national(text: &Text<'_>, at: usize, groups: &Groups) -> Option<usize> {
    if text.left(at).is_ascii_alphabetic() {
        return None;
    }
    let all = groups.all();
    // As many groups as may belong to it.
    let most = all.iter().take_while(|group| group.count <= 12).count();
    (2..=most).rev().find_map(|count| {
        let number = all.get(..count)?;
        let (first, last) = (number.first()?, number.last()?);
        let second = number.get(1).map(|group| group.sep).filter(|_| count > 2);
        let inner = number.get(1..count - 1).unwrap_or_default();
        let alike = inner.iter().all(|group| Some(group.sep) == second);
        let pairs = last.count == 10 && number.iter().all(|group| group.size == 2);
        let joined = |sep: Sep| matches!(sep, Sep::Blank | Sep::Dash | Sep::Slash);
        let plain = joined(first.sep)
            && second.is_none_or(|second| {
                second == first.sep
                    || (second == Sep::Blank && first.sep != Sep::Blank)
                    || (second == Sep::Dash && first.sep == Sep::Slash)
            });
        let alike_pairs =
            pairs && second == Some(first.sep) && matches!(first.sep, Sep::Blank | Sep::Dash | Sep::Point | Sep::Slash);
        // Pairs with dashes or slashes are dates as well.
        let dated = first.size == 2 && number.get(1).is_some_and(|group| group.size == 2) && !pairs;
        let fits = (10..=12).contains(&last.count) && alike && (2..=5).contains(&first.size) && (plain || alike_pairs);
        let end = groups.end(*last);
        // What is joined to it further on makes it part of something longer.
        let over = matches!(last.sep, Sep::End | Sep::Blank | Sep::Wide);
        (fits && !dated && over && text.ends_number(at, end)).then_some(end)
    })
}

/// `(555) 234-5678`, `555-234-5678`, `1-555-234-5678`, `555.234.5678`.
fn american(text: &Text<'_>, start: usize) -> Option<usize> {
    if text.left(start).is_ascii_alphanumeric() {
        return None;
    }
    let mut at = start;
    let gap = |at: usize| if text.byte(at) == b'.' { 1 } else { text.gap(at) };
    if text.byte(at) == b'1' {
        let long = gap(at + 1);
        if long == 0 {
            return None;
        }
        at += 1 + long;
    }
    let group = |at: usize, size: usize| {
        let digits = text.from(at).get(..size)?;
        digits.iter().all(u8::is_ascii_digit).then_some(digits)
    };
    let between = if text.byte(at) == b'(' {
        area(group(at + 1, 3)?)?;
        if text.byte(at + 4) != b')' {
            return None;
        }
        at += 5;
        gap(at)
    } else {
        area(group(at, 3)?)?;
        at += 3;
        let between = gap(at);
        if between == 0 {
            return None;
        }
        between
    };
    at += between;
    area(group(at, 3)?)?;
    let between = gap(at + 3);
    at += 3 + between;
    group(at, 4)?;
    let end = at + 4;
    (between > 0 && text.ends_number(start, end)).then_some(end)
}

/// Neither an area's code nor what follows it begins with 0 or 1.
fn area(digits: &[u8]) -> Option<()> {
    matches!(digits.first(), Some(b'2'..=b'9')).then_some(())
}
