//! `fixed`: a constant, checked against the column's type before it is written, so that no row can fail over it.

use jiff::civil::{Date, DateTime};

use super::Unfit;
use super::column::{Category, ColumnType};
use super::sql;

/// The constant as SQL, of a type that casts to `of` without failing.
pub(super) fn literal(text: &str, of: &ColumnType) -> Result<String, Unfit> {
    let typed = |text: &str| sql::literal(text, &of.sql());
    let found = match of.category {
        Category::Text => fits_length(text, of).then(|| sql::text(text)),
        Category::Integer => integer(text, of).map(|number| typed(&number)),
        Category::Number => number(text, of).map(typed),
        Category::Boolean => ["true", "false"].contains(&text).then(|| text.to_owned()),
        Category::Date => date(text).map(|date| format!("'{date}'::pg_catalog.date")),
        Category::Timestamp => timestamp(text, of),
        Category::Uuid => is_uuid(text).then(|| format!("'{text}'::pg_catalog.uuid")),
        Category::Json => is_json(text).then(|| typed(text)),
        Category::Bytes => hex(text).map(|hex| format!("pg_catalog.decode('{hex}', 'hex')")),
        // Without a backslash: an enum's literal cannot be put together from parts.
        Category::Enum => (of.labels.iter().any(|label| label == text) && !text.contains('\\'))
            .then(|| format!("'{}'::{}", text.replace('\'', "''"), of.sql())),
        Category::Array | Category::Other => None,
    };
    found.ok_or_else(|| Unfit {
        mask: "fixed",
        of: of.name.clone(),
        why: match of.category {
            Category::Array | Category::Other => format!("what fits is {}", of.fits().join(", ")),
            _ => "the value is none of that type, or too long for it".to_owned(),
        },
    })
}

fn fits_length(text: &str, of: &ColumnType) -> bool {
    let most = if of.name == "name" {
        Some(63)
    } else {
        of.modifiers().first().copied()
    };
    let length = if of.name == "name" {
        text.len()
    } else {
        text.chars().count()
    };
    most.is_none_or(|most| i64::try_from(length).is_ok_and(|length| length <= most))
}

fn integer(text: &str, of: &ColumnType) -> Option<String> {
    let number = text.parse::<i64>().ok()?;
    let fits = match of.name.as_str() {
        "smallint" => i16::try_from(number).is_ok(),
        "integer" => i32::try_from(number).is_ok(),
        _ => true,
    };
    fits.then(|| number.to_string())
}

/// A plain decimal that the type holds without rounding it beyond its range.
fn number<'t>(text: &'t str, of: &ColumnType) -> Option<&'t str> {
    let (whole, decimals) = decimal(text)?;
    let zero = whole.is_empty() && decimals.bytes().all(|digit| digit == b'0');
    let fits = match (of.name.as_str(), of.modifiers().as_slice()) {
        // What is too small for the type fails like what is too large.
        ("real", _) => text
            .parse::<f32>()
            .is_ok_and(|number| number.is_finite() && (zero || number != 0.0)),
        ("double precision", _) => text
            .parse::<f64>()
            .is_ok_and(|number| number.is_finite() && (zero || number != 0.0)),
        (_, [precision, scale @ ..]) => {
            let scale = scale.first().copied().unwrap_or(0);
            let (whole, decimals) = (i64::try_from(whole.len()).ok()?, i64::try_from(decimals.len()).ok()?);
            // A scale below 0 rounds up to one digit more.
            let room = precision - scale - i64::from(scale < 0);
            zero || (room >= 0 && whole <= room && decimals <= scale.max(0))
        }
        _ => text.len() <= 1000,
    };
    fits.then_some(text)
}

/// The digits before the point, leading zeros left out, and those behind it.
fn decimal(text: &str) -> Option<(&str, &str)> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, decimals) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    (digits(whole) && digits(decimals)).then(|| (whole.trim_start_matches('0'), decimals.trim_end_matches('0')))
}

/// A day of our era, as ISO 8601 writes it.
fn date(text: &str) -> Option<Date> {
    let date: Date = text.parse().ok()?;
    (date.year() > 0 && date.to_string() == text).then_some(date)
}

fn timestamp(text: &str, of: &ColumnType) -> Option<String> {
    let zoned = of.name.ends_with("with time zone");
    if zoned && let Ok(moment) = text.parse::<jiff::Timestamp>() {
        let moment = moment.to_zoned(jiff::tz::TimeZone::UTC).datetime();
        return (moment.year() > 0).then(|| format!("'{moment}+00'::timestamp with time zone"));
    }
    // Only a form with no zone in it: the parser would take one and leave it out.
    if text.len() > "2020-01-01 00:00:00.000000".len() || text.contains(['Z', 'z', '+', '[']) {
        return None;
    }
    let moment: DateTime = text.parse().ok()?;
    let (zone, name) = if zoned {
        ("+00", "timestamp with time zone")
    } else {
        ("", "timestamp without time zone")
    };
    (moment.year() > 0).then(|| format!("'{moment}{zone}'::{name}"))
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    lengths == [8, 4, 4, 4, 12] && groups.concat().bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// JSON that `jsonb` takes as well: it refuses NUL in texts.
fn is_json(text: &str) -> bool {
    fn plain(value: &serde_json::Value) -> bool {
        match value {
            serde_json::Value::String(text) => !text.contains('\0'),
            serde_json::Value::Array(values) => values.iter().all(plain),
            serde_json::Value::Object(map) => map.iter().all(|(key, value)| !key.contains('\0') && plain(value)),
            serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => true,
        }
    }
    serde_json::from_str(text).is_ok_and(|value| plain(&value))
}

/// The digits of `\x00ff`.
fn hex(text: &str) -> Option<&str> {
    let digits = text.strip_prefix("\\x")?;
    (digits.len() % 2 == 0 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(digits)
}
