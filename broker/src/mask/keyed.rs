//! Masks with a key: equal values become equal tokens, and nobody who lacks the key can tell which value one stands for.
//!
//! The key is no part of any SQL text. The broker keeps the two pads of HMAC-SHA-256 in a table of its own schema, and the
//! expression computes `sha256(outer || sha256(inner || message))` with PostgreSQL's own `sha256`. Without a row in that
//! table every token is NULL.

use std::fmt;

use sha2::{Digest, Sha256};

use super::column::{Category, ColumnType};
use super::{SCHEMA, names, sql};

/// The table of the keys in [`SCHEMA`].
pub const TABLE: &str = "keys";

/// The block of SHA-256, in bytes.
const BLOCK: usize = 64;
/// The characters of a token.
const TOKEN: i64 = 32;
/// The shortest token that a column may cut it to.
const SHORTEST: i64 = 16;
/// The characters of an address.
const ADDRESS: i64 = 30;

/// Whether the query of a view reads the key.
pub fn reads_key(query: &str) -> bool {
    query.contains(&format!("\"{SCHEMA}\".\"{TABLE}\""))
}

/// The pads of a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Pads {
    /// `key ^ ipad`, 64 bytes.
    pub inner: Vec<u8>,
    /// `key ^ opad`, 64 bytes.
    pub outer: Vec<u8>,
}

impl fmt::Debug for Pads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pads(…)")
    }
}

impl Pads {
    /// The pads of `key`, as RFC 2104 makes them.
    pub fn of(key: &[u8]) -> Self {
        let mut block = if key.len() > BLOCK {
            Sha256::digest(key).to_vec()
        } else {
            key.to_vec()
        };
        block.resize(BLOCK, 0);
        Self {
            inner: block.iter().map(|byte| byte ^ 0x36).collect(),
            outer: block.iter().map(|byte| byte ^ 0x5c).collect(),
        }
    }
}

/// HMAC-SHA-256 of a text for one purpose, as bytea: tokens of different purposes have nothing in common.
fn hmac(purpose: &str, message: &str) -> String {
    let pad = |name: &str| format!("(SELECT \"hoop_key\".\"{name}\" FROM \"{SCHEMA}\".\"{TABLE}\" AS \"hoop_key\")");
    let message = sql::op(&sql::text(&format!("{purpose}:")), "||", message);
    let message = format!("pg_catalog.convert_to({message}, 'UTF8'::pg_catalog.name)");
    let inside = format!("pg_catalog.sha256({})", sql::op(&pad("ipad"), "||", &message));
    format!("pg_catalog.sha256({})", sql::op(&pad("opad"), "||", &inside))
}

fn hexadecimal(bytes: &str) -> String {
    format!("pg_catalog.encode({bytes}, 'hex'::pg_catalog.text)")
}

/// Some bits of a digest as a bigint that is not negative.
fn number(bytes: &str) -> String {
    let hex = format!("pg_catalog.left({}, 16)", hexadecimal(bytes));
    let bits = format!("({})::bit(64)", sql::op(&sql::text("x"), "||", &hex));
    sql::op(&format!("({bits})::bigint"), "&", "9223372036854775807")
}

/// The length that a text type cuts to, if it does.
fn room(of: &ColumnType) -> Option<i64> {
    of.modifiers().first().copied()
}

/// `hash: hmac`. A domain or a short column may hold less of the token than there is.
pub(super) fn hash(column: &str, of: &ColumnType) -> Result<String, String> {
    let plain = match of.category {
        Category::Text => sql::as_text(column),
        Category::Integer | Category::Uuid => format!("({column})::pg_catalog.text"),
        Category::Bytes => hexadecimal(column),
        _ => return Err("what fits is a text, an integer, a bigint, a uuid or a bytea".to_owned()),
    };
    let digest = hmac("hash", &plain);
    let token = format!("pg_catalog.left({}, {TOKEN})", hexadecimal(&digest));
    let value = match (of.category, of.name.as_str()) {
        (Category::Text, "name") => token,
        (Category::Text, _) => match room(of) {
            Some(room) if room < SHORTEST => return Err(format!("a token needs {SHORTEST} characters")),
            _ => token,
        },
        (Category::Integer, "bigint") => number(&digest),
        (Category::Integer, "integer") => format!("({})::integer", sql::op(&number(&digest), "&", "2147483647")),
        (Category::Integer, _) => return Err("it has too few values for tokens".to_owned()),
        (Category::Uuid, _) => format!("({token})::pg_catalog.uuid"),
        _ => digest,
    };
    Ok(sql::unless_null(column, &value))
}

/// `email: stable`.
pub(super) fn email(column: &str, of: &ColumnType) -> Result<String, String> {
    if of.category != Category::Text || room(of).is_some_and(|room| room < ADDRESS) {
        return Err(format!("what fits is a text of at least {ADDRESS} characters"));
    }
    let digest = hmac("email", &sql::as_text(column));
    let token = format!("pg_catalog.left({}, 16)", hexadecimal(&digest));
    let address = sql::op(
        &sql::op(&sql::text("x"), "||", &token),
        "||",
        &sql::text("@example.test"),
    );
    Ok(sql::unless_null(column, &address))
}

/// `fake-name: stable`. There are 4096 names: different values may share one.
pub(super) fn name(column: &str, of: &ColumnType) -> Result<String, String> {
    if of.category != Category::Text {
        return Err("what fits is a text".to_owned());
    }
    let digest = hmac("name", &sql::as_text(column));
    Ok(sql::unless_null(column, &names::pick(&number(&digest))))
}

/// `date-shift`: by the row's key, so that the dates of a row keep their distances; by the value where there is none.
/// Never by nothing; what lies outside of the years 1 to 9999 is NULL.
pub(super) fn shift(column: &str, of: &ColumnType, days: u32, key: &[String]) -> Result<String, String> {
    let (low, high) = ("'0011-01-01'", "'9989-01-01'");
    let row = if key.is_empty() {
        // The same text in every session, whatever its DateStyle and time zone.
        let moment = match of.category {
            Category::Date => format!("(({column}) OPERATOR(pg_catalog.-) '2000-01-01'::pg_catalog.date)"),
            _ => format!("EXTRACT(EPOCH FROM {column})"),
        };
        format!("({moment})::pg_catalog.text")
    } else {
        format!("pg_catalog.concat_ws('/'::pg_catalog.text, {})", key.join(", "))
    };
    let way = sql::op(
        &number(&hmac("date", &row)),
        "%",
        &format!("{}::bigint", 2 * u64::from(days)),
    );
    let one = sql::op(&way, "-", &format!("{days}::bigint"));
    let far = format!(
        "(CASE WHEN {} THEN {one} ELSE {} END)::integer",
        sql::op(&way, "<", &format!("{days}::bigint")),
        sql::op(&one, "+", "1::bigint")
    );
    let within = |kind: &str| {
        let least = sql::op(column, ">=", &format!("{low}::{kind}"));
        let most = sql::op(column, "<", &format!("{high}::{kind}"));
        format!("{least} AND {most}")
    };
    let (kind, moved) = match of.category {
        Category::Date => ("pg_catalog.date", sql::op(column, "+", &far)),
        Category::Timestamp => {
            let kind = if of.name.ends_with("with time zone") {
                "pg_catalog.timestamptz"
            } else {
                "pg_catalog.timestamp"
            };
            let hours = sql::op(&far, "*", "24");
            let interval = format!("pg_catalog.make_interval(hours => {hours})");
            (kind, sql::op(column, "+", &interval))
        }
        _ => return Err("what fits is a date or a timestamp".to_owned()),
    };
    Ok(format!("CASE WHEN {} THEN {moved} ELSE NULL END", within(kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pads_are_those_of_the_rfc() {
        // RFC 4231, test cases 2 and 6 (a key longer than a block).
        for (key, message, expected) in [
            (
                b"Jefe".to_vec(),
                "what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                vec![0xaa; 131],
                "Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ] {
            let pads = Pads::of(&key);
            let inner = Sha256::digest([pads.inner.as_slice(), message.as_bytes()].concat());
            let outer = Sha256::digest([pads.outer.as_slice(), inner.as_slice()].concat());
            let number = |at: usize| u8::from_str_radix(expected.get(at..at + 2).unwrap(), 16).unwrap();
            let expected: Vec<u8> = (0..expected.len()).step_by(2).map(number).collect();
            assert_eq!(outer.to_vec(), expected);
        }
        assert_eq!(format!("{:?}", Pads::of(b"secret")), "Pads(…)");
    }
}
