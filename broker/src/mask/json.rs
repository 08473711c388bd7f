//! `json`: parts of a JSON value are replaced. What does not have the form that a path expects is replaced as a whole: a
//! text where an object was expected may hold what the path means to hide.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Mask;
use super::column::ColumnType;
use super::sql::{self, op, text};

/// Which parts, and by what.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Tree {
    /// The value itself.
    Value(Box<Mask>),
    /// Values under these keys of an object.
    Fields(BTreeMap<String, Tree>),
    /// Every element of an array.
    Items(Box<Tree>),
}

/// Why a path does not name a part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// It is not of the form.
    #[error("paths are keys with dots between them, `[]` behind those that hold arrays: address.street, items[].ssn")]
    Form,
    /// It has too many steps.
    #[error("a path has at most {MOST_STEPS} steps")]
    Deep,
    /// Another path names the same part, a part of it, or something it is a part of.
    #[error("another path names the same part, or holds it")]
    Overlap,
    /// The mask does not work on parts of JSON.
    #[error("what fits is nullify, fixed, partial, digits, email")]
    Mask,
}

/// The most steps of a path.
const MOST_STEPS: usize = 16;
/// The largest text of type json that is taken apart: what is larger may exceed what jsonb holds.
const MOST_BYTES: u32 = 50_000_000;
const NULL: &str = "'null'::pg_catalog.jsonb";

enum Step {
    Key(String),
    Items,
}

impl Tree {
    /// A tree with nothing in it, to insert into.
    pub fn new() -> Self {
        Self::Fields(BTreeMap::new())
    }

    /// Adds the part that `path` names.
    pub fn insert(&mut self, path: &str, mask: Mask) -> Result<(), BadPath> {
        let fits = matches!(
            mask,
            Mask::Nullify | Mask::Fixed(_) | Mask::Partial { .. } | Mask::Digits | Mask::Email
        );
        if !fits {
            return Err(BadPath::Mask);
        }
        let steps = steps(path)?;
        if steps.len() > MOST_STEPS {
            return Err(BadPath::Deep);
        }
        self.grow(&mut steps.into_iter(), mask)
    }

    fn grow(&mut self, steps: &mut dyn Iterator<Item = Step>, mask: Mask) -> Result<(), BadPath> {
        let fresh = matches!(self, Self::Fields(fields) if fields.is_empty());
        match steps.next() {
            None if fresh => {
                *self = Self::Value(Box::new(mask));
                Ok(())
            }
            Some(Step::Items) if fresh => {
                let mut inner = Self::new();
                let grown = inner.grow(steps, mask);
                *self = Self::Items(Box::new(inner));
                grown
            }
            Some(Step::Items) => match self {
                Self::Items(inner) => inner.grow(steps, mask),
                Self::Value(_) | Self::Fields(_) => Err(BadPath::Overlap),
            },
            Some(Step::Key(key)) => match self {
                Self::Fields(fields) => fields.entry(key).or_insert_with(Self::new).grow(steps, mask),
                Self::Value(_) | Self::Items(_) => Err(BadPath::Overlap),
            },
            None => Err(BadPath::Overlap),
        }
    }

    /// The whole value with its parts replaced.
    pub(super) fn expression(&self, column: &str, of: &ColumnType) -> String {
        let value = format!("({column})::pg_catalog.jsonb");
        let masked = self.masked(&value, 0);
        if of.name == "jsonb" {
            return sql::unless_null(column, &masked);
        }
        let unsound = unsound(&format!("({column})::pg_catalog.text"));
        sql::unless_null(column, &format!("CASE WHEN {unsound} THEN {NULL} ELSE {masked} END"))
    }

    fn masked(&self, value: &str, depth: usize) -> String {
        let is = |kind: &str| op(&format!("pg_catalog.jsonb_typeof({value})"), "=", &text(kind));
        match self {
            Self::Value(mask) => part(mask, value, &is),
            Self::Fields(fields) => {
                let replaced = fields.iter().fold(value.to_owned(), |whole, (key, tree)| {
                    let inner = tree.masked(&op(value, "->", &text(key)), depth);
                    format!(
                        "pg_catalog.jsonb_set({whole}, ARRAY[{}], COALESCE({inner}, {NULL}), false)",
                        text(key)
                    )
                });
                format!("CASE WHEN {} THEN {replaced} ELSE {NULL} END", is("object"))
            }
            Self::Items(tree) => {
                let item = format!("\"hoop_item{depth}\"");
                let inner = tree.masked(&format!("{item}.\"v\""), depth + 1);
                format!(
                    "CASE WHEN {} THEN COALESCE((SELECT pg_catalog.jsonb_agg({inner} ORDER BY {item}.\"n\") FROM \
                     pg_catalog.jsonb_array_elements({value}) WITH ORDINALITY AS {item}(\"v\", \"n\")), \
                     '[]'::pg_catalog.jsonb) ELSE {NULL} END",
                    is("array")
                )
            }
        }
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

/// The paths as a policy writes them.
impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut paths = Vec::new();
        collect(self, String::new(), &mut paths);
        f.write_str(&paths.join(", "))
    }
}

fn collect(tree: &Tree, path: String, into: &mut Vec<String>) {
    match tree {
        // Brackets are quoted: within braces YAML would take them for a list.
        Tree::Value(mask) if path.contains('[') => into.push(format!("{path:?}: {mask}")),
        Tree::Value(mask) => into.push(format!("{path}: {mask}")),
        Tree::Items(tree) => collect(tree, path + "[]", into),
        Tree::Fields(fields) => {
            for (key, tree) in fields {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                collect(tree, path, into);
            }
        }
    }
}

/// One part: JSON's null stays null, and what the mask does not work on becomes null.
fn part(mask: &Mask, value: &str, is: &dyn Fn(&str) -> String) -> String {
    let constant = |constant: &str| {
        format!(
            "CASE WHEN {} THEN {value} ELSE pg_catalog.to_jsonb({}) END",
            is("null"),
            text(constant)
        )
    };
    let content = op(value, "#>>", "'{}'::pg_catalog.text[]");
    let of_text = |masked: String| {
        format!(
            "CASE WHEN {} THEN pg_catalog.to_jsonb(({masked})::pg_catalog.text) ELSE {NULL} END",
            is("string")
        )
    };
    match mask {
        Mask::Fixed(fixed) => constant(fixed),
        Mask::Email => constant(super::EMAIL),
        Mask::Digits => of_text(sql::digits(&content)),
        Mask::Partial { first, last, with } => of_text(sql::partial(&content, *first, *last, *with)),
        _ => NULL.to_owned(),
    }
}

fn steps(path: &str) -> Result<Vec<Step>, BadPath> {
    let mut steps = Vec::new();
    // What other languages begin a path with would be a key that no document has.
    if path.starts_with(['$', '/', '.']) {
        return Err(BadPath::Form);
    }
    for (at, part) in path.split('.').enumerate() {
        let key = part.trim_end_matches("[]");
        if key.contains(['[', ']', '"', '\'', '*']) || key.chars().any(char::is_control) {
            return Err(BadPath::Form);
        }
        let items = (part.len() - key.len()) / 2;
        // A document that is an array itself begins with brackets.
        if key.is_empty() && (at > 0 || items == 0) {
            return Err(BadPath::Form);
        }
        if !key.is_empty() {
            steps.push(Step::Key(key.to_owned()));
        }
        steps.extend((0..items).map(|_| Step::Items));
    }
    Ok(steps)
}

/// Whether text that is json could fail to become jsonb: NUL and lone surrogates, characters that the database's
/// encoding lacks, numbers beyond numeric, sheer size. Some sound texts are among them.
fn unsound(json: &str) -> String {
    let replace =
        |value: &str, pattern: &str| format!("pg_catalog.regexp_replace({value}, {}, 'x', 'g')", sql::regex(pattern));
    let matches = |value: &str, pattern: &str| op(value, "~", &sql::regex(pattern));
    let json = sql::plain(json);
    let escapes = replace(&json, "~~~~");
    let single = replace(&escapes, "~~u[dD][89abAB][0-9a-fA-F]{2}~~u[dD][c-fC-F][0-9a-fA-F]{2}");
    let foreign = op("pg_catalog.getdatabaseencoding()", "<>", "'UTF8'::pg_catalog.name");
    [
        op(
            &format!("pg_catalog.octet_length({json})"),
            ">",
            &MOST_BYTES.to_string(),
        ),
        matches(&single, "~~u(0000|[dD][89a-fA-F])"),
        format!(
            "({foreign} AND {})",
            matches(&escapes, "~~u(00[89a-fA-F]|0[1-9a-fA-F]|[1-9a-fA-F])")
        ),
        matches(&json, "(^|[ ,:~[~n~r~t])-?[0-9]+([.][0-9]+)?[eE][+-]?[0-9]{4}"),
        matches(&json, "([0-9]{250}){4}"),
    ]
    .join(" OR ")
}
