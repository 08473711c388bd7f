//! The metrics: each field's documentation is its help text, so the two cannot drift apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::base::fault::Fault;
use crate::grant::{Audit, AuditFault, Event};

/// The label of a family that counts by code.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Code {
    /// The stable code.
    pub code: &'static str,
}

/// The label of a family that counts by kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KindLabel {
    /// The kind.
    pub kind: &'static str,
}

/// The label of a family that counts by decision.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DecisionLabel {
    /// `allow` or `deny`.
    pub decision: &'static str,
}

macro_rules! metrics {
    ($(#[doc = $help:literal] $field:ident: $kind:ty = $name:literal,)*) => {
        /// Every metric of the broker. Cloning shares the counters.
        #[derive(Debug, Clone)]
        pub struct Metrics {
            $(#[doc = $help] pub $field: $kind,)*
            registry: Arc<Registry>,
        }

        impl Metrics {
            /// All of them at zero.
            pub fn new() -> Self {
                let mut registry = Registry::with_prefix("hoop");
                $(
                    let $field = <$kind>::default();
                    // The exposition format puts the full stop itself.
                    registry.register($name, $help.trim().trim_end_matches('.'), $field.clone());
                )*
                Self { $($field,)* registry: Arc::new(registry) }
            }
        }
    };
}

metrics! {
    /// Grants minted.
    grants_minted: Counter = "grants_minted",
    /// Requests for a grant that were refused, by code; those without a verified token are not among them.
    grants_refused: Family<Code, Counter> = "grants_refused",
    /// Grants that ended, by kind: revoked, expired, killed. An expired one was never revoked by its job.
    grants_ended: Family<KindLabel, Counter> = "grants_ended",
    /// Grants that are live.
    grants_live: Gauge = "grants_live",
    /// Sessions that are open.
    sessions_open: Gauge = "sessions_open",
    /// Statements, by decision: those allowed and completed by the database, and those denied.
    statements: Family<DecisionLabel, Counter> = "statements",
    /// Statements that no reader process could read, by code: it failed, took too long, or none was free.
    statements_unread: Family<Code, Counter> = "statements_unread",
    /// Faults, by whose concern they are.
    faults: Family<KindLabel, Counter> = "faults",
    /// Whether the last record reached the ledger: 1 or 0.
    ledger_healthy: Gauge<i64> = "ledger_healthy",
    /// Seconds since the Unix epoch at which the listeners' certificate ends; 0 without one.
    certificate_expires: Gauge<u64, AtomicU64> = "certificate_expires_timestamp_seconds",
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// OpenMetrics text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail, and the metrics' own encoders do not either.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// Counts a fault.
    pub fn fault(&self, fault: &dyn Fault) {
        self.faults
            .get_or_create(&KindLabel {
                kind: fault.kind().label(),
            })
            .inc();
    }

    /// Sets how many statements of this process were allowed and completed, and how many denied.
    pub fn decided(&self, (allow, deny): (u64, u64)) {
        for (decision, count) in [("allow", allow), ("deny", deny)] {
            let counter = self.statements.get_or_create(&DecisionLabel { decision });
            // Never back: a scrape must not see a counter fall.
            counter.inner().fetch_max(count, Ordering::Relaxed);
        }
    }

    /// Sets how many statements of this process no reader could read, by code.
    pub fn unread(&self, counts: [(&'static str, u64); 3]) {
        for (code, count) in counts {
            let counter = self.statements_unread.get_or_create(&Code { code });
            counter.inner().fetch_max(count, Ordering::Relaxed);
        }
    }

    fn observe(&self, event: &Event<'_>) {
        match event {
            Event::Minted { .. } => {
                self.grants_minted.inc();
            }
            Event::Refused { problem, .. } => {
                self.grants_refused.get_or_create(&Code { code: problem.code }).inc();
            }
            Event::Ended { ending, .. } => {
                self.grants_ended
                    .get_or_create(&KindLabel {
                        kind: ending.kind.as_str(),
                    })
                    .inc();
            }
            Event::Kill { .. } => {}
        }
    }
}

/// Counts every event on its way to the ledger.
#[derive(Debug)]
pub struct Counted<A> {
    inner: A,
    metrics: Metrics,
}

impl<A: Audit> Counted<A> {
    /// Counts what goes to `inner`.
    pub fn new(inner: A, metrics: Metrics) -> Self {
        metrics.ledger_healthy.set(1);
        Self { inner, metrics }
    }
}

impl<A: Audit> Audit for Counted<A> {
    fn record<'a>(&'a self, event: Event<'a>) -> BoxFuture<'a, Result<(), AuditFault>> {
        async move {
            let recorded = self.inner.record(event).await;
            self.metrics.ledger_healthy.set(i64::from(recorded.is_ok()));
            match &recorded {
                // A mint that is not recorded is no mint.
                Ok(()) => self.metrics.observe(&event),
                Err(fault) => self.metrics.fault(fault),
            }
            recorded
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::GrantId;
    use crate::grant::testing::{FakeAudit, START};
    use crate::grant::{Ending, EndingKind};

    #[test]
    fn help_comes_from_the_documentation() {
        let text = Metrics::new().render();
        assert!(text.contains("# HELP hoop_grants_minted Grants minted.\n"), "{text}");
        assert!(text.contains("hoop_grants_minted_total 0\n"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn statements_are_counted_by_decision() {
        let metrics = Metrics::new();
        metrics.decided((7, 2));
        metrics.decided((6, 3));
        let text = metrics.render();
        assert!(text.contains("hoop_statements_total{decision=\"allow\"} 7\n"), "{text}");
        assert!(text.contains("hoop_statements_total{decision=\"deny\"} 3\n"), "{text}");
    }

    #[tokio::test]
    async fn events_and_the_ledgers_health_are_counted() {
        let metrics = Metrics::new();
        let counted = Counted::new(FakeAudit::default(), metrics.clone());
        let ending = Ending {
            kind: EndingKind::Expired,
            reason: String::new(),
        };
        let event = Event::Ended {
            grant: GrantId::fresh(),
            ending: &ending,
            at: START,
        };
        counted.record(event).await.unwrap();
        let text = metrics.render();
        assert!(text.contains("hoop_grants_ended_total{kind=\"expired\"} 1\n"), "{text}");
        assert!(text.contains("hoop_ledger_healthy 1\n"), "{text}");
        counted.inner.broken.store(true, Ordering::SeqCst);
        counted.record(event).await.unwrap_err();
        let text = metrics.render();
        assert!(text.contains("hoop_grants_ended_total{kind=\"expired\"} 1\n"), "{text}");
        assert!(text.contains("hoop_faults_total{kind=\"ledger\"} 1\n"), "{text}");
        assert!(text.contains("hoop_ledger_healthy 0\n"), "{text}");
    }
}
