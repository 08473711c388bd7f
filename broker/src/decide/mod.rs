//! Judgement: pure functions a security reviewer reads in an hour. Only here are [`Permit`] and [`MatchedScope`] made.

pub mod admit;
pub mod explain;
pub mod judge;
pub mod limit;
pub mod reason;
pub mod rewrite;
pub mod rights;
pub mod sights;

use std::sync::Arc;

use serde::Serialize;

use crate::claims::Claims;
use crate::policy::{Origin, Scope};
use crate::sql::{Ask, Barrier, Block, Class, Copied, Effect, Names};

/// Proof that a job's claims match a scope inside the operator's ceiling. No public constructor.
#[derive(Debug, Clone)]
pub struct MatchedScope {
    pub(in crate::decide) scope: Arc<Scope>,
    pub(in crate::decide) claims: Claims,
    /// The `who` entry that matched.
    pub(in crate::decide) matched: Origin,
}

impl MatchedScope {
    /// A match nobody judged, for tests of the floors above.
    #[cfg(test)]
    pub fn for_tests(scope: Arc<Scope>, claims: Claims) -> Self {
        let matched = scope.origin.clone();
        Self { scope, claims, matched }
    }

    /// The scope.
    pub fn scope(&self) -> &Arc<Scope> {
        &self.scope
    }

    /// The claims that matched it.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The `who` entry that matched.
    pub fn matched(&self) -> &Origin {
        &self.matched
    }
}

/// What becomes of one statement.
#[derive(Debug, Clone)]
pub enum Decision {
    /// It may be sent, as it is or as [`Permit::text`] says.
    Allow(Permit),
    /// It must not be sent.
    Deny(Denial),
}

/// Proof that a statement was judged and allowed. `upstream::send` cannot be called without one, and only `decide`
/// makes one.
#[derive(Debug, Clone)]
pub struct Permit {
    pub(in crate::decide) class: Class,
    pub(in crate::decide) effect: Effect,
    pub(in crate::decide) barrier: Barrier,
    pub(in crate::decide) block: Block,
    pub(in crate::decide) names: Names,
    pub(in crate::decide) foreign: bool,
    /// Parameters whose values are judged when they are bound.
    pub(in crate::decide) asks: Arc<[Ask]>,
    /// The policy lines that allowed it, for the record.
    /// Shared: every execution of a prepared statement holds a permit.
    pub(in crate::decide) rules: Arc<[Origin]>,
    /// The owner it runs as, where it is DDL of a rule with `as:`.
    pub(in crate::decide) owner: Option<Arc<str>>,
    /// The relations it makes, changes or empties as that owner, by schema and name.
    pub(in crate::decide) defines: Arc<[(String, String)]>,
    /// The temporary relations that it reads as that owner.
    pub(in crate::decide) lent: Arc<[String]>,
    /// What must be sent in its place.
    pub(in crate::decide) text: Option<Arc<str>>,
    /// The masked columns it shows, as `schema.table.column`.
    pub(in crate::decide) masked: Arc<[String]>,
    /// It changes rows of which the scope may not read every column.
    pub(in crate::decide) blind: bool,
    /// How COPY writes its rows.
    pub(in crate::decide) copies: Option<Arc<Copied>>,
}

impl Permit {
    /// The statement's class.
    pub fn class(&self) -> Class {
        self.class
    }

    /// Whether it may change data or rights.
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// What it changes in how later names resolve.
    pub fn barrier(&self) -> Barrier {
        self.barrier
    }

    /// What the transaction block is after it.
    pub fn block(&self) -> Block {
        self.block
    }

    /// The SQL-level prepared statement or cursor it works on.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The owner it runs as; `None` for everything that is not DDL of a rule with `as:`.
    pub fn owner(&self) -> Option<&Arc<str>> {
        self.owner.as_ref()
    }

    /// The relations it makes, changes or empties as its owner, by schema and name.
    pub fn defines(&self) -> &Arc<[(String, String)]> {
        &self.defines
    }

    /// The session's own temporary relations that it reads as its owner.
    pub fn lent(&self) -> &Arc<[String]> {
        &self.lent
    }

    /// Whether it calls functions, operators, casts or types beyond PostgreSQL's safe ones: code that could have changed
    /// what the session's names resolve to.
    pub fn runs_foreign_code(&self) -> bool {
        self.foreign
    }

    /// Parameters whose values are judged when they are bound: see [`judge::bound`].
    pub fn asks(&self) -> &[Ask] {
        &self.asks
    }

    /// What must be sent in place of the statement; `None` where it is sent as it came.
    pub fn text(&self) -> Option<&Arc<str>> {
        self.text.as_ref()
    }

    /// The masked columns it shows, as `schema.table.column`.
    pub fn masked(&self) -> &Arc<[String]> {
        &self.masked
    }

    /// Whether it changes rows of which the scope may not read every column: an error may quote them, because checks,
    /// generated columns and indexes are computed from whole rows.
    pub fn changes_blindly(&self) -> bool {
        self.blind
    }

    /// How COPY … TO writes its rows, as far as that is known.
    pub fn copies(&self) -> Option<&Arc<Copied>> {
        self.copies.as_ref()
    }

    /// EXECUTE of what `prepared` was given for.
    #[must_use]
    pub fn running(&self, prepared: &Self) -> Self {
        Self {
            masked: prepared.masked.clone(),
            blind: prepared.blind,
            ..self.clone()
        }
    }

    /// The policy lines that allowed it.
    pub fn rules(&self) -> &[Origin] {
        &self.rules
    }
}

/// Why a statement is refused, in the words the job sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Denial {
    /// The stable code, such as `table-not-allowed`, `class-not-allowed`, `opaque`, `unresolved`.
    pub code: &'static str,
    /// The policy line it comes from: the nearest rule, or the scope's own line when none is near.
    pub origin: Origin,
    /// The scope's name.
    pub scope: String,
    /// What was asked, without literals: `TRUNCATE app.orders`.
    pub asked: String,
    /// One sentence: what was asked and what the policy grants.
    pub detail: String,
    /// What to change, or whom to ask.
    pub hint: String,
}

impl Denial {
    /// The message of the ErrorResponse: `denied by .hoop/db-access.yaml:22 (scope migrate): TRUNCATE app.orders`.
    pub fn message(&self) -> String {
        format!("denied by {} (scope {}): {}", self.origin, self.scope, self.asked)
    }

    /// Its SQLSTATE. A relation that is not there has PostgreSQL's own: migration tools look for their version table
    /// and take that as the answer.
    pub fn sqlstate(&self) -> &'static str {
        if self.code == "unresolved" && self.detail.starts_with("relation ") {
            "42P01"
        } else {
            "42501"
        }
    }
}
