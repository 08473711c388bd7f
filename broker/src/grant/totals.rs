//! What a grant did: counters that sessions bump, and the rows they travel to the store in.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use super::{Grants, Totals};
use crate::base::id::GrantId;
use crate::decide::Denial;
use crate::sql::Class;
use crate::store::{DenialRow, KEPT_DENIALS, StoreFault, TotalsRow};

impl Totals {
    /// The counters now.
    pub fn snapshot(&self) -> TotalsRow {
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let statements = Class::ALL
            .iter()
            .zip(&self.statements)
            .map(|(class, counter)| (class.as_str().to_owned(), count(counter)))
            .filter(|(_, count)| *count > 0)
            .collect();
        let denials = self.denials.lock().unwrap_or_else(PoisonError::into_inner);
        TotalsRow {
            sessions: count(&self.sessions),
            statements,
            rows: count(&self.rows),
            masked: self.masked.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            detected: self.detected.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            denied: count(&self.denied),
            denials: denials.iter().map(DenialRow::from).collect(),
        }
    }

    /// Counts one statement that succeeded, with the rows that it gave the job, or else those that its command tag names.
    pub fn count(&self, class: Class, rows: u64) {
        if let Some(counter) = self.statements.get(class as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    /// Counts rows that the job was given by a statement that did not succeed.
    pub fn count_rows(&self, rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    /// Counts masked values, by column.
    pub fn count_masked(&self, counts: &BTreeMap<String, u64>) {
        add(&self.masked, counts);
    }

    /// Counts what was found in texts, by kind.
    pub fn count_detected(&self, counts: &BTreeMap<String, u64>) {
        add(&self.detected, counts);
    }

    /// Counts a denial and keeps it for the summary while there is room.
    pub fn deny(&self, denial: &Denial) {
        self.denied.fetch_add(1, Ordering::Relaxed);
        let mut denials = self.denials.lock().unwrap_or_else(PoisonError::into_inner);
        if denials.len() < KEPT_DENIALS {
            denials.push(denial.clone());
        }
    }
}

fn add(sums: &Mutex<BTreeMap<String, u64>>, counts: &BTreeMap<String, u64>) {
    if counts.is_empty() {
        return;
    }
    let mut sums = sums.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, count) in counts {
        *sums.entry(name.clone()).or_default() += count;
    }
}

impl From<&Denial> for DenialRow {
    fn from(denial: &Denial) -> Self {
        Self {
            code: denial.code.to_owned(),
            message: denial.message(),
            detail: denial.detail.clone(),
            hint: denial.hint.clone(),
            path: denial.origin.path.to_string(),
            line: denial.origin.line,
            column: denial.origin.column,
        }
    }
}

/// What was added between two snapshots of the same counters.
pub(super) fn since(now: &TotalsRow, before: &TotalsRow) -> TotalsRow {
    let more = |now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>| {
        let more = now.iter().map(|(name, count)| {
            let before = before.get(name).copied().unwrap_or(0);
            (name.clone(), count.saturating_sub(before))
        });
        more.filter(|(_, more)| *more > 0).collect()
    };
    TotalsRow {
        sessions: now.sessions.saturating_sub(before.sessions),
        statements: more(&now.statements, &before.statements),
        rows: now.rows.saturating_sub(before.rows),
        masked: more(&now.masked, &before.masked),
        detected: more(&now.detected, &before.detected),
        denied: now.denied.saturating_sub(before.denied),
        denials: now.denials.iter().skip(before.denials.len()).cloned().collect(),
    }
}

impl Grants {
    /// Brings every counter that moved to the store.
    pub async fn flush_totals(&self) -> Result<(), StoreFault> {
        let _one_at_a_time = self.flushing.lock().await;
        let moved = self.registry.unflushed();
        if moved.is_empty() {
            return Ok(());
        }
        let more = moved.iter().map(|(id, delta, _)| (*id, delta.clone())).collect();
        self.store.add_totals(more).await?;
        for (id, delta, upto) in moved {
            self.registry.flushed(id, &delta, upto);
        }
        Ok(())
    }

    /// A grant's totals: what the store has and what has not travelled there yet.
    pub(super) async fn totals(&self, id: GrantId) -> Result<Option<TotalsRow>, StoreFault> {
        let _not_on_the_way = self.flushing.lock().await;
        let Some((_, mut totals)) = self.store.grant(id).await? else {
            return Ok(None);
        };
        if let Some(more) = self.registry.unflushed_of(id) {
            totals.add(&more);
        }
        Ok(Some(totals))
    }
}
