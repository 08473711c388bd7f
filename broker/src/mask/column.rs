//! The type of a column, as far as masks must know it.

use serde::{Deserialize, Serialize};

/// The type of a column as the live schema tells it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct ColumnType {
    /// `pg_catalog.format_type(base type, typmod)` under an empty search path: `character varying(20)`,
    /// `numeric(10,2)`, `integer[]`, `app.mood`. Domains are resolved to their base type.
    pub name: String,
    /// What it belongs to.
    pub category: Category,
    /// The labels of an enum.
    pub labels: Vec<String>,
}

/// What a type belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
pub enum Category {
    /// text, varchar, char(n), name, citext.
    Text,
    /// smallint, integer, bigint.
    Integer,
    /// numeric, real, double precision.
    Number,
    /// date.
    Date,
    /// timestamp, with and without time zone.
    Timestamp,
    /// uuid.
    Uuid,
    /// json, jsonb.
    Json,
    /// boolean.
    Boolean,
    /// bytea.
    Bytes,
    /// An enum.
    Enum,
    /// An array of anything.
    Array,
    /// Anything else: it can only be NULL.
    #[default]
    Other,
}

/// Types whose names are grammar: they resolve to PostgreSQL's own without a schema.
const GRAMMAR: &[&str] = &[
    "bigint",
    "bit",
    "boolean",
    "character",
    "double",
    "integer",
    "interval",
    "numeric",
    "real",
    "smallint",
    "time",
    "timestamp",
];

impl ColumnType {
    /// A type by `name`, as [`ColumnType::name`] describes it. `labels` are those of an enum, and empty for all others.
    pub fn new(name: &str, labels: Vec<String>) -> Self {
        Self {
            name: name.to_owned(),
            category: Category::of(name, &labels),
            labels,
        }
    }

    /// The type as SQL that no search path can bend.
    pub fn sql(&self) -> String {
        let first = self.name.split([' ', '(', '[']).next().unwrap_or_default();
        if GRAMMAR.contains(&first) || qualified(&self.name) {
            self.name.clone()
        } else {
            format!("pg_catalog.{}", self.name)
        }
    }

    /// The type of an array's elements. Labels are not known there.
    pub fn element(&self) -> Option<Self> {
        self.name.strip_suffix("[]").map(|name| Self::new(name, Vec::new()))
    }

    /// The precision and scale of a `numeric(p,s)`, the length of a `character varying(n)`.
    pub fn modifiers(&self) -> Vec<i64> {
        let inside = self
            .name
            .split_once('(')
            .and_then(|(_, rest)| rest.split_once(')'))
            .map_or("", |(inside, _)| inside);
        inside.split(',').map_while(|part| part.trim().parse().ok()).collect()
    }

    /// The words of the masks that keep the type.
    pub fn fits(&self) -> Vec<&'static str> {
        match self.category {
            Category::Text => vec!["nullify", "fixed", "partial", "digits", "email", "fake-name"],
            Category::Integer | Category::Number => vec!["nullify", "fixed", "digits", "bucket"],
            Category::Date | Category::Timestamp => vec!["nullify", "fixed", "bucket"],
            Category::Json => vec!["nullify", "fixed", "json"],
            Category::Uuid | Category::Boolean | Category::Bytes | Category::Enum => vec!["nullify", "fixed"],
            Category::Other => vec!["nullify"],
            Category::Array => {
                let by_element = |word: &&str| !matches!(*word, "fake-name" | "json");
                let of = |element: Self| match element.category {
                    Category::Array | Category::Enum => vec!["nullify"],
                    _ => element.fits().into_iter().filter(by_element).collect(),
                };
                self.element().map_or_else(|| vec!["nullify"], of)
            }
        }
    }
}

impl Category {
    /// What the type `name` belongs to; a type that is not known belongs to [`Category::Other`].
    fn of(name: &str, labels: &[String]) -> Self {
        if name.ends_with("[]") {
            return Self::Array;
        }
        if !labels.is_empty() {
            return Self::Enum;
        }
        if qualified(name) {
            // The extension's type casts to and from text without a function.
            return if name.ends_with(".citext") {
                Self::Text
            } else {
                Self::Other
            };
        }
        let bare = name.split('(').next().unwrap_or_default();
        match bare {
            "text" | "character varying" | "character" | "bpchar" | "name" => Self::Text,
            "smallint" | "integer" | "bigint" => Self::Integer,
            "numeric" | "real" | "double precision" => Self::Number,
            "date" => Self::Date,
            "uuid" => Self::Uuid,
            "json" | "jsonb" => Self::Json,
            "boolean" => Self::Boolean,
            "bytea" => Self::Bytes,
            _ if bare == "timestamp" || bare.starts_with("timestamp with") => Self::Timestamp,
            _ => Self::Other,
        }
    }
}

/// Whether the name has a schema before it. A dot inside of quotes is one as well: only user-defined names are quoted
/// that way, and those always have their schema.
fn qualified(name: &str) -> bool {
    name.contains('.')
}
