//! What a scope's masks mean for the server's answers: a result that would hold a raw value ends the session, and words
//! of the server that could quote one are left out.

use std::collections::BTreeSet;

use super::pending::Expect;
use super::server::Answer;
use super::{End, Session};
use crate::decide::rewrite;
use crate::wire::answer::Complaint;
use crate::wire::backend::{self, Report};

/// Columns by OID of the relation and number of the column.
pub(super) type RawColumns = BTreeSet<(u32, i16)>;

/// Classes of SQLSTATE whose DETAIL quotes a row: constraints, and conditions of views.
const ROWS: &[&str] = &["23", "44"];
/// DETAIL.
const DETAIL: &[u8] = b"D";
/// Where in the text something stands: the text is not the one that the client sent.
const PLACES: &[u8] = b"PpqW";
/// All that could quote a value, besides the message.
const QUOTES: &[u8] = b"DHPpqW";
/// What stands in a message's place.
const WITHHELD: &str = "withheld: the server's words could quote a value that this scope may not read";

/// What stands in place of the name of a view that is not there, or not any more.
const RENEWED: &str = "the masks of this table are being renewed after a change of the schema: try again, and if that lasts ask the operator";

/// Classes of SQLSTATE whose messages name things and quote no values: connection, features, transaction state, cursors
/// and statements by name, authorization, catalog and schema names, rollback, syntax and names, resources, limits,
/// object states, intervention, system.
const NAMES_ONLY: &[&str] = &[
    "08", "0A", "24", "25", "26", "28", "2B", "34", "3B", "3D", "3F", "40", "42", "53", "54", "55", "57", "58",
];

impl<C> Session<C> {
    /// A result whose columns are described as raw ones of a masked table: whatever let it through, it ends here.
    pub(super) fn tells_nothing_raw(&mut self, body: &[u8]) -> Result<(), End> {
        if self.grant.scope.masks.is_empty() {
            return Ok(());
        }
        let version = self.view.snapshot().version;
        if self.raw.as_ref().is_none_or(|(known, _)| *known != version) {
            self.raw = Some((version, rewrite::raw_columns(&self.grant.scope, self.view.snapshot())));
        }
        let origins = backend::origins(body).map_err(|_| End::UpstreamGone)?;
        let raw = self.raw.as_ref().map(|(_, columns)| columns);
        if raw.is_some_and(|raw| origins.iter().any(|origin| raw.contains(origin))) {
            tracing::error!(grant = %self.grant.id, "a result with raw values of a masked column was stopped");
            let text = "the result would have held raw values of a masked column";
            return Err(End::Fatal(Box::new(
                Complaint::fatal("42501", text).hint("tell the operator"),
            )));
        }
        Ok(())
    }

    /// Whether what the server is at changes rows that the scope may not read whole.
    pub(super) fn changes_blindly(&self) -> bool {
        match self.pending.front() {
            Some(Expect::Execute(run)) => run.blind,
            Some(Expect::Query { runs, .. }) => runs.iter().any(|run| run.blind),
            // A deferred constraint fails at the end, whatever it was of.
            Some(Expect::Sync) | None => self.grant.scope.hides_columns(),
            Some(_) => false,
        }
    }

    /// What the client sees of an error or a notice. `blind`: of a statement that changes rows which the scope may not read
    /// whole.
    pub(super) fn told(&self, report: &Report<'_>, blind: bool) -> Answer {
        let scope = &self.grant.scope;
        let is = |class: &&str| report.sqlstate.starts_with(*class);
        let (names, rows) = (NAMES_ONLY.iter().any(is), ROWS.iter().any(is));
        // The name of a view of ours helps nobody.
        let renewed = matches!(report.sqlstate, "42P01" | "42501") && report.message.contains(crate::mask::SCHEMA);
        match (scope.masks.is_empty(), blind) {
            (false, _) if renewed => {
                self.anew.misses(report.message);
                Answer::Less(PLACES, Some(RENEWED))
            }
            (false, _) if names => Answer::Less(PLACES, None),
            (false, _) => Answer::Less(QUOTES, Some(WITHHELD)),
            (true, true) if !names && !rows => Answer::Less(QUOTES, Some(WITHHELD)),
            // PostgreSQL leaves it out by itself for a login that may not read the columns, which a shared login is not.
            (true, _) if rows && scope.hides_columns() => Answer::Less(DETAIL, None),
            (true, _) => Answer::Pass,
        }
    }
}
