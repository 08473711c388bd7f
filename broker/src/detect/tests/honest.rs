//! How often honest values are taken for something: never, or as often as is told in policies/README.md.

use super::{Form, Found, all, scrub};

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    /// Below `most`.
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % most
    }

    fn of(&mut self, letters: &str, count: usize) -> String {
        let letters: Vec<char> = letters.chars().collect();
        let mut one = || letters[usize::try_from(self.below(letters.len() as u64)).unwrap()];
        (0..count).map(|_| one()).collect()
    }

    fn hex(&mut self, count: usize) -> String {
        self.of("0123456789abcdef", count)
    }

    fn digits(&mut self, count: usize) -> String {
        self.of("0123456789", count)
    }

    fn base64(&mut self, count: usize) -> String {
        self.of(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
            count,
        )
    }

    fn date(&mut self) -> String {
        format!(
            "{}-{:02}-{:02}",
            1970 + self.below(80),
            1 + self.below(12),
            1 + self.below(28)
        )
    }

    fn time(&mut self) -> String {
        format!("{:02}:{:02}:{:02}", self.below(24), self.below(60), self.below(60))
    }

    fn uuid(&mut self) -> String {
        [8, 4, 4, 4, 12].map(|count| self.hex(count)).join("-")
    }

    fn ean(&mut self) -> String {
        let digits = self.digits(12);
        let sum: u64 = digits
            .bytes()
            .zip([1, 3].into_iter().cycle())
            .map(|(byte, weight)| u64::from(byte - b'0') * weight)
            .sum();
        format!("{digits}{}", (10 - sum % 10) % 10)
    }
}

/// A kind of value, the most of a thousand that may be taken for something, and how one is made.
type Honest = (&'static str, u64, fn(&mut Dice) -> String);

const HONEST: &[Honest] = &[
    ("uuid", 0, Dice::uuid),
    ("UUID", 0, |dice| dice.uuid().to_uppercase()),
    ("uuid without dashes", 0, |dice| dice.hex(32)),
    ("git hash", 0, |dice| dice.hex(40)),
    ("short hash", 0, |dice| dice.hex(8)),
    ("sha256", 0, |dice| dice.hex(64)),
    ("timestamp", 0, |dice| {
        format!("{} {}.{}+00", dice.date(), dice.time(), dice.digits(6))
    }),
    ("ISO timestamp", 0, |dice| format!("{}T{}Z", dice.date(), dice.time())),
    ("timestamp in digits", 0, |dice| {
        format!("{}{}", dice.date(), dice.time()).replace(['-', ':'], "")
    }),
    ("range of dates", 0, |dice| format!("[{},{})", dice.date(), dice.date())),
    ("German date", 0, |dice| {
        format!(
            "{:02}.{:02}.{} 10:34",
            1 + dice.below(28),
            1 + dice.below(12),
            1970 + dice.below(80)
        )
    }),
    ("US date", 0, |dice| {
        format!(
            "{:02}/{:02}/{} 10:34",
            1 + dice.below(12),
            1 + dice.below(28),
            1970 + dice.below(80)
        )
    }),
    ("seconds", 0, |dice| {
        (1_000_000_000 + dice.below(900_000_000)).to_string()
    }),
    ("milliseconds", 0, |dice| {
        (1_000_000_000_000 + dice.below(900_000_000_000)).to_string()
    }),
    ("nanoseconds", 0, |dice| {
        (1_000_000_000_000_000_000 + dice.below(900_000_000_000_000_000)).to_string()
    }),
    ("float", 0, |dice| format!("{}.{}", dice.below(10_000), dice.digits(13))),
    ("fraction", 0, |dice| format!("0.{}", dice.digits(16))),
    ("scientific", 0, |dice| {
        format!("{}.{}e-07", 1 + dice.below(9), dice.digits(15))
    }),
    ("coordinates", 0, |dice| {
        format!(
            "{}.{}, {}.{}",
            dice.below(90),
            dice.digits(6),
            dice.below(180),
            dice.digits(6)
        )
    }),
    ("IPv4", 0, |dice| {
        format!(
            "{}.{}.{}.{}",
            dice.below(256),
            dice.below(256),
            dice.below(256),
            dice.below(256)
        )
    }),
    ("IPv6", 0, |dice| {
        format!(
            "2001:db8:{}:{}:{}:{}",
            dice.hex(4),
            dice.hex(4),
            dice.hex(4),
            dice.hex(4)
        )
    }),
    ("base64", 0, |dice| dice.base64(400)),
    ("version", 0, |dice| {
        format!(
            "v{}.{}.{}-rc.{}+{}",
            dice.below(30),
            dice.below(100),
            dice.below(1000),
            dice.below(20),
            dice.hex(7)
        )
    }),
    ("ISBN", 0, |dice| {
        format!(
            "978-{}-{}-{}-{}",
            dice.digits(1),
            dice.digits(3),
            dice.digits(5),
            dice.digits(1)
        )
    }),
    ("amount", 0, |dice| {
        format!("{}.{}", dice.below(10_000_000), dice.digits(2))
    }),
    ("German amount", 0, |dice| {
        format!(
            "{}.{}.{},{} EUR",
            1 + dice.below(999),
            dice.digits(3),
            dice.digits(3),
            dice.digits(2)
        )
    }),
    ("US amount", 0, |dice| {
        format!(
            "${},{},{}.{}",
            1 + dice.below(999),
            dice.digits(3),
            dice.digits(3),
            dice.digits(2)
        )
    }),
    ("order number", 0, |dice| {
        format!("ORD-{}-{}", 2000 + dice.below(40), dice.digits(6))
    }),
    ("ticket", 0, |dice| format!("order #{}", dice.digits(9))),
    ("ten digits", 0, |dice| dice.digits(10)),
    ("file", 0, |dice| format!("icon-{}@2x.png", dice.digits(3))),
    ("package", 0, |dice| {
        format!("@scope/name@{}.{}.{}", dice.below(10), dice.below(20), dice.below(20))
    }),
    ("web address", 0, |dice| {
        format!(
            "https://host.example/{}/{}?t={}",
            dice.digits(6),
            dice.hex(8),
            dice.digits(10)
        )
    }),
    // Where chance, or a rule that others have too, makes it look like something.
    ("hex dump", 20, |dice| {
        format!(
            "{}: {} {} {} {} {}",
            dice.hex(8),
            dice.hex(4),
            dice.hex(4),
            dice.hex(4),
            dice.hex(4),
            dice.hex(4)
        )
    }),
    ("EAN", 20, Dice::ean),
    ("GTIN-14", 10, |dice| dice.digits(14)),
    ("groups of an amount", 6, |dice| {
        format!(
            "{} {} {} {}",
            10 + dice.below(90),
            dice.digits(3),
            dice.digits(3),
            dice.digits(3)
        )
    }),
    ("16 digits", 60, |dice| dice.digits(16)),
    ("11 digits", 40, |dice| dice.digits(11)),
    ("4-4-4", 200, |dice| {
        format!("{}-{}-{}", dice.digits(4), dice.digits(4), dice.digits(4))
    }),
    ("two letters, six digits and a letter", 100, |dice| {
        format!(
            "{}{}{}",
            dice.of("ABCDEFGHIJKLMNOPQRSTUVWXYZ", 2),
            dice.digits(6),
            dice.of("ABCDEFGHIJKLMNOPQRSTUVWXYZ", 1)
        )
    }),
    // The form of a phone number in the US.
    ("3-3-4", 1000, |dice| {
        format!("{}-{}-{}", dice.digits(3), dice.digits(3), dice.digits(4))
    }),
];

/// How many of `count` values of each kind were taken for something, with one of them.
fn taken(count: u64) -> Vec<(&'static str, u64, u64, String)> {
    let of = |(name, most, make): &Honest| {
        let mut dice = Dice(7);
        let (mut taken, mut example) = (0, String::new());
        for _ in 0..count {
            let value = make(&mut dice);
            if scrub(value.as_bytes(), Form::Text, all(), &mut Found::default()).is_some() {
                taken += 1;
                example = value;
            }
        }
        (*name, *most, taken, example)
    };
    HONEST.iter().map(of).collect()
}

#[test]
fn honest_values_pass() {
    // `HONEST=100000` says how many of each kind; the counts are on standard error.
    let count = std::env::var("HONEST")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(2_000);
    for (name, most, taken, example) in taken(count) {
        eprintln!("{name}: {taken} of {count}");
        assert!(
            taken * 1000 <= most * count,
            "{name}: {taken} of {count}, such as {example}"
        );
    }
}
