//! International bank account numbers.

use super::find::Text;
use super::number::Sep;

/// The lengths by country, as SWIFT's registry has them.
const LENGTHS: &str = "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29ES24FI18FK18FO18FR27\
    GB22GE22GI23GL18GR27GT28HN28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22\
    MK19MN20MR27MT31MU30NI28NL18NO15OM23PK24PL28PS29PT25QA29RO24RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28\
    TL23TN24TR26UA29VA22VG24XK20YE30";

/// Where the account number ends that begins at `at`: with or without blanks and dashes, in capitals or not.
pub fn iban(text: &Text<'_>, at: usize) -> Option<usize> {
    let [a, b, c, d, ..] = text.from(at) else { return None };
    let letters = a.is_ascii_alphabetic() && b.is_ascii_alphabetic();
    if !letters || !c.is_ascii_digit() || !d.is_ascii_digit() {
        return None;
    }
    let country = [a.to_ascii_uppercase(), b.to_ascii_uppercase()];
    let length = length(country)?;
    let (mut place, mut count, mut head, mut rest) = (at, 0, 0_u64, 0_u64);
    while count < length {
        let byte = text.byte(place);
        if byte.is_ascii_alphanumeric() {
            // The first four belong behind the others.
            let part = if count < 4 { &mut head } else { &mut rest };
            *part = append(*part, byte);
            count += 1;
            place += 1;
            continue;
        }
        place = match text.sep(place) {
            (Sep::Blank | Sep::Dash | Sep::Wide | Sep::Point, next) => next,
            _ => match text.invisible(place) {
                0 => return None,
                width => place + width,
            },
        };
    }
    // Two letters are four digits, and two digits two.
    let whole = (rest * 1_000_000 + head) % 97;
    (whole == 1 && !text.byte(place).is_ascii_alphanumeric()).then_some(place)
}

/// The remainder by 97, or for the four characters in front the number itself, with one character more.
fn append(number: u64, byte: u8) -> u64 {
    let next = match byte {
        b'0'..=b'9' => number * 10 + u64::from(byte - b'0'),
        _ => number * 100 + u64::from(byte.to_ascii_uppercase() - b'A') + 10,
    };
    if next >= 1_000_000 { next % 97 } else { next }
}

fn length(country: [u8; 2]) -> Option<usize> {
    let (entries, _) = LENGTHS.as_bytes().as_chunks::<4>();
    let found = entries.iter().find(|entry| entry.starts_with(&country))?;
    let [_, _, tens, ones] = found;
    Some(usize::from(tens - b'0') * 10 + usize::from(ones - b'0'))
}
