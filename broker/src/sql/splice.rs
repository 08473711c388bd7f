//! Something else in the place of a relation: the text is edited byte by byte where the relation stands, read again, and
//! its tree compared with the tree that was to come out. Nothing of a text is ever printed anew.

use std::borrow::Cow;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::grammar::nodes::Token;
use super::grammar::{self, Unreadable};
use super::quote::{identifier, qualified};
use super::source::{Form, Source};

mod values;

pub use values::{Given, GivenColumn};

/// What shall stand in the place of one [`Source`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replacement {
    /// The place, its positions counted in the text that is edited.
    pub source: Source,
    /// What stands for the relation.
    pub stand: Stand,
    /// Columns that GROUP BY gets besides, by the names they are seen under.
    pub grouped: Vec<String>,
}

/// What stands for a relation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stand {
    /// The rows of this SELECT.
    Query(String),
    /// Another relation, only in FROM.
    Relation {
        /// Its schema.
        schema: String,
        /// Its name.
        name: String,
    },
}

impl Stand {
    /// How much longer a text becomes by it, in bytes.
    pub fn size(&self) -> usize {
        match self {
            Self::Query(query) => query.len(),
            Self::Relation { schema, name } => schema.len() + name.len(),
        }
    }
}

/// All that is edited of one statement.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edits {
    /// What stands in the place of relations.
    pub rows: Vec<Replacement>,
    /// Columns of `excluded` that the statement's own values stand for.
    pub values: Vec<Given>,
}

impl Edits {
    /// Nothing is edited.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.values.is_empty()
    }

    /// How much longer `text` becomes at most, in bytes, but for some constant part of each edit.
    pub fn size(&self, text: &str) -> usize {
        let rows: usize = self.rows.iter().map(|replacement| replacement.stand.size()).sum();
        // A row of two characters is written with two casts.
        rows + self.values.len() * text.len() * 8
    }
}

/// Why the text could not be edited. All of them mean that it must not be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum SpliceFault {
    /// The place is written in a way that is not edited.
    #[error("{0}")]
    Place(String),
    /// A value that the statement gives cannot be put where it takes it from the row that was to be inserted.
    #[error("{0}")]
    Value(Cow<'static, str>),
    /// The edited text means something else than was meant.
    #[error("the rewritten statement does not read as it was meant to")]
    Mismatch,
    /// The edited text, or the text itself, could not be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// Makes every edit of `text`, which holds one statement, and proves that nothing else changed. Expensive: the
/// text is read twice, on a stack of its own.
pub fn splice(text: &str, wanted: &Edits) -> Result<String, SpliceFault> {
    let replacements = wanted.rows.as_slice();
    let tokens = grammar::tokens(text)?;
    let mut edits = Vec::new();
    for replacement in replacements {
        edits.extend(edits_of(text, &tokens, replacement)?);
    }
    for given in &wanted.values {
        edits.push(values::edit(text, &tokens, given)?);
    }
    edits.sort_by_key(|(range, _)| (range.start, range.end));
    edits.dedup();
    let edited = apply(text, &edits)?;
    let queries: Vec<Value> = replacements
        .iter()
        .map(|replacement| match &replacement.stand {
            Stand::Query(query) => query_tree(query),
            Stand::Relation { .. } => Ok(Value::Null),
        })
        .collect::<Result<_, _>>()?;
    let same = grammar::on_a_big_stack(|| {
        grammar::read(text, |tree| {
            let mut expected = tree_of(tree).ok_or(SpliceFault::Mismatch)?;
            for (replacement, query) in replacements.iter().zip(&queries) {
                let mut done = Done::default();
                expect(&mut expected, replacement, query, &mut done);
                if !done.is_as_wanted(replacement) {
                    return Err(SpliceFault::Mismatch);
                }
            }
            for given in &wanted.values {
                if values::expect(&mut expected, given)? != 1 {
                    return Err(SpliceFault::Mismatch);
                }
            }
            without_places(&mut expected);
            let same = grammar::read(&edited, |tree| {
                let mut found = tree_of(tree)?;
                without_places(&mut found);
                Some(found == expected)
            });
            Ok(same?)
        })
    })???;
    if same == Some(true) {
        Ok(edited)
    } else {
        Err(SpliceFault::Mismatch)
    }
}

// === the text ===

type Tokens = [(Token, Range<usize>)];
type Edit = (Range<usize>, String);

fn edits_of(text: &str, tokens: &Tokens, replacement: &Replacement) -> Result<Vec<Edit>, SpliceFault> {
    let Replacement { source, stand, grouped } = replacement;
    let at = token_at(tokens, source.at)?;
    let mut edits = vec![match (&source.form, stand) {
        (Form::From, _) | (Form::Lock, Stand::Relation { .. }) => from_edit(tokens, at, source, stand)?,
        (Form::Copy(_), Stand::Query(query)) => copy_edit(tokens, at, query)?,
        (Form::Copy(_), Stand::Relation { .. }) | (Form::Lock, Stand::Query(_)) => {
            return Err(strange("the name of a table"));
        }
    }];
    for place in &source.qualified {
        let at = token_at(tokens, *place)?;
        // Everything before the table's name goes: the schema, and the database if it is there.
        let table = name_end(tokens, at)?.checked_sub(2).filter(|table| *table > at);
        let (Some((_, first)), Some((_, rest))) = (tokens.get(at), table.and_then(|table| tokens.get(table))) else {
            return Err(strange("a column named with its schema"));
        };
        edits.push((first.start..rest.start, String::new()));
    }
    if let (Some(grouping), false) = (&source.grouping, grouped.is_empty()) {
        let item = identifier(&source.shown);
        let columns: Vec<String> = grouped
            .iter()
            .map(|column| format!("{item}.{}", identifier(column)))
            .collect();
        // What stands for a plain column is in no parentheses but such that mean nothing.
        let mut first = token_at(tokens, grouping.at)?;
        while let Some(before) = first.checked_sub(1)
            && let Some((Token::Ascii40, _)) = tokens.get(before)
        {
            first = before;
        }
        let start = range(tokens, first, first)?.start;
        edits.push((start..start, format!("{}, ", columns.join(", "))));
    }
    if edits.iter().any(|(range, _)| text.get(range.clone()).is_none()) {
        return Err(SpliceFault::Mismatch);
    }
    Ok(edits)
}

fn from_edit(tokens: &Tokens, at: usize, source: &Source, stand: &Stand) -> Result<Edit, SpliceFault> {
    let (mut first, mut last) = (at, name_end(tokens, at)?);
    let kind = |at: Option<usize>| at.and_then(|at| tokens.get(at)).map(|(token, _)| *token);
    let before = |at: usize, by: usize| at.checked_sub(by);
    if kind(Some(last + 1)) == Some(Token::Ascii42) {
        last += 1;
    }
    if kind(before(first, 1)) == Some(Token::Only) {
        first -= 1;
    } else if kind(before(first, 1)) == Some(Token::Ascii40) && kind(before(first, 2)) == Some(Token::Only) {
        if kind(Some(last + 1)) != Some(Token::Ascii41) {
            return Err(strange("ONLY"));
        }
        (first, last) = (first - 2, last + 1);
    }
    let mut text = match stand {
        Stand::Query(query) => format!("({query})"),
        Stand::Relation { schema, name } => qualified(schema, name),
    };
    if source.form == Form::Lock {
        return Ok((range(tokens, first, last)?, text));
    }
    if !source.aliased {
        text = format!("{text} AS {}", identifier(&source.shown));
    }
    if kind(before(first, 1)) == Some(Token::Table) {
        first -= 1;
        text = format!("SELECT * FROM {text}");
    }
    Ok((range(tokens, first, last)?, text))
}

fn copy_edit(tokens: &Tokens, at: usize, query: &str) -> Result<Edit, SpliceFault> {
    let mut last = name_end(tokens, at)?;
    let kind = |at: usize| tokens.get(at).map(|(token, _)| *token);
    if kind(last + 1) == Some(Token::Ascii40) {
        let closing = (last + 2..tokens.len()).find(|at| kind(*at) == Some(Token::Ascii41));
        last = closing.ok_or_else(|| strange("the column list of COPY"))?;
    }
    Ok((range(tokens, at, last)?, format!("({query})")))
}

/// The last token of the name that begins at `at`.
fn name_end(tokens: &Tokens, at: usize) -> Result<usize, SpliceFault> {
    let mut last = at;
    loop {
        if matches!(tokens.get(last), None | Some((Token::Uident, _))) {
            return Err(strange("a name with Unicode escapes"));
        }
        match tokens.get(last + 1) {
            Some((Token::Ascii46, _)) => last += 2,
            _ => return Ok(last),
        }
    }
}

fn token_at(tokens: &Tokens, place: usize) -> Result<usize, SpliceFault> {
    tokens
        .binary_search_by_key(&place, |(_, range)| range.start)
        .map_err(|_| SpliceFault::Mismatch)
}

fn range(tokens: &Tokens, first: usize, last: usize) -> Result<Range<usize>, SpliceFault> {
    match (tokens.get(first), tokens.get(last)) {
        (Some((_, first)), Some((_, last))) => Ok(first.start..last.end),
        _ => Err(SpliceFault::Mismatch),
    }
}

fn strange(what: &str) -> SpliceFault {
    SpliceFault::Place(format!("{what}, written in a way that is not rewritten"))
}

fn apply(text: &str, edits: &[Edit]) -> Result<String, SpliceFault> {
    let mut out = String::with_capacity(text.len() * 2);
    let mut done = 0;
    for (range, new) in edits {
        let kept = text.get(done..range.start).ok_or(SpliceFault::Mismatch)?;
        out.push_str(kept);
        out.push_str(new);
        done = range.end;
    }
    out.push_str(text.get(done..).ok_or(SpliceFault::Mismatch)?);
    Ok(out)
}

// === the tree ===

/// What was found of one replacement.
#[derive(Debug, Default)]
struct Done {
    places: usize,
    qualified: usize,
    grouped: usize,
}

impl Done {
    fn is_as_wanted(&self, replacement: &Replacement) -> bool {
        let qualified: std::collections::BTreeSet<_> = replacement.source.qualified.iter().collect();
        self.places == 1
            && self.qualified == qualified.len()
            && self.grouped == usize::from(!replacement.grouped.is_empty() && replacement.source.grouping.is_some())
    }
}

fn tree_of(tree: &grammar::Tree) -> Option<Value> {
    match tree.statements.as_slice() {
        [only] => serde_json::to_value(&only.stmt).ok(),
        _ => None,
    }
}

/// The tree of a query of ours.
fn query_tree(query: &str) -> Result<Value, SpliceFault> {
    let read = grammar::read(query, tree_of)?;
    read.ok_or(SpliceFault::Mismatch)
}

fn location(object: &Map<String, Value>) -> Option<usize> {
    usize::try_from(object.get("location")?.as_i64()?).ok()
}

/// Edits the tree as the text was to be edited.
fn expect(tree: &mut Value, replacement: &Replacement, query: &Value, done: &mut Done) {
    let source = &replacement.source;
    match tree {
        Value::Array(items) => {
            let key = |item: &Value| {
                let column = item.pointer("/node/ColumnRef");
                let column = column
                    .or_else(|| item.pointer("/node/AConst"))
                    .and_then(Value::as_object);
                source
                    .grouping
                    .as_ref()
                    .is_some_and(|grouping| column.and_then(location) == Some(grouping.at))
            };
            let here = items.iter().position(key).filter(|_| !replacement.grouped.is_empty());
            for item in items.iter_mut() {
                expect(item, replacement, query, done);
            }
            if let Some(here) = here {
                done.grouped += 1;
                let added = replacement
                    .grouped
                    .iter()
                    .map(|column| reference(&source.shown, column));
                items.splice(here..here, added);
            }
        }
        Value::Object(object) => {
            if let Some(Value::Object(range)) = object.get("RangeVar")
                && matches!(source.form, Form::From | Form::Lock)
                && location(range) == Some(source.at)
            {
                let alias = match range.get("alias") {
                    _ if source.form == Form::Lock => Value::Null,
                    None | Some(Value::Null) => json!({"aliasname": source.shown, "colnames": []}),
                    Some(alias) => alias.clone(),
                };
                let standing = match &replacement.stand {
                    Stand::Query(_) => {
                        json!({"RangeSubselect": {"lateral": false, "subquery": query, "alias": alias}})
                    }
                    Stand::Relation { schema, name } => json!({"RangeVar": {
                        "catalogname": "", "schemaname": schema, "relname": name, "inh": true,
                        "relpersistence": "p", "alias": alias,
                    }}),
                };
                if let Value::Object(standing) = standing {
                    *object = standing;
                }
                done.places += 1;
                return;
            }
            if let Some(Value::Object(copy)) = object.get_mut("CopyStmt")
                && let Form::Copy(_) = source.form
                && let Some(Value::Object(range)) = copy.get("relation")
                && location(range) == Some(source.at)
            {
                copy.insert("relation".to_owned(), Value::Null);
                copy.insert("attlist".to_owned(), json!([]));
                copy.insert("query".to_owned(), query.clone());
                done.places += 1;
                return;
            }
            if let Some(Value::Object(column)) = object.get_mut("ColumnRef")
                && location(column).is_some_and(|at| source.qualified.contains(&at))
                && let Some(Value::Array(fields)) = column.get_mut("fields")
                && let Some(before) = fields.len().checked_sub(2)
            {
                fields.drain(..before);
                done.qualified += 1;
            }
            for value in object.values_mut() {
                expect(value, replacement, query, done);
            }
        }
        _ => {}
    }
}

fn reference(item: &str, column: &str) -> Value {
    let name = |text: &str| json!({"node": {"String": {"sval": text}}});
    json!({"node": {"ColumnRef": {"fields": [name(item), name(column)], "location": 0}}})
}

/// Where things stand is the one thing that may differ.
fn without_places(tree: &mut Value) {
    match tree {
        Value::Array(items) => items.iter_mut().for_each(without_places),
        Value::Object(object) => {
            object.retain(|key, value| {
                let place = key.ends_with("location") || key.ends_with("list_start") || key.ends_with("list_end");
                !(place && value.is_number())
            });
            object.values_mut().for_each(without_places);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
