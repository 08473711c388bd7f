//! `excluded.column` in SET of ON CONFLICT, where the scope may not read the column: the value that the statement itself
//! gives is put in its place, in a statement of several rows by the columns that make the conflict.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Edit, SpliceFault, Tokens, name_end, query_tree, range, token_at};
use crate::sql::grammar::nodes::Token;
use crate::sql::quote::identifier;

/// One `excluded.column` that the statement's own value shall stand for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// Where it begins in the text that is edited, in bytes.
    pub at: usize,
    /// The column.
    pub column: GivenColumn,
    /// The columns that make a conflict; `None` where they are not named plainly, or not all given.
    pub arbiters: Option<Vec<GivenColumn>>,
}

/// A column that every row of VALUES has a value for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenColumn {
    /// Its name.
    pub name: String,
    /// Its place in each row.
    pub place: usize,
    /// Its type, as SQL that no search path can bend.
    pub of: String,
}

/// The edit of the text.
pub(super) fn edit(text: &str, tokens: &Tokens, given: &Given) -> Result<Edit, SpliceFault> {
    let at = token_at(tokens, given.at)?;
    let rows = rows_before(tokens, at)?;
    let new = written(given, rows.len(), |row, place| {
        let range = rows.get(row)?.get(place)?.clone();
        text.get(range).map(str::to_owned)
    })?;
    Ok((range(tokens, at, name_end(tokens, at)?)?, new))
}

/// Edits the tree as the text was to be edited; how many places were found.
pub(super) fn expect(tree: &mut Value, given: &Given) -> Result<usize, SpliceFault> {
    let mut done = 0;
    inserts(tree, &mut |insert| {
        let Some(Value::Array(targets)) = insert.pointer("/on_conflict_clause/target_list") else {
            return Ok(());
        };
        let is_here = |target: &Value| {
            let at = target.pointer("/node/ResTarget/val/node/ColumnRef/location");
            at.and_then(Value::as_u64).and_then(|at| usize::try_from(at).ok()) == Some(given.at)
        };
        let Some(here) = targets.iter().position(is_here) else {
            return Ok(());
        };
        let value = value_of(insert, given)?;
        let path = format!("/on_conflict_clause/target_list/{here}/node/ResTarget/val/node");
        if let Some(place) = insert.pointer_mut(&path) {
            *place = value;
            done += 1;
        }
        Ok(())
    })?;
    Ok(done)
}

/// Every INSERT of a tree.
fn inserts(tree: &mut Value, work: &mut impl FnMut(&mut Value) -> Result<(), SpliceFault>) -> Result<(), SpliceFault> {
    match tree {
        Value::Array(items) => items.iter_mut().try_for_each(|item| inserts(item, work)),
        Value::Object(object) => object.iter_mut().try_for_each(|(key, value)| {
            if key == "InsertStmt" {
                work(value)?;
            }
            inserts(value, work)
        }),
        _ => Ok(()),
    }
}

/// What stands for the column in the tree: what is read from a text with numbers where the values of the rows go, with
/// the statement's own nodes in their place.
fn value_of(insert: &Value, given: &Given) -> Result<Value, SpliceFault> {
    let Some(Value::Array(rows)) = insert
        .pointer("/select_stmt/node/SelectStmt/values_lists")
        .filter(|rows| rows.as_array().is_some_and(|rows| !rows.is_empty()))
    else {
        return Err(SpliceFault::Value("the rows are not written in VALUES".into()));
    };
    let mut taken = Vec::new();
    let numbered = written(given, rows.len(), |row, place| {
        let item = rows.get(row)?.pointer(&format!("/node/List/items/{place}/node"))?;
        taken.push(item.clone());
        Some(format!("${}", taken.len()))
    })?;
    if !taken.iter().all(is_constant) {
        return Err(SpliceFault::Value(
            "a value is neither a constant nor a parameter".into(),
        ));
    }
    let tree = query_tree(&format!("SELECT {numbered}"))?;
    let value = tree.pointer("/node/SelectStmt/target_list/0/node/ResTarget/val/node");
    let mut value = value.cloned().ok_or(SpliceFault::Mismatch)?;
    fill(&mut value, &taken);
    Ok(value)
}

/// The text that stands for the column: a value, or the one of the row with the same key.
fn written(
    given: &Given,
    rows: usize,
    mut item: impl FnMut(usize, usize) -> Option<String>,
) -> Result<String, SpliceFault> {
    let mut cast = |row: usize, column: &GivenColumn| {
        let value = item(row, column.place).ok_or(SpliceFault::Mismatch)?;
        Ok::<_, SpliceFault>(format!("CAST({value} AS {})", column.of))
    };
    if rows == 1 {
        return cast(0, &given.column);
    }
    let keys = given.arbiters.as_ref().filter(|keys| !keys.is_empty());
    let keys = keys.ok_or_else(|| {
        SpliceFault::Value(
            "of several rows, not all give the columns that make the conflict, or those are not named plainly".into(),
        )
    })?;
    let mut lists = Vec::with_capacity(rows);
    for row in 0..rows {
        let columns = std::iter::once(&given.column).chain(keys);
        let values: Vec<String> = columns.map(|column| cast(row, column)).collect::<Result<_, _>>()?;
        lists.push(format!("({})", values.join(", ")));
    }
    let names: Vec<String> = (0..=keys.len()).map(|at| format!("c{at}")).collect();
    let same: Vec<String> = (1..)
        .zip(keys)
        .map(|(at, key)| format!("hoop.c{at} OPERATOR(pg_catalog.=) excluded.{}", identifier(&key.name)))
        .collect();
    Ok(format!(
        "(SELECT hoop.c0 FROM (VALUES {}) AS hoop ({}) WHERE {})",
        lists.join(", "),
        names.join(", "),
        same.join(" AND ")
    ))
}

/// Puts the nodes where their numbers stand.
fn fill(tree: &mut Value, taken: &[Value]) {
    match tree {
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, taken)),
        Value::Object(object) => {
            let number = object
                .get("ParamRef")
                .and_then(|of| of.get("number"))
                .and_then(Value::as_u64);
            let at = number.and_then(|number| usize::try_from(number).ok()?.checked_sub(1));
            if let Some(Value::Object(node)) = at.and_then(|at| taken.get(at)) {
                *object = node.clone();
                return;
            }
            object.values_mut().for_each(|value| fill(value, taken));
        }
        _ => {}
    }
}

/// Computed twice it is the same.
fn is_constant(node: &Value) -> bool {
    let Some((kind, of)) = node.as_object().and_then(|node| node.iter().next()) else {
        return false;
    };
    let within = |path: &str| of.pointer(path).is_some_and(is_constant);
    match kind.as_str() {
        "AConst" | "ParamRef" => true,
        "TypeCast" => within("/arg/node"),
        "AArrayExpr" => of.get("elements").and_then(Value::as_array).is_some_and(|elements| {
            elements
                .iter()
                .all(|element| element.get("node").is_some_and(is_constant))
        }),
        _ => false,
    }
}

/// The values of every row of VALUES before the ON CONFLICT that `at` stands in.
fn rows_before(tokens: &Tokens, at: usize) -> Result<Vec<Vec<Range<usize>>>, SpliceFault> {
    let conflict = back(tokens, at, Token::Conflict)?;
    let first = back(tokens, conflict, Token::Values)?;
    let mut rows = Vec::new();
    let mut row = Vec::new();
    let (mut depth, mut begun) = (0_usize, None);
    for (token, place) in tokens.iter().take(conflict).skip(first + 1) {
        let ends = matches!((token, depth), (Token::Ascii44 | Token::Ascii41, 1));
        if ends && let Some(range) = begun.take() {
            row.push(range);
        }
        match token {
            Token::Ascii40 | Token::Ascii91 => depth += 1,
            Token::Ascii41 | Token::Ascii93 => depth = depth.saturating_sub(1),
            _ => {}
        }
        let opens = *token == Token::Ascii40 && depth == 1;
        if depth == 0 && ends {
            rows.push(std::mem::take(&mut row));
        } else if depth > 0 && !ends && !opens {
            begun = Some(begun.map_or(place.clone(), |begun: Range<usize>| begun.start..place.end));
        }
    }
    Ok(rows)
}

/// The last `wanted` before `at` that is in no parentheses between.
fn back(tokens: &Tokens, at: usize, wanted: Token) -> Result<usize, SpliceFault> {
    let mut depth = 0_usize;
    let before = tokens.iter().enumerate().take(at).rev();
    for (at, (token, _)) in before {
        match token {
            Token::Ascii41 | Token::Ascii93 => depth += 1,
            Token::Ascii40 | Token::Ascii91 => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => break,
            },
            _ if *token == wanted && depth == 0 => return Ok(at),
            _ => {}
        }
    }
    Err(SpliceFault::Value("the rows are not written in VALUES".into()))
}
