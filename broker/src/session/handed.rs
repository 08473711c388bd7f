//! What the statement at hand has given the client, as far as it is counted: values of masked columns.
//!
//! A masked value is counted once per row that is handed out and masked column that the statement reads, wherever the
//! column stands in it: `SELECT id FROM t WHERE email = …` counts as `SELECT email FROM t` does. Of COPY the server's own
//! count of rows is taken, when it comes to its end.

use std::collections::HashMap;
use std::sync::Arc;

use super::Session;
use super::pending::Run;
use crate::decide::Permit;
use crate::detect::Found;
use crate::ledger::{Counts, Status};
use crate::sql::{Class, Names};

/// Cursors whose columns are remembered.
const MAX_CURSORS: usize = 10_000;

/// The masked columns that an execution's rows may show.
#[derive(Debug, Clone)]
pub enum Shows {
    /// These, as `schema.table.column`.
    Columns(Arc<[String]>),
    /// None itself: it makes a cursor of this name, whose rows show these.
    Declares(String, Arc<[String]>),
    /// Those of the cursor of this name.
    Fetches(String),
}

/// Since the last outcome.
#[derive(Debug, Default)]
pub struct Handed {
    /// Rows, and pieces of COPY data.
    pub rows: u64,
    /// What was found in texts and replaced.
    pub found: Found,
    cursors: HashMap<String, Arc<[String]>>,
}

impl Handed {
    /// The masked values that `run` has given, by column. It is over; the server counted `told` rows.
    pub fn masked(&mut self, run: &Run, status: Status, told: Option<u64>) -> Counts {
        let handed = std::mem::take(&mut self.rows);
        let columns = match run.shows.as_deref() {
            None => None,
            Some(Shows::Columns(columns)) => Some(columns),
            Some(Shows::Declares(name, columns)) => {
                if status == Status::Ok && self.cursors.len() < MAX_CURSORS {
                    self.cursors.insert(name.clone(), columns.clone());
                }
                None
            }
            Some(Shows::Fetches(name)) => self.cursors.get(name),
        };
        let rows = match (run.class, told) {
            (Class::CopyOut, Some(told)) => told,
            // Lines of a plan.
            (Class::Explain, _) => 0,
            _ => handed,
        };
        let counted = columns.filter(|_| rows > 0).into_iter();
        counted
            .flat_map(|all| all.iter().map(|column| (column.clone(), rows)))
            .collect()
    }
}

impl<C> Session<C> {
    /// What a statement that is about to be sent shows.
    pub(super) fn shows(&self, permit: &Permit) -> Option<Box<Shows>> {
        if self.grant.scope.masks.is_empty() {
            return None;
        }
        Some(Box::new(match permit.names() {
            Names::Declare(name, _) => Shows::Declares(name.clone(), permit.masked().clone()),
            // A portal of the protocol is a cursor too.
            Names::Cursor(name) => match self.find_portal(name).as_ref().and_then(|prepared| prepared.permit()) {
                Some(portal) => Shows::Columns(portal.masked().clone()),
                None => Shows::Fetches(name.clone()),
            },
            _ => Shows::Columns(permit.masked().clone()),
        }))
    }
}
