//! National ids.

use super::checks::{is_day, luhn, number, verhoeff, weighs, weighted};
use super::find::Text;
use super::number::{Group, Groups, Sep};

/// Where the id ends that begins with a digit at `at`.
pub fn of_digits(text: &Text<'_>, at: usize, groups: &Groups) -> Option<usize> {
    let first = groups.all().first()?;
    if !is_free(text, at) {
        return None;
    }
    // By the first group alone: what follows it is something else.
    let (lone, end) = (groups.digits(first.count()), groups.end(*first));
    if let Some(end) = spanish(text, lone, end) {
        return Some(end);
    }
    if chinese(text, lone, end) {
        return Some(end + 1);
    }
    if (polish(lone) || french(lone) || chinese_with_digit(lone)) && text.ends_number(at, end) {
        return Some(end);
    }
    // The groups with the same between them, and those of Brazil.
    let alike = 1 + groups
        .all()
        .iter()
        .take_while(|group| group.sep == first.sep && group.sep != Sep::End)
        .count();
    let end = |count: usize| {
        let end = groups.end(*groups.all().get(count - 1)?);
        text.ends_number(at, end).then_some(end)
    };
    if let [
        Group {
            size: 3,
            sep: Sep::Point,
            ..
        },
        Group {
            size: 3,
            sep: Sep::Point,
            ..
        },
        Group {
            size: 3,
            sep: Sep::Dash,
            ..
        },
        Group { size: 2, .. },
        ..,
    ] = groups.all()
        && brazilian(groups.digits(11))
    {
        return end(4);
    }
    let number = groups.all().get(..alike)?;
    let digits = groups.digits(number.last()?.count());
    let mut sizes = [0_u8; 8];
    let places = sizes.get_mut(..number.len())?;
    for (size, group) in places.iter_mut().zip(number) {
        *size = group.size;
    }
    let plain = matches!(first.sep, Sep::Blank | Sep::Dash | Sep::Wide) && !follows_group(text, at);
    let fits = match &*places {
        [3, 2, 4] => plain && american(digits),
        // Canada.
        [3, 3, 3] => plain && !matches!(digits.first(), Some(0 | 8)) && luhn(digits),
        // India. With dashes it is any number.
        [4, 4, 4] => plain && first.sep != Sep::Dash && matches!(digits.first(), Some(2..=9)) && verhoeff(digits),
        // Sweden, with the century or without.
        [6 | 8, 4] => matches!(first.sep, Sep::Dash | Sep::Plus) && swedish(digits),
        // Germany.
        [2, 3, 3, 3] => plain && german(digits),
        [1, 2, 2, 2, 3, 3, 2] | [1, 2, 2, 2, 3, 3] => plain && french(digits),
        _ => false,
    };
    if fits { end(alike) } else { None }
}

/// A blank and a digit stand before it: it goes on from another group.
fn follows_group(text: &Text<'_>, at: usize) -> bool {
    let blank = match text.left(at) {
        b' ' => 1,
        0xa0 => 2,
        _ => return false,
    };
    text.before(at.saturating_sub(blank)).is_ascii_digit()
}

/// Where the id ends that begins with a letter at `at`.
pub fn of_letters(text: &Text<'_>, at: usize) -> Option<usize> {
    let rest = text.from(at);
    // One or two letters and a digit, or six letters and what stands for one.
    let digit = |place: usize| rest.get(place).is_some_and(u8::is_ascii_digit);
    let letter = |place: usize| rest.get(place).is_some_and(u8::is_ascii_alphabetic);
    let stands_for_digit = digit(6) || rest.get(6).is_some_and(|byte| b"LMNPQRSTUVlmnpqrstuv".contains(byte));
    let coded = stands_for_digit && letter(5) && letter(8) && letter(11) && letter(15);
    if !(digit(1) || digit(2) || coded) {
        return None;
    }
    let length = rest
        .iter()
        .take(17)
        .take_while(|byte| byte.is_ascii_alphanumeric())
        .count();
    text.looked(length);
    let mut word = [0; 16];
    let word = word.get_mut(..length)?;
    word.copy_from_slice(rest.get(..length)?);
    word.make_ascii_uppercase();
    let fits = match length {
        9 => british(word) || foreigner_in_spain(word),
        16 => italian(word),
        _ => false,
    };
    fits.then_some(at + length)
}

/// No letter stands before it, nor what makes it a part of something longer.
fn is_free(text: &Text<'_>, at: usize) -> bool {
    let before = text.left(at);
    !(before.is_ascii_alphabetic() || matches!(before, b'.' | b'-'))
}

/// An area, a group and a serial number that are given out.
fn american(digits: &[u8]) -> bool {
    let part = |range: std::ops::Range<usize>| number(digits.get(range).unwrap_or_default());
    let area = part(0..3);
    area != 0 && area != 666 && area < 900 && part(3..5) != 0 && part(5..9) != 0
}

fn brazilian(digits: &[u8]) -> bool {
    let check = |count: usize| {
        let weights: Vec<u32> = (2..=u32::try_from(count).unwrap_or_default() + 1).rev().collect();
        let sum = weighted(digits.get(..count).unwrap_or_default(), &weights) * 10 % 11 % 10;
        digits.get(count).is_some_and(|digit| u32::from(*digit) == sum)
    };
    check(9) && check(10)
}

fn swedish(digits: &[u8]) -> bool {
    let ten = digits.get(digits.len().saturating_sub(10)..).unwrap_or_default();
    let part = |range: std::ops::Range<usize>| number(ten.get(range).unwrap_or_default());
    let day = part(4..6);
    // Coordination numbers add 60 to the day.
    is_day(part(2..4), if day > 60 { day - 60 } else { day }) && luhn(ten)
}

/// A tax id: 11 digits by ISO 7064, modulo 11 and 10.
fn german(digits: &[u8]) -> bool {
    let Some((check, digits)) = digits.split_last() else {
        return false;
    };
    let product = digits.iter().fold(10, |product, digit| {
        let sum = (u32::from(*digit) + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    // One digit of the first ten is there twice or three times, and no other one.
    let often = (0..10).map(|digit| digits.iter().filter(|other| **other == digit).count());
    let repeated: Vec<usize> = often.filter(|count| *count > 1).collect();
    digits.first() != Some(&0) && matches!(repeated.as_slice(), [2 | 3]) && (11 - product) % 10 == u32::from(*check)
}

/// 11 digits that begin with a date.
fn polish(digits: &[u8]) -> bool {
    let part = |range: std::ops::Range<usize>| number(digits.get(range).unwrap_or_default());
    // The month tells the century as well.
    digits.len() == 11
        && is_day(part(2..4) % 20, part(4..6))
        && weighs(digits, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1], 10, 0)
}

/// 13 digits that begin with the sex and a month, and two that check them.
fn french(digits: &[u8]) -> bool {
    let Some((body, check)) = digits.split_at_checked(13) else {
        return false;
    };
    let month = number(digits.get(3..5).unwrap_or_default());
    check.len() == 2
        && matches!(digits.first(), Some(1 | 2))
        && (matches!(month, 1..=12 | 20..=42) || month >= 50)
        && 97 - number(body) % 97 == number(check)
}

const CHINA: [u32; 18] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2, 1];

fn chinese_with_digit(digits: &[u8]) -> bool {
    digits.len() == 18 && chinese_date(digits) && weighs(digits, &CHINA, 11, 1)
}

/// 17 digits and an X, which stands for 10.
fn chinese(text: &Text<'_>, digits: &[u8], end: usize) -> bool {
    digits.len() == 17
        && matches!(text.byte(end), b'X' | b'x')
        && !text.byte(end + 1).is_ascii_alphanumeric()
        && chinese_date(digits)
        && (weighted(digits, &CHINA) + 10) % 11 == 1
}

fn chinese_date(digits: &[u8]) -> bool {
    let part = |range: std::ops::Range<usize>| number(digits.get(range).unwrap_or_default());
    matches!(part(6..8), 18..=20) && is_day(part(10..12), part(12..14))
}

const SPAIN: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";

/// 8 digits, and the letter of their remainder.
fn spanish(text: &Text<'_>, digits: &[u8], end: usize) -> Option<usize> {
    let end = if text.byte(end) == b'-' { end + 1 } else { end };
    let letter = text.byte(end).to_ascii_uppercase();
    let fits = digits.len() == 8 && is_spanish(number(digits), letter) && !text.byte(end + 1).is_ascii_alphanumeric();
    fits.then_some(end + 1)
}

fn is_spanish(number: u64, letter: u8) -> bool {
    let place = usize::try_from(number % 23).unwrap_or_default();
    SPAIN.get(place) == Some(&letter)
}

/// X, Y or Z in the place of the first digit.
fn foreigner_in_spain(word: &[u8]) -> bool {
    let [first @ b'X'..=b'Z', digits @ .., letter] = word else {
        return false;
    };
    let values: Vec<u8> = std::iter::once(first - b'X')
        .chain(digits.iter().map(|digit| digit.wrapping_sub(b'0')))
        .collect();
    digits.iter().all(u8::is_ascii_digit) && is_spanish(number(&values), *letter)
}

/// Two letters, six digits and one letter: there is no check digit, and some letters are never given out.
fn british(word: &[u8]) -> bool {
    let [first, second, digits @ .., last] = word else {
        return false;
    };
    first.is_ascii_alphabetic()
        && second.is_ascii_alphabetic()
        && !b"DFIQUV".contains(first)
        && !b"DFIOQUV".contains(second)
        && ![*b"BG", *b"GB", *b"KN", *b"NK", *b"NT", *b"TN", *b"ZZ"].contains(&[*first, *second])
        && digits.iter().all(u8::is_ascii_digit)
        && matches!(last, b'A'..=b'D')
}

/// The tax code: six letters, a date in five, a place in four, and a letter that checks the others.
fn italian(word: &[u8]) -> bool {
    /// The values of 0 to 9, or of A to Z, in odd places.
    const ODD: [u32; 26] = [
        1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23,
    ];
    let Some((check, body)) = word.split_last() else {
        return false;
    };
    // Digits may be letters where two people would have the same code.
    let digit = |byte: u8| byte.is_ascii_digit() || b"LMNPQRSTUV".contains(&byte);
    let shaped = body.iter().enumerate().all(|(place, byte)| match place {
        6 | 7 | 9 | 10 | 12..=14 => digit(*byte),
        8 => b"ABCDEHLMPRST".contains(byte),
        _ => byte.is_ascii_alphabetic(),
    });
    let sum: u32 = body
        .iter()
        .enumerate()
        .map(|(place, byte)| {
            let value = if byte.is_ascii_digit() {
                byte - b'0'
            } else {
                byte.wrapping_sub(b'A')
            };
            match place % 2 {
                0 => ODD.get(usize::from(value)).copied().unwrap_or_default(),
                _ => u32::from(value),
            }
        })
        .sum();
    shaped && u32::from(check.wrapping_sub(b'A')) == sum % 26
}
