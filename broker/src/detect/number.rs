//! Numbers that people write in groups: cards and phones.

use super::checks::luhn;
use super::find::Text;

/// The most digits of anything here.
const MOST: usize = 19;

/// Digits in groups.
#[derive(Default)]
pub struct Groups {
    /// The digits' values.
    pub digits: Vec<u8>,
    /// After how many digits each group ends, and where in the text.
    pub ends: Vec<(usize, usize)>,
}

impl Groups {
    /// Groups from `at` on with one gap between two of them, up to [`MOST`] digits.
    pub fn read(text: &Text<'_>, at: usize, gap: impl Fn(usize) -> usize) -> Self {
        let mut groups = Self {
            digits: Vec::with_capacity(MOST + 1),
            ends: Vec::with_capacity(8),
        };
        let mut at = at;
        loop {
            let group = text
                .from(at)
                .iter()
                .take(MOST + 1)
                .take_while(|byte| byte.is_ascii_digit());
            let before = groups.digits.len();
            groups.digits.extend(group.map(|digit| digit - b'0'));
            let here = groups.digits.len() - before;
            text.looked(here);
            if here == 0 {
                return groups;
            }
            at += here;
            groups.ends.push((groups.digits.len(), at));
            let gap = gap(at);
            if gap == 0 || groups.digits.len() > MOST {
                return groups;
            }
            at += gap;
        }
    }

    /// How many digits each group has.
    pub fn sizes(&self) -> impl Iterator<Item = usize> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(count, _)| *count));
        starts.zip(&self.ends).map(|(start, (end, _))| end - start)
    }
}

/// Where the card number ends that begins at `at`.
pub fn card(text: &Text<'_>, at: usize) -> Option<usize> {
    // No card begins otherwise; numbers of orders and times in milliseconds do.
    if !matches!(text.byte(at), b'2'..=b'6') && !text.from(at).starts_with(b"81") {
        return None;
    }
    let groups = Groups::read(text, at, |at| text.gap(at));
    let mut found = None;
    for ((count, end), size) in groups.ends.iter().zip(groups.sizes()) {
        let digits = groups.digits.get(..*count).unwrap_or_default();
        if (13..=MOST).contains(count) && luhn(digits) && text.ends_number(at, *end) {
            found = Some(*end);
        }
        // Short groups are dates and amounts; only the last one of a card may be.
        if size < 3 {
            break;
        }
    }
    found
}

/// Where the phone number ends that begins at `at`.
pub fn phone(text: &Text<'_>, at: usize) -> Option<usize> {
    match text.byte(at) {
        b'+' => international(text, at, at + 1, true),
        b'0' if text.byte(at + 1) == b'0' => international(text, at, at + 2, false),
        b'0' => national(text, at),
        b'(' | b'1'..=b'9' => american(text, at),
        _ => None,
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
                let gap = text.gap(at);
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
fn national(text: &Text<'_>, at: usize) -> Option<usize> {
    // `tel:0170 …` is one, and the rest of a time, a date or an amount is none.
    let joint = matches!(text.left(at), b'.' | b',' | b'-' | b'/' | b':');
    let goes_on = joint && text.left(at - 1).is_ascii_digit();
    if text.left(at).is_ascii_alphabetic() || goes_on {
        return None;
    }
    let gap = |at: usize| match text.byte(at) {
        b'/' | b'.' => 1,
        _ => text.gap(at),
    };
    let groups = Groups::read(text, at, gap);
    let count = groups.digits.len();
    let end = groups.ends.last()?.1;
    let sizes: Vec<usize> = groups.sizes().collect();
    let between = groups.ends.iter().take(sizes.len() - 1).map(|(_, at)| text.byte(*at));
    let between: Vec<u8> = between.collect();
    let alike = between.iter().skip(1).all(|byte| between.get(1) == Some(byte));
    let first = between.first().copied()?;
    let pairs = sizes.iter().all(|size| *size == 2) && count == 10;
    let plain = !between.contains(&b'.') && (first == b'/' || between.get(1).is_none_or(|next| *next == first));
    let fits = (10..=12).contains(&count) && alike && (2..=5).contains(sizes.first()?) && (pairs || plain);
    // Pairs with dashes or slashes are dates as well.
    let dated = sizes.get(..2) == Some(&[2, 2]) && !pairs;
    (fits && !dated && text.ends_number(at, end)).then_some(end)
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
