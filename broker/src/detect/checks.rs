//! Check digits.

/// Luhn: from the right, every second digit doubled.
pub fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| {
            let digit = u32::from(*digit);
            match index % 2 {
                0 => digit,
                _ if digit > 4 => digit * 2 - 9,
                _ => digit * 2,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Whether the weighted sum of the digits leaves `rest` when divided by `by`.
pub fn weighs(digits: &[u8], weights: &[u32], by: u32, rest: u32) -> bool {
    weighted(digits, weights) % by == rest
}

/// The sum of the digits times their weights, for as many as there are of both.
pub fn weighted(digits: &[u8], weights: &[u32]) -> u32 {
    digits
        .iter()
        .zip(weights)
        .map(|(digit, weight)| u32::from(*digit) * weight)
        .sum()
}

/// The digits as a number.
pub fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |number: u64, digit| {
        number.wrapping_mul(10).wrapping_add(u64::from(*digit))
    })
}

/// A day of some year: month and day of month.
pub fn is_day(month: u64, day: u64) -> bool {
    (1..=12).contains(&month) && (1..=31).contains(&day)
}

/// Verhoeff: a sum in the dihedral group of ten, which catches every swap of neighbours.
pub fn verhoeff(digits: &[u8]) -> bool {
    let mut sum = 0_u8;
    for (index, digit) in digits.iter().rev().enumerate() {
        let mut moved = *digit;
        for _ in 0..index % 8 {
            moved = *MOVES.get(usize::from(moved)).unwrap_or(&0);
        }
        sum = dihedral(sum, moved);
    }
    sum == 0
}

/// The permutation that Verhoeff's scheme repeats.
const MOVES: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];

fn dihedral(a: u8, b: u8) -> u8 {
    match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => (a + b - 5) % 5 + 5,
        (false, true) => (a + 5 - b - 5) % 5 + 5,
        (false, false) => (a + 5 - b) % 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers_have_their_check_digits() {
        let digits = |text: &str| -> Vec<u8> { text.bytes().map(|byte| byte - b'0').collect() };
        assert!(luhn(&digits("4111111111111111")) && !luhn(&digits("4111111111111112")));
        assert!(verhoeff(&digits("2363")) && !verhoeff(&digits("2364")) && !verhoeff(&digits("2633")));
        assert_eq!(number(&digits("0123")), 123);
    }
}
