//! `bucket`: the beginning of the range that a number or a date lies in.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::column::{Category, ColumnType};
use super::sql::op;

/// The ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Bucket {
    /// Ranges of this length, counted from 0: 2 to [`Bucket::WIDEST`].
    Step(u64),
    /// Calendar units, in UTC.
    Calendar(Unit),
}

/// Units of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Unit {
    /// From 1 January.
    Year,
    /// From the first day of a quarter.
    Quarter,
    /// From the first day of a month.
    Month,
    /// From Monday.
    Week,
    /// From midnight.
    Day,
}

impl Unit {
    /// Every unit.
    pub const ALL: &[Self] = &[Self::Year, Self::Quarter, Self::Month, Self::Week, Self::Day];

    /// The word in policies and in `date_trunc`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Year => "year",
            Self::Quarter => "quarter",
            Self::Month => "month",
            Self::Week => "week",
            Self::Day => "day",
        }
    }
}

/// Dates outside of these belong to no range: truncating them could leave what a timestamp can hold.
const EARLIEST: &str = "4700-01-01 BC";
const LATEST: &str = "290000-01-01";

impl Bucket {
    /// The widest range.
    pub const WIDEST: u64 = 1_000_000_000_000_000;

    /// The expression, of a type that casts to `of` without failing; `None` when it does not fit.
    pub(super) fn expression(self, column: &str, of: &ColumnType) -> Option<String> {
        match (self, of.category) {
            (Self::Step(step), Category::Integer) => Some(integer(column, of, step)),
            (Self::Step(step), Category::Number) if of.sql().starts_with("numeric") => Some(numeric(column, of, step)),
            (Self::Step(step), Category::Number) => Some(float(column, step)),
            // A date has no hours: by the day it would be the value itself.
            (Self::Calendar(unit), Category::Date) if unit != Unit::Day => Some(date(column, unit)),
            (Self::Calendar(unit), Category::Timestamp) => Some(timestamp(column, of, unit)),
            _ => None,
        }
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step(step) => write!(f, "{step}"),
            Self::Calendar(unit) => f.write_str(unit.as_str()),
        }
    }
}

/// Towards minus infinity, and never below `least`: the remainder of a division has the sign of the value.
fn floor(value: &str, step: &str, least: &str, towards_zero: &str) -> String {
    let rest = format!("pg_catalog.mod({value}, {step})");
    format!(
        "CASE WHEN {} OR {} THEN {towards_zero} WHEN {} THEN {least} ELSE {} END",
        op(value, ">=", "0"),
        op(&rest, "=", "0"),
        op(value, "<", &op(least, "+", step)),
        op(towards_zero, "-", step),
    )
}

fn integer(column: &str, of: &ColumnType, step: u64) -> String {
    let least = match of.name.as_str() {
        "smallint" => "-32768",
        "integer" => "-2147483648",
        _ => "-9223372036854775808",
    };
    let (value, step) = (format!("({column})::bigint"), format!("'{step}'::bigint"));
    let towards_zero = op(&value, "-", &format!("pg_catalog.mod({value}, {step})"));
    floor(&value, &step, &format!("'{least}'::bigint"), &towards_zero)
}

fn numeric(column: &str, of: &ColumnType, step: u64) -> String {
    let value = format!("({column})::numeric");
    let most = match *of.modifiers().as_slice() {
        [precision, ref scale @ ..] => {
            let nines = "9".repeat(usize::try_from(precision).unwrap_or(0).clamp(1, 1000));
            format!("{nines}e{}", scale.first().map_or(0, |scale| -scale))
        }
        // Far beyond any amount, and far from where the arithmetic would overflow.
        [] => "1e1000".to_owned(),
    };
    let (least, most) = (format!("'-{most}'::numeric"), format!("'{most}'::numeric"));
    let step = format!("'{step}'::numeric");
    // A difference would keep the value's number of decimals.
    let towards_zero = op(&format!("pg_catalog.div({value}, {step})"), "*", &step);
    format!(
        "CASE WHEN {} THEN 'NaN'::numeric WHEN {} THEN {most} WHEN {} THEN {least} ELSE {} END",
        op(&value, "=", "'NaN'::numeric"),
        op(&value, ">", &most),
        op(&value, "<", &least),
        floor(&value, &step, &least, &towards_zero),
    )
}

/// Division of floating-point numbers fails where it underflows or overflows: neither end is divided.
fn float(column: &str, step: u64) -> String {
    let double = |text: &str| format!("'{text}'::double precision");
    let value = format!("({column})::double precision");
    let (step, below) = (double(&step.to_string()), double(&format!("-{step}")));
    let quotient = format!("pg_catalog.floor({})", op(&value, "/", &step));
    format!(
        "CASE WHEN {} THEN {} WHEN {} THEN {} WHEN {} THEN {} WHEN {} AND {} THEN {} WHEN {} AND {} THEN {below} ELSE {} END",
        op(&value, "=", &double("NaN")),
        double("NaN"),
        op(&value, ">", &double("1e300")),
        double("Infinity"),
        op(&value, "<", &double("-1e300")),
        double("-Infinity"),
        op(&value, ">=", &double("0")),
        op(&value, "<", &step),
        double("0"),
        op(&value, "<", &double("0")),
        op(&value, ">=", &below),
        op(&quotient, "*", &step),
    )
}

fn date(column: &str, unit: Unit) -> String {
    let literal = |text: &str| format!("'{text}'::pg_catalog.date");
    let value = format!("({column})::pg_catalog.date");
    let truncated = format!(
        "(pg_catalog.date_trunc('{}', ({value})::timestamp without time zone))::pg_catalog.date",
        unit.as_str()
    );
    within(&value, literal, &truncated)
}

/// With a time zone too the ranges are those of UTC: by setting the session's zone one could otherwise find the hour.
fn timestamp(column: &str, of: &ColumnType, unit: Unit) -> String {
    let zoned = of.name.ends_with("with time zone");
    let name = if zoned {
        "timestamp with time zone"
    } else {
        "timestamp without time zone"
    };
    let literal = |text: &str| match text.strip_suffix(" BC") {
        Some(day) if zoned => format!("'{day} 00:00:00+00 BC'::{name}"),
        None if zoned => format!("'{text} 00:00:00+00'::{name}"),
        _ => format!("'{text}'::{name}"),
    };
    let literal = |text: &str| match text {
        "infinity" | "-infinity" => format!("'{text}'::{name}"),
        _ => literal(text),
    };
    let value = format!("({column})::{name}");
    let trunc = |value: &str| format!("pg_catalog.date_trunc('{}', {value})", unit.as_str());
    let truncated = if zoned {
        format!(
            "pg_catalog.timezone('UTC', {})",
            trunc(&format!("pg_catalog.timezone('UTC', {value})"))
        )
    } else {
        trunc(&value)
    };
    within(&value, literal, &truncated)
}

fn within(value: &str, literal: impl Fn(&str) -> String, truncated: &str) -> String {
    format!(
        "CASE WHEN {} THEN {} WHEN {} THEN {} ELSE {truncated} END",
        op(value, "<", &literal(EARLIEST)),
        literal("-infinity"),
        op(value, ">=", &literal(LATEST)),
        literal("infinity"),
    )
}
