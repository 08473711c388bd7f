//! How the value of a masked column is replaced: by an SQL expression of exactly the column's type, which never fails,
//! calls nothing but PostgreSQL's own functions, and tells no more of the value than the mask's description says.

mod bucket;
mod column;
mod fixed;
mod json;
pub mod keyed;
mod names;
mod sql;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use bucket::{Bucket, Unit};
pub use column::{Category, ColumnType};
pub use json::{BadPath, Tree};

/// How a value is replaced. NULL stays NULL.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Mask {
    /// NULL.
    Nullify,
    /// This value.
    Fixed(String),
    /// The first and the last characters stay, every other becomes `with`. What is not longer is masked whole. The
    /// length stays.
    Partial {
        /// Characters that stay at the beginning.
        first: u32,
        /// Characters that stay at the end.
        last: u32,
        /// What stands for the others: printable ASCII.
        with: char,
    },
    /// Every digit becomes 0, everything else stays.
    Digits,
    /// The same address for every value.
    Email,
    /// An address per value, the same for equal values. Needs a key.
    StableEmail,
    /// A name out of a list, chosen by the row and never by the value.
    FakeName,
    /// A name out of a list per value, the same for equal values. Needs a key.
    StableName,
    /// The beginning of the range that the value lies in.
    Bucket(Bucket),
    /// Parts of a JSON value.
    Json(Tree),
    /// A token per value, the same for equal values. Needs a key.
    Hash,
    /// Another day, at most this many days away, the same distance for equal keys. Needs a key.
    DateShift {
        /// The largest distance in days.
        days: u32,
    },
}

/// A mask that cannot keep a column's type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{mask}` cannot keep the type {of}: {why}")]
pub struct Unfit {
    /// The mask's word.
    pub mask: &'static str,
    /// The column's type.
    pub of: String,
    /// Why, or which masks fit.
    pub why: String,
}

/// The broker's own schema in a database: it holds the views that stand for tables with masks, and nobody may name it.
pub const SCHEMA: &str = "hoop_masks";

/// The address that stands for every other.
pub const EMAIL: &str = "x***@example.test";

impl Mask {
    /// The word in policies.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Nullify => "nullify",
            Self::Fixed(_) => "fixed",
            Self::Partial { .. } => "partial",
            Self::Digits => "digits",
            Self::Email | Self::StableEmail => "email",
            Self::FakeName | Self::StableName => "fake-name",
            Self::Bucket(_) => "bucket",
            Self::Json(_) => "json",
            Self::Hash => "hash",
            Self::DateShift { .. } => "date-shift",
        }
    }

    /// Whether it is computed with a key, which may never stand in SQL text.
    pub fn needs_key(&self) -> bool {
        matches!(
            self,
            Self::StableEmail | Self::StableName | Self::Hash | Self::DateShift { .. }
        )
    }

    /// Whether the masked value tells nothing of the raw one, except whether it is NULL.
    pub fn reveals_nothing(&self) -> bool {
        matches!(self, Self::Nullify | Self::Fixed(_))
    }

    /// The SQL expression that stands for a column, of exactly the type `of`. NULL stays NULL.
    ///
    /// `column` is SQL text that reads the raw value, such as `"hoop"."email"`. `key` are SQL texts that read the
    /// columns of the row's primary key, **without those that are masked or out of the scope's reach**: whoever can
    /// count names could otherwise test guesses at them. No key chooses the same name for all.
    ///
    /// The text holds no backslash, reads each column as often as it needs to, and its names resolve the same whatever
    /// the search path is. It is STABLE or better.
    pub fn expression(&self, column: &str, of: &ColumnType, key: &[String]) -> Result<String, Unfit> {
        if let (Category::Array, false) = (of.category, matches!(self, Self::Nullify)) {
            return self.elements(column, of);
        }
        let value = match self {
            Self::Nullify => return Ok(sql::cast("NULL", of)),
            Self::Fixed(text) => sql::unless_null(column, &fixed::literal(text, of)?),
            Self::Partial { first, last, with } if of.category == Category::Text => {
                sql::partial(&sql::as_text(column), *first, *last, *with)
            }
            Self::Digits => match of.category {
                Category::Text => sql::digits(&sql::as_text(column)),
                Category::Integer | Category::Number => sql::unless_null(column, "0"),
                _ => return Err(self.unfit(of)),
            },
            Self::Email if of.category == Category::Text => sql::unless_null(column, &sql::text(EMAIL)),
            Self::FakeName if of.category == Category::Text => sql::unless_null(column, &names::choose(key)),
            Self::Bucket(bucket) => bucket.expression(column, of).ok_or_else(|| self.unfit(of))?,
            Self::Json(tree) if of.category == Category::Json => tree.expression(column, of),
            Self::StableEmail | Self::StableName | Self::Hash | Self::DateShift { .. } => {
                return Err(self.refuse(of, "it needs a key, and a key never stands in SQL text"));
            }
            Self::Partial { .. } | Self::Email | Self::FakeName | Self::Json(_) => return Err(self.unfit(of)),
        };
        Ok(sql::cast(&value, of))
    }

    /// [`Mask::expression`] where the broker's own schema holds a key, for a view whose owner can read it.
    pub fn expression_with_key(&self, column: &str, of: &ColumnType, key: &[String]) -> Result<String, Unfit> {
        let value = match self {
            Self::Hash => keyed::hash(column, of),
            Self::StableEmail => keyed::email(column, of),
            Self::StableName => keyed::name(column, of),
            Self::DateShift { days } => keyed::shift(column, of, *days, key),
            _ => return self.expression(column, of, key),
        };
        let value = value.map_err(|why| self.refuse(of, &why))?;
        Ok(sql::cast(&value, of))
    }

    /// The mask on every element. Nested arrays come flat: an array's type does not tell its dimensions.
    fn elements(&self, column: &str, of: &ColumnType) -> Result<String, Unfit> {
        const ITEM: &str = "\"hoop_item\".\"v\"";
        let by_element = matches!(
            self,
            Self::Fixed(_) | Self::Partial { .. } | Self::Digits | Self::Email | Self::Bucket(_)
        );
        let element = of.element().filter(|_| by_element).ok_or_else(|| self.unfit(of))?;
        let masked = self.expression(ITEM, &element, &[]).map_err(|unfit| Unfit {
            of: of.name.clone(),
            ..unfit
        })?;
        let all = format!("ARRAY(SELECT {masked} FROM pg_catalog.unnest({column}) AS \"hoop_item\"(\"v\"))");
        Ok(sql::cast(&sql::unless_null(column, &all), of))
    }

    fn unfit(&self, of: &ColumnType) -> Unfit {
        self.refuse(of, &format!("what fits is {}", of.fits().join(", ")))
    }

    fn refuse(&self, of: &ColumnType, why: &str) -> Unfit {
        Unfit {
            mask: self.as_str(),
            of: of.name.clone(),
            why: why.to_owned(),
        }
    }
}

/// As a policy writes it.
impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nullify | Self::Digits | Self::Email | Self::FakeName => f.write_str(self.as_str()),
            Self::Fixed(text) => write!(f, "{{ fixed: {text:?} }}"),
            Self::Partial { first, last, with } => {
                f.write_str("{ partial: { ")?;
                if *first > 0 {
                    write!(f, "keep-first: {first}, ")?;
                }
                if *last > 0 {
                    write!(f, "keep-last: {last}, ")?;
                }
                write!(f, "with: {:?} }} }}", with.to_string())
            }
            Self::StableEmail => f.write_str("{ email: stable }"),
            Self::StableName => f.write_str("{ fake-name: stable }"),
            Self::Bucket(bucket) => write!(f, "{{ bucket: {bucket} }}"),
            Self::Json(tree) => write!(f, "{{ json: {{ {tree} }} }}"),
            Self::Hash => f.write_str("{ hash: hmac }"),
            Self::DateShift { days } => write!(f, "{{ date-shift: {days}d }}"),
        }
    }
}

#[cfg(test)]
mod tests;
