//! The broker's own reading and judging, in this process, with the schema of a live database.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use hoop::catalog::{Part, query, read_system, read_user};
use hoop::decide::Decision;
use hoop::decide::judge::{Ground, denied_unreadable, judge};
use hoop::policy::Scope;
use hoop::policy::compile::{Bounds, compile};
use hoop::policy::operator::Operator;
use hoop::sql::{self, Snapshot};
use tokio_postgres::Client;

/// A scope and a schema.
#[derive(Debug, Clone)]
pub struct Judge {
    /// The compiled scope.
    pub scope: Arc<Scope>,
    /// What names resolve against.
    pub snapshot: Arc<Snapshot>,
}

impl Judge {
    /// The scope `name` of a policy under a whole operator's file.
    pub fn scope(policy: &str, operator: &str, name: &str) -> Result<Arc<Scope>> {
        let operator = Operator::read(operator, "broker.yaml").map_err(|found| anyhow::anyhow!("{found:?}"))?;
        let (_, ceiling) = operator.ceilings.first_key_value().context("no ceiling")?;
        let bounds = Bounds {
            ceiling,
            issuers: &operator.issuers,
            databases: &operator.databases,
        };
        let mut compiled = compile(policy, ".hoop/db-access.yaml", &bounds);
        match compiled.scopes.remove(name) {
            Some(Ok(scope)) => Ok(scope),
            other => anyhow::bail!("{other:?} {:?}", compiled.diagnostics),
        }
    }

    /// The schema as the broker would read it through this connection.
    pub async fn schema(client: &Client) -> Result<Snapshot> {
        // As the broker does: compiling these queries takes many times as long as running them.
        client.batch_execute("SET jit = off").await?;
        let mut documents = Vec::new();
        for part in [Part::System, Part::User] {
            let row = client.query_one(query(part), &[]).await?;
            documents.push(row.get::<_, String>(0));
        }
        let base = read_system(&documents[0]).map_err(anyhow::Error::msg)?;
        read_user(&base, &documents[1]).map_err(anyhow::Error::msg)
    }

    /// The first statement of a text that is refused; the whole text where it cannot be read.
    pub fn refused<'t>(&self, text: &'t str) -> Option<&'t str> {
        let Ok(statements) = sql::read(text, &self.snapshot) else {
            return Some(text);
        };
        let refused = statements.iter().find(|statement| {
            matches!(
                judge(statement, &self.scope, &Ground::here(text, &self.snapshot)),
                Decision::Deny(_)
            )
        });
        refused.map(|statement| text[statement.span.clone()].trim())
    }

    /// The owner that some DDL of a text runs as.
    pub fn owner(&self, text: &str) -> Option<String> {
        let statements = sql::read(text, &self.snapshot).ok()?;
        statements.iter().find_map(|statement| {
            match judge(statement, &self.scope, &Ground::here(text, &self.snapshot)) {
                Decision::Allow(permit) => permit.owner().map(|owner| owner.to_string()),
                Decision::Deny(_) => None,
            }
        })
    }

    /// True when something of a text is replaced, so that the server receives other bytes.
    pub fn replaces(&self, text: &str) -> bool {
        let statements = sql::read(text, &self.snapshot).unwrap_or_default();
        statements.iter().any(
            |statement| match judge(statement, &self.scope, &Ground::here(text, &self.snapshot)) {
                Decision::Allow(permit) => permit.text().is_some(),
                Decision::Deny(_) => false,
            },
        )
    }

    /// True when the scope masks columns.
    pub fn masks(&self) -> bool {
        !self.scope.masks.is_empty()
    }

    /// The code of the first refusal of a text; `None` when everything of it may be sent.
    pub fn refuses(&self, text: &str) -> Option<&'static str> {
        match sql::read(text, &self.snapshot) {
            Err(unreadable) => Some(denied_unreadable(&unreadable, &self.scope).code),
            Ok(statements) => statements.iter().find_map(|statement| {
                match judge(statement, &self.scope, &Ground::here(text, &self.snapshot)) {
                    Decision::Allow(_) => None,
                    Decision::Deny(denial) => Some(denial.code),
                }
            }),
        }
    }
}
