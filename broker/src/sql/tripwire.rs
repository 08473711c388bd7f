//! A second reader, to notice when the first one misses something.
//!
//! `sqlparser` is no authority: it cannot read much of PostgreSQL's SQL and misreads some. But where it can read a text
//! and sees a relation, or one more statement, that PostgreSQL's grammar and our walk did not see, something is wrong,
//! and the statement is refused. What it is known to misread is spelt in another way first (`grammar::respell`), by the tokens of
//! PostgreSQL's own scanner, so that no comment and no literal can switch it off. It abstains on anything long or deep,
//! because its cost and its stack are not bounded otherwise.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{ObjectName, Query, Visit, Visitor};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::{Class, Statement};

/// Longer texts are not read twice.
const MAX_BYTES: usize = 16 * 1024;
/// Nor are deeper ones, as `grammar` measures depth.
const MAX_DEPTH: usize = 200;

/// What the second reader saw that the first did not.
pub(in crate::sql) fn disagrees(text: &str, depth: usize, statements: &[Statement]) -> Option<String> {
    if text.len() > MAX_BYTES || depth > MAX_DEPTH || !statements.iter().all(comparable) {
        return None;
    }
    let read = Parser::new(&PostgreSqlDialect {})
        .try_with_sql(text)
        .ok()?
        .parse_statements()
        .ok()?;
    if read.len() > statements.len() {
        return Some(format!("{} statements instead of {}", read.len(), statements.len()));
    }
    let mut seen = Names::default();
    if read.visit(&mut seen).is_break() {
        return None;
    }
    let known: BTreeSet<String> = statements
        .iter()
        .flat_map(|statement| {
            let relations = statement.touches.iter().map(|touch| touch.name.to_lowercase());
            let functions = statement.functions.iter().map(|function| function.name.to_lowercase());
            // One row of it counts as the setting that it tells.
            let settings = (!statement.settings.is_empty()).then(|| "pg_settings".to_owned());
            relations.chain(functions).chain(settings)
        })
        .collect();
    seen.relations
        .difference(&seen.queries)
        .find(|name| !known.contains(*name))
        .map(|name| format!("relation {name:?}"))
}

/// Kinds of statements in which both readers mean the same by a relation, and which the first one understood.
fn comparable(statement: &Statement) -> bool {
    statement.opaque.is_empty()
        && matches!(
            statement.class,
            Class::Select
                | Class::Insert
                | Class::Update
                | Class::Delete
                | Class::Explain
                | Class::CopyOut
                | Class::Set
                | Class::Show
                | Class::Transaction
        )
}

#[derive(Default)]
struct Names {
    relations: BTreeSet<String>,
    /// Names of common table expressions.
    queries: BTreeSet<String>,
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let entries = query.with.iter().flat_map(|with| &with.cte_tables);
        self.queries
            .extend(entries.map(|entry| entry.alias.name.value.to_lowercase()));
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let last = relation.0.last().and_then(|part| part.as_ident());
        self.relations.extend(last.map(|name| name.value.to_lowercase()));
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{self, corpus};
    use super::*;
    use crate::sql::grammar::{self, Respelled};
    use crate::sql::read;

    /// What the second reader says when the first has lost everything it saw.
    fn blinded(sql: &str) -> Option<String> {
        let mut statements = read(sql, &sample::fixture()).unwrap();
        assert!(statements.iter().all(|statement| statement.opaque.is_empty()), "{sql}");
        for statement in &mut statements {
            statement.touches.clear();
            statement.functions.clear();
        }
        let second = grammar::read(sql, |tree| match &tree.respelled {
            Respelled::Same => Some(sql.to_owned()),
            Respelled::Other(text) => Some(text.clone()),
            Respelled::Nothing => None,
        });
        disagrees(&second.unwrap()?, 1, &statements)
    }

    #[test]
    fn a_relation_that_only_the_second_reader_sees_trips_it() {
        for sql in [
            "SELECT id FROM secrets",
            "SELECT 1 WHERE EXISTS (SELECT 1 FROM public.\"secrets\")",
            "WITH q AS (SELECT id FROM secrets) SELECT id FROM q",
            "DELETE FROM secrets",
            "INSERT INTO secrets VALUES (1, 'x')",
            "UPDATE secrets SET id = 1",
            "EXPLAIN SELECT id FROM secrets",
        ] {
            assert_eq!(blinded(sql).as_deref(), Some("relation \"secrets\""), "{sql}");
        }
        let first = read("SELECT 1; SELECT 2", &sample::fixture()).unwrap();
        assert_eq!(
            disagrees("SELECT 1; SELECT 2", 1, &first[..1]).as_deref(),
            Some("2 statements instead of 1")
        );
    }

    #[test]
    fn no_spelling_switches_it_off_but_a_name_in_unicode_escapes() {
        for sql in [
            "SELECT id FROM ONLY secrets",
            "DELETE FROM ONLY secrets",
            "SELECT id FROM secrets FETCH FIRST 5 ROWS ONLY",
            "SELECT 'a'\n'b', id FROM secrets",
            "SELECT U&'\\0041', id FROM secrets",
            "SELECT id FROM secrets WHERE id = 0x1F",
            "SELECT id FROM secrets -- only u& 0x",
            "SELECT id FROM secrets /* ONLY U&\"x\" 0b1 */",
            "SELECT 'only u& 0x1', id FROM secrets",
            "SELECT id AS only_one, 'it''s', '\n' FROM secrets",
        ] {
            assert_eq!(blinded(sql).as_deref(), Some("relation \"secrets\""), "{sql}");
        }
        for sql in [
            "SELECT U&\"id\" FROM secrets",
            // It cannot read this at all.
            "SELECT id FROM ONLY (secrets)",
            "WITH secrets AS (SELECT 1) SELECT 1 FROM secrets",
        ] {
            assert_eq!(blinded(sql), None, "{sql}");
        }
    }

    #[test]
    fn it_trips_over_nothing_that_is_understood() {
        let mut compared = 0;
        let mut check = |text: &str, snapshot: &crate::sql::Snapshot| {
            let Ok(statements) = read(text, snapshot) else {
                return;
            };
            for statement in &statements {
                assert!(
                    !statement.opaque.iter().any(|reason| reason.contains("two readers")),
                    "{text}: {statement:?}"
                );
            }
            compared += usize::from(statements.iter().all(comparable));
        };
        for line in corpus("attacks.jsonl").lines() {
            let case: serde_json::Value = serde_json::from_str(line).unwrap();
            check(case["sql"].as_str().unwrap_or_default(), &sample::fixture());
        }
        for file in ["alembic", "asyncpg", "django", "knex", "pgdump"] {
            let snapshot = sample::workload(file);
            for text in corpus(&format!("workload/{file}.sql")).split("\n-- ---\n") {
                check(text, &snapshot);
            }
        }
        assert!(compared > 400, "{compared}");
    }
}
