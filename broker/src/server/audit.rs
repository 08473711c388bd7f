//! The second seam of a grant's life, filled in: every event is a durable record of the ledger before anybody is told.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::claims::Claims;
use crate::decide::MatchedScope;
use crate::grant::{Ask, Audit, AuditFault, EndingKind, Event, Live};
use crate::ledger::{Minted, Record};
use crate::record::Recorder;
use crate::store::{Digest, Filter};

/// The ledger as the control plane writes it.
#[derive(Debug)]
pub struct Book(Arc<Recorder>);

impl Book {
    /// Writes into `recorder`.
    pub fn new(recorder: Arc<Recorder>) -> Self {
        Self(recorder)
    }

    async fn write(&self, records: &[Record<'_>]) -> Result<(), AuditFault> {
        for record in records {
            self.0
                .control()
                .write_durably(record)
                .await
                .map_err(|fault| AuditFault(fault.to_string()))?;
        }
        Ok(())
    }
}

impl Audit for Book {
    fn record<'a>(&'a self, event: Event<'a>) -> BoxFuture<'a, Result<(), AuditFault>> {
        async move {
            match event {
                Event::Minted {
                    grant,
                    matched,
                    ask,
                    replaced: _,
                } => {
                    self.write(&[Record::GrantMinted(Box::new(minted(grant, matched, ask)))])
                        .await
                }
                Event::Refused {
                    problem,
                    claims,
                    ask,
                    at: _,
                } => {
                    self.write(&[Record::GrantRefused {
                        code: problem.code.into(),
                        issuer: Some(claims.issuer.as_str().into()),
                        repository: Some(claims.repository.as_str().into()),
                        scope: Some(ask.scope.as_str().into()),
                        address: ask.peer.to_string().into(),
                        request_id: ask.request,
                    }])
                    .await
                }
                Event::Ended { grant, ending, at: _ } => {
                    let ended = Record::GrantEnded {
                        grant,
                        ending: ending.kind.as_str().into(),
                        reason: ending.reason.as_str().into(),
                    };
                    if ending.kind == EndingKind::Expired {
                        self.write(&[ended, Record::GrantExpiredUnrevoked { grant }]).await
                    } else {
                        self.write(&[ended]).await
                    }
                }
                Event::Kill {
                    filter,
                    count,
                    peer,
                    at: _,
                } => {
                    self.write(&[Record::Kill {
                        target: meant(filter).into(),
                        operator: peer.to_string().into(),
                        reason: "operator".into(),
                        grants: u64::try_from(count).unwrap_or(u64::MAX),
                    }])
                    .await
                }
            }
        }
        .boxed()
    }
}

/// `scope=migrate, database=shop`.
fn meant(filter: &Filter) -> String {
    let grant = filter.grant.map(|grant| grant.to_string());
    let keys = [
        ("grant", grant.as_ref()),
        ("scope", filter.scope.as_ref()),
        ("repository", filter.repository.as_ref()),
        ("database", filter.database.as_ref()),
    ];
    let named: Vec<String> = keys
        .iter()
        .filter_map(|(key, value)| value.map(|value| format!("{key}={value}")))
        .collect();
    named.join(", ")
}

fn minted<'a>(grant: &'a Live, matched: &'a MatchedScope, ask: &'a Ask) -> Minted<'a> {
    let claims: &Claims = &grant.claims;
    let text = |value: &'a Option<String>| value.as_deref().map(Into::into);
    let hash = Digest::of(claims.jti.as_bytes()).to_string();
    Minted {
        grant: grant.id,
        issuer: claims.issuer.as_str().into(),
        repository: claims.repository.as_str().into(),
        repository_id: claims.repository_id.as_str().into(),
        workflow: text(if claims.workflow.is_some() {
            &claims.workflow
        } else {
            &claims.config
        }),
        run_id: text(&claims.run_id),
        run_attempt: text(&claims.run_attempt),
        job_id: text(&claims.job_id),
        sha: text(&claims.sha),
        actor: text(&claims.actor),
        environment: text(&claims.environment),
        event: text(&claims.event),
        reason: text(&ask.reason),
        scope: grant.scope.name.as_str().into(),
        database: grant.scope.database.as_str().into(),
        enforcement: Some(grant.scope.enforcement.as_str().into()),
        policy_sha: grant.scope.policy_sha.as_ref().into(),
        scope_digest: grant.scope.digest.as_ref().into(),
        matched: matched.matched().to_string().into(),
        expires_at: grant.expires_at.as_microsecond(),
        ends_at: grant.ends_at.as_microsecond(),
        jti_hash: hash.into(),
        claims: std::borrow::Cow::Owned(recorded(claims)),
    }
}

/// The claims as the token carried them, without the token's identifier: that is recorded as its SHA-256.
fn recorded(claims: &Claims) -> serde_json::Map<String, serde_json::Value> {
    let mut recorded = claims.raw.clone();
    recorded.remove("jti");
    recorded
}
