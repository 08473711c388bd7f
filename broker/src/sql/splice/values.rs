//! `excluded.column` in SET of ON CONFLICT, where the scope may not read the column: the value that the statement itself
//! gives is put in its place, in a statement of several rows by the columns that make the conflict.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Edit, SpliceFault, Tokens, name_end, query_tree, range, token_at};
use crate::sql::grammar::nodes::Token;
use crate::sql::quote::identifier;

/// Why there are no values to be had.
const NO_ROWS: &str = "the rows come neither from VALUES nor from a query that only picks columns and rows";

/// What constants are made of, and the arrays of them.
const CONSTANT: &[&str] = &[
    "AArrayExpr",
    "AConst",
    "Boolval",
    "Fval",
    "Ival",
    "ParamRef",
    "String",
    "Sval",
    "TypeCast",
    "Bsval",
    "Integer",
];
/// What a query that only picks columns and rows is made of besides.
const ROWS: &[&str] = &[
    "AExpr",
    "AStar",
    "BoolExpr",
    "ColumnRef",
    "FuncCall",
    "JoinExpr",
    "List",
    "NullTest",
    "RangeFunction",
    "RangeVar",
    "ResTarget",
];

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
    let conflict = back(tokens, at, Token::Conflict)?;
    let new = match (
        back(tokens, conflict, Token::Values),
        back(tokens, conflict, Token::Select),
    ) {
        (Ok(first), _) => {
            let rows = rows_of(tokens, first, conflict);
            of_rows(given, rows.len(), |row, place| {
                let range = rows.get(row)?.get(place)?.clone();
                text.get(range).map(str::to_owned)
            })?
        }
        (Err(_), Ok(first)) => {
            // Before CONFLICT stands ON.
            let query = range(tokens, first, conflict.saturating_sub(2))?;
            of_query(given, text.get(query).ok_or(SpliceFault::Mismatch)?)?
        }
        (Err(fault), Err(_)) => return Err(fault),
    };
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
    let select = insert
        .pointer("/select_stmt/node/SelectStmt")
        .ok_or(SpliceFault::Mismatch)?;
    let read = |text: String| {
        let tree = query_tree(&format!("SELECT {text}"))?;
        let value = tree.pointer("/node/SelectStmt/target_list/0/node/ResTarget/val/node");
        value.cloned().ok_or(SpliceFault::Mismatch)
    };
    let rows = select.get("values_lists").and_then(Value::as_array);
    let Some(rows) = rows.filter(|rows| !rows.is_empty()) else {
        if !is_simple(select) {
            return Err(SpliceFault::Value(NO_ROWS.into()));
        }
        let mut value = read(of_query(given, "SELECT")?)?;
        let place = "/SubLink/subselect/node/SelectStmt/from_clause/0/node/RangeSubselect/subquery";
        let query = insert.get("select_stmt").cloned();
        *value.pointer_mut(place).ok_or(SpliceFault::Mismatch)? = query.ok_or(SpliceFault::Mismatch)?;
        return Ok(value);
    };
    let mut taken = Vec::new();
    let numbered = of_rows(given, rows.len(), |row, place| {
        let item = rows.get(row)?.pointer(&format!("/node/List/items/{place}/node"))?;
        taken.push(item.clone());
        Some(format!("${}", taken.len()))
    })?;
    if !taken.iter().all(|value| is_made_of(value, CONSTANT)) {
        return Err(SpliceFault::Value(
            "a value is neither a constant nor a parameter".into(),
        ));
    }
    let mut value = read(numbered)?;
    fill(&mut value, &taken);
    Ok(value)
}

/// The text that stands for the column: a value, or the one of the row with the same key.
fn of_rows(
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
    let keys = keys(given)?;
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

/// The same for the rows of a query, which is read once more.
fn of_query(given: &Given, query: &str) -> Result<String, SpliceFault> {
    let keys = keys(given)?;
    let last = keys.iter().map(|key| key.place).chain([given.column.place]).max();
    let names: Vec<String> = (0..=last.unwrap_or(0)).map(|at| format!("c{at}")).collect();
    let cast = |column: &GivenColumn| format!("CAST(hoop.c{} AS {})", column.place, column.of);
    let same: Vec<String> = keys
        .iter()
        .map(|key| {
            format!(
                "{} OPERATOR(pg_catalog.=) excluded.{}",
                cast(key),
                identifier(&key.name)
            )
        })
        .collect();
    Ok(format!(
        "(SELECT {} FROM ({query}) AS hoop ({}) WHERE {})",
        cast(&given.column),
        names.join(", "),
        same.join(" AND ")
    ))
}

/// The columns that tell the rows of the statement apart.
fn keys(given: &Given) -> Result<&[GivenColumn], SpliceFault> {
    let keys = given.arbiters.as_deref().filter(|keys| !keys.is_empty());
    keys.ok_or_else(|| {
        let why = "of several rows, not all give the columns that make the conflict, or those are not named plainly";
        SpliceFault::Value(why.into())
    })
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
                object.clone_from(node);
                return;
            }
            object.values_mut().for_each(|value| fill(value, taken));
        }
        _ => {}
    }
}

/// Whether every node below is of one of these kinds: computed twice it is the same. A function is `unnest`.
fn is_made_of(node: &Value, kinds: &[&str]) -> bool {
    match node {
        Value::Array(items) => items.iter().all(|item| is_made_of(item, kinds)),
        Value::Object(object) => object.iter().all(|(key, value)| {
            // Kinds are the names that begin with a capital.
            let known = !key.starts_with(|first: char| first.is_ascii_uppercase()) || kinds.contains(&key.as_str());
            known && (key != "FuncCall" || is_unnest(value)) && is_made_of(value, kinds)
        }),
        _ => true,
    }
}

fn is_unnest(call: &Value) -> bool {
    let names = call.get("funcname").and_then(Value::as_array).into_iter().flatten();
    let names: Vec<&str> = names
        .filter_map(|name| name.pointer("/node/String/sval")?.as_str())
        .collect();
    matches!(names.as_slice(), ["unnest"] | ["pg_catalog", "unnest"])
}

/// A query that gives the same rows whenever it is run: it picks columns and rows, and no more.
fn is_simple(select: &Value) -> bool {
    let nothing = |key: &str| match select.get(key) {
        None | Some(Value::Null) => true,
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    };
    [
        "distinct_clause",
        "into_clause",
        "group_clause",
        "having_clause",
        "window_clause",
        "limit_offset",
        "limit_count",
        "locking_clause",
        "with_clause",
        "larg",
        "rarg",
    ]
    .into_iter()
    .all(nothing)
        && is_made_of(select, &[CONSTANT, ROWS].concat())
}

/// The values of every row of VALUES, which stands at `first`, up to `end`.
fn rows_of(tokens: &Tokens, first: usize, end: usize) -> Vec<Vec<Range<usize>>> {
    let mut rows = Vec::new();
    let mut row = Vec::new();
    let (mut depth, mut begun) = (0_usize, None);
    for (token, place) in tokens.iter().take(end).skip(first + 1) {
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
    rows
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
    Err(SpliceFault::Value(NO_ROWS.into()))
}
