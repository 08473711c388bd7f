//! The table behind a match: every `who` entry and key, what it wants, what the token says, and the line.

use std::fmt;

use serde::Serialize;

use super::admit::{Check, MISSING, Refusal, admit, ceiling_checks, find_scope, who_checks};
use super::rewrite::Masked;
use crate::claims::Claims;
use crate::policy::set::Policies;
use crate::policy::{Origin, Scope};
use crate::sql::{Snapshot, Statement};

/// Everything [`admit`] looks at, for one token and one scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The scope's name.
    pub scope: String,
    /// Where it begins.
    pub origin: Origin,
    /// The database it opens.
    pub database: String,
    /// Its `who` entries: one must agree in every key.
    pub entries: Vec<Vec<Check>>,
    /// The operator's requirements: all must agree.
    pub ceiling: Vec<Check>,
    /// Whether the job is admitted.
    pub admitted: bool,
}

/// Explains `scope_name` to the job behind `claims`. Refuses where there is nothing to compare with.
pub fn explain(claims: &Claims, scope_name: &str, policies: &Policies) -> Result<Explanation, Refusal> {
    let (repository, scope) = find_scope(claims, scope_name, policies)?;
    let entries: Vec<_> = scope.who.iter().map(|entry| who_checks(entry, claims)).collect();
    Ok(Explanation {
        scope: scope.name.clone(),
        origin: scope.origin.clone(),
        database: scope.database.clone(),
        entries,
        ceiling: ceiling_checks(repository.ceiling(), scope, claims),
        admitted: admit(claims, scope_name, policies).is_ok(),
    })
}

/// A masked column that a statement reads, and what its values are replaced by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MaskedColumn {
    /// `schema.table.column` of the relation in FROM. A partition or a parent shares the masks of its family.
    pub column: String,
    /// The mask, as a policy writes it.
    pub mask: String,
    /// The line that demands it: the scope's, or the operator's.
    pub origin: Origin,
    /// Where the relation stands in the text that was read, in bytes.
    #[serde(skip)]
    pub at: usize,
}

/// The masked columns that an allowed statement reads, in the order of its text.
pub fn masked_columns(statement: &Statement, scope: &Scope, snapshot: &Snapshot) -> Vec<MaskedColumn> {
    let masked = Masked::new(scope, snapshot);
    let mut columns: Vec<_> = masked
        .shown(statement)
        .into_iter()
        .map(|shown| MaskedColumn {
            column: shown.column,
            mask: shown.rule.mask.to_string(),
            origin: shown.rule.origin.clone(),
            at: shown.at,
        })
        .collect();
    columns.sort_by_key(|column| column.at);
    columns
}

// === impl Explanation ===

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "scope {} on {} ({})", self.scope, self.database, self.origin)?;
        let all = || self.entries.iter().flatten().chain(&self.ceiling);
        let width = |cell: fn(&Check) -> &str| all().map(|check| cell(check).chars().count()).max().unwrap_or(0);
        let (key, expected, actual) = (width(|c| &c.key), width(|c| &c.expected), width(actual_of));
        let mut table = |title: String, checks: &[Check]| {
            writeln!(f, "\n{title}")?;
            for check in checks {
                let mark = if check.ok { "ok" } else { "no" };
                writeln!(
                    f,
                    "  {mark}  {:key$}  {:expected$}  {:actual$}  {}",
                    check.key,
                    check.expected,
                    actual_of(check),
                    check.origin
                )?;
            }
            Ok(())
        };
        for (index, checks) in self.entries.iter().enumerate() {
            let agrees = checks.iter().all(|check| check.ok);
            let verdict = if agrees { "agrees" } else { "does not agree" };
            table(format!("who[{index}] {verdict}"), checks)?;
        }
        if !self.ceiling.is_empty() {
            table("the operator requires".to_owned(), &self.ceiling)?;
        }
        writeln!(f, "\n{}", if self.admitted { "admitted" } else { "refused" })
    }
}

fn actual_of(check: &Check) -> &str {
    check.actual.as_deref().unwrap_or(MISSING)
}

#[cfg(test)]
mod tests {
    use super::super::admit::tests::{github, policies};
    use super::*;

    #[test]
    fn the_table_lines_up_and_names_every_line() {
        let claims = Claims {
            git_ref: Some("refs/pull/7/merge".to_owned()),
            environment: None,
            ..github()
        };
        let shown = explain(&claims, "bounded", &policies()).unwrap().to_string();
        insta::assert_snapshot!(shown, @r"
        scope bounded on prod (.hoop/db-access.yaml:13)

        who[0] does not agree
          ok  issuer       `github`                       github             .hoop/db-access.yaml:15
          no  branch       `refs/heads/main`              refs/pull/7/merge  .hoop/db-access.yaml:15
          ok  events       `push`                         push               .hoop/db-access.yaml:15

        who[1] does not agree
          no  issuer       `gitlab`                       github             .hoop/db-access.yaml:15
          no  branch       `refs/heads/main`              refs/pull/7/merge  .hoop/db-access.yaml:15
          ok  sources      `push`                         push               .hoop/db-access.yaml:15

        the operator requires
          no  environment  `production`                   MISSING            broker.yaml:19
          ok  events       `push` or `workflow_dispatch`  push               broker.yaml:19

        refused
        ");
    }

    #[test]
    fn an_admitted_job_is_told_so() {
        let explanation = explain(&github(), "migrate", &policies()).unwrap();
        assert!(explanation.admitted);
        assert!(explanation.entries[0].iter().all(|check| check.ok));
        assert!(
            explanation.entries[1].iter().any(|check| !check.ok),
            "the other issuer's entry"
        );
        assert!(explanation.to_string().ends_with("\nadmitted\n"));
    }
}
