//! The two seams of a grant's life: who may have what (asked before), and what is recorded (durably, before anybody
//! is told).

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::{Ending, EndingKind, Live, Problem};
use crate::base::fault::{Fault, Kind};
use crate::base::id::{GrantId, RequestId};
use crate::claims::Claims;
use crate::decide::MatchedScope;
use crate::store::{Digest, Filter};

/// What a job asks for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The scope's name.
    pub scope: String,
    /// A shorter `ttl` than the scope's.
    pub ttl: Option<Duration>,
    /// What for, in the job's words.
    pub reason: Option<String>,
    /// SHA-256 of a proof key the job keeps, for issuers that give one token per job.
    pub proof: Option<Digest>,
    /// SHA-256 of the proof key the job sent.
    pub proof_key: Option<Digest>,
    /// SHA-256 of the idempotency key.
    pub key: Option<Digest>,
    /// Where the request came from.
    pub peer: IpAddr,
    /// The request, as its answer names it.
    pub request: RequestId,
}

/// A job that may have what it asks for.
#[derive(Debug)]
pub struct Admitted {
    /// The proof that it may.
    pub matched: MatchedScope,
    /// How long new connections are accepted: the asked `ttl` inside the scope's.
    pub ttl: Duration,
    /// Whether its issuer gives one token per job, which may then come again with its key.
    pub binds: bool,
    /// When the token can no longer be valid: `exp`, leeway and margin.
    pub keep_token_until: Timestamp,
}

/// Verifies a token and matches its claims: everything that is decided before a grant is stored.
pub trait Admission: Send + Sync + fmt::Debug {
    /// Judges one request. A [`Problem`] carries the claims once they are verified.
    fn admit<'a>(&'a self, token: &'a str, ask: &'a Ask, now: Timestamp) -> BoxFuture<'a, Result<Admitted, Problem>>;
}

/// Something that happened to a grant.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A job got a grant.
    Minted {
        /// The grant.
        grant: &'a Live,
        /// What matched: the line of the `who` entry is in it.
        matched: &'a MatchedScope,
        /// What was asked.
        ask: &'a Ask,
        /// Earlier grants of the job that this one replaces.
        replaced: &'a [GrantId],
    },
    /// A job with a verified token was refused.
    Refused {
        /// Why.
        problem: &'a Problem,
        /// Who it is.
        claims: &'a Claims,
        /// What was asked.
        ask: &'a Ask,
        /// When.
        at: Timestamp,
    },
    /// A grant ended.
    Ended {
        /// Which.
        grant: GrantId,
        /// How.
        ending: &'a Ending,
        /// When.
        at: Timestamp,
    },
    /// An operator used the kill switch; one `Ended` per grant follows.
    Kill {
        /// Which grants were meant.
        filter: &'a Filter,
        /// How many were live.
        count: usize,
        /// From where.
        peer: IpAddr,
        /// When.
        at: Timestamp,
    },
}

impl Event<'_> {
    /// The event's name in the ledger and the log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Minted { .. } => "grant.minted",
            Self::Refused { .. } => "grant.refused",
            Self::Ended { ending, .. } => match ending.kind {
                EndingKind::Revoked => "grant.revoked",
                // A job that cleans up revokes; one that expires never did.
                EndingKind::Expired => "grant.expired_unrevoked",
                EndingKind::Killed => "grant.killed",
            },
            Self::Kill { .. } => "kill",
        }
    }
}

/// The ledger did not take a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the ledger cannot be written: {0}")]
pub struct AuditFault(pub String);

impl Fault for AuditFault {
    fn kind(&self) -> Kind {
        Kind::Ledger
    }

    fn code(&self) -> &'static str {
        "ledger-unavailable"
    }

    fn public(&self) -> Cow<'_, str> {
        Cow::Borrowed("the broker's ledger cannot be written, and nothing is granted without a record")
    }

    fn fix(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(
            "try again; if it stays so, tell the operator of the broker",
        ))
    }
}

/// Records events. The future is ready when the record is durable.
pub trait Audit: Send + Sync + fmt::Debug {
    /// Records one event.
    fn record<'a>(&'a self, event: Event<'a>) -> BoxFuture<'a, Result<(), AuditFault>>;
}
