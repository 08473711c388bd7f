//! What the broker must not forget: grants, used tokens, closed idempotency keys. One small trait, one embedded
//! implementation, and one conformance suite that every implementation passes.

#[cfg(test)]
pub mod conformance;
pub mod sqlite;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::base::fault::{Fault, Kind};
use crate::base::id::GrantId;
use crate::claims::Claims;
use crate::sql::bound::Sight;

pub use sqlite::Sqlite;

/// How many denials of one grant are kept for the job's summary.
pub const KEPT_DENIALS: usize = 20;

/// A SHA-256, for values that must be recognised without being held.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// A digest somebody else computed.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(…)")
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let mut bytes = [0_u8; 32];
        let pairs = text.as_bytes().as_chunks::<2>();
        if pairs.0.len() != bytes.len() || !pairs.1.is_empty() {
            return Err(serde::de::Error::custom("a digest is 64 hexadecimal digits"));
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs.0) {
            let pair = std::str::from_utf8(pair).map_err(serde::de::Error::custom)?;
            *byte = u8::from_str_radix(pair, 16).map_err(serde::de::Error::custom)?;
        }
        Ok(Self(bytes))
    }
}

/// Everything of a grant that outlives the process. Secrets are here only as verifier and digests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GrantRow {
    /// Also the endpoint's user name.
    pub id: GrantId,
    /// Who the job is.
    pub claims: Claims,
    /// The scope's name.
    pub scope: String,
    /// The operator's name of the database.
    pub database: String,
    /// [`crate::policy::Scope::digest`] at the mint: after a restart only an equal scope continues the grant.
    pub scope_digest: String,
    /// The policy file, the line of the `who` entry that matched, and the file's SHA-256.
    pub policy: PolicyLine,
    /// What the job said it is for.
    pub reason: Option<String>,
    /// The password's SCRAM verifier in PostgreSQL's text form.
    pub verifier: String,
    /// SHA-256 of the revoke token.
    pub revoke: Digest,
    /// SHA-256 of the idempotency key.
    pub key: Option<Digest>,
    /// When the grant was minted.
    pub created_at: Timestamp,
    /// New connections are refused from here on.
    pub expires_at: Timestamp,
    /// Every session is cut here.
    pub ends_at: Timestamp,
    /// How it ended, once it has.
    pub ended: Option<Ended>,
}

impl GrantRow {
    /// Whether both rows belong to the same job asking for the same scope.
    pub fn same_job(&self, other: &Self) -> bool {
        let (a, b) = (&self.claims, &other.claims);
        self.scope == other.scope
            && a.issuer == b.issuer
            && a.repository_id == b.repository_id
            && a.run_id == b.run_id
            && a.run_attempt == b.run_attempt
            && a.job_id == b.job_id
    }
}

/// A place in a policy and which policy it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyLine {
    /// The file as its author knows it.
    pub path: String,
    /// 1-based.
    pub line: u32,
    /// SHA-256 of the file, hexadecimal.
    pub sha: String,
}

/// How and when a grant ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// `revoked`, `expired` or `killed`.
    pub kind: String,
    /// The sentence the sessions were cut with.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// A token about to be used, and how often its issuer's tokens may be.
#[derive(Debug, Clone)]
pub struct TokenUse {
    /// The operator's name of the issuer.
    pub issuer: String,
    /// SHA-256 of the `jti`.
    pub jti: Digest,
    /// When the token can no longer be valid: `exp`, leeway and margin.
    pub keep_until: Timestamp,
    /// The issuer's replay rule, with what the caller sent for it.
    pub replay: Replay,
}

/// The replay rule of an issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// A `jti` becomes a grant once.
    Once,
    /// The issuer gives one token per job: a `jti` is accepted again from whoever holds the key.
    Bind {
        /// SHA-256 of the key, as sent with the first exchange.
        proof: Option<Digest>,
        /// SHA-256 of the key itself, when the caller sent the key.
        key: Option<Digest>,
    },
}

/// What became of a request to mint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The grant is stored and the token is used, in one transaction.
    Minted {
        /// Earlier grants of the same job that this one replaces; they are ended in the same transaction.
        replaced: Vec<GrantId>,
    },
    /// Nothing was stored and no token was used up.
    Refused(MintRefusal),
}

/// Why the store refused to mint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MintRefusal {
    /// The `jti` already became a grant.
    #[error("this token has already been exchanged for a grant; ask the CI for a fresh one")]
    TokenReused,
    /// The `jti` is bound to another key or to another scope.
    #[error("this token is bound to another proof key or to another scope")]
    ProofMismatch,
    /// Too many live grants of this repository and scope.
    #[error("this repository has {live} live grants of this scope, and {cap} is the most")]
    Busy {
        /// How many live.
        live: u32,
        /// How many may.
        cap: u32,
    },
    /// Another job's live grant carries the same idempotency key.
    #[error("this Idempotency-Key belongs to the live grant of another job or scope")]
    KeyInUse,
    /// The key's grant was revoked by key; the request came too late.
    #[error("this Idempotency-Key was revoked before the request arrived")]
    KeyClosed,
}

impl MintRefusal {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::TokenReused => "token-reused",
            Self::ProofMismatch => "replay-proof-mismatch",
            Self::Busy { .. } => "busy",
            Self::KeyInUse => "idempotency-key-in-use",
            Self::KeyClosed => "idempotency-key-closed",
        }
    }
}

/// What became of a request to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndOutcome {
    /// This call ended it.
    First,
    /// It had ended before; that ending stands.
    Already,
    /// There is no such grant.
    Unknown,
}

/// Which grants an operator means. Every key that is present must match; one with no key matches nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// One grant.
    pub grant: Option<GrantId>,
    /// A scope's name.
    pub scope: Option<String>,
    /// `owner/name`, or `issuer:id`.
    pub repository: Option<String>,
    /// The operator's name of a database.
    pub database: Option<String>,
}

impl Filter {
    /// Whether the filter means this grant.
    pub fn covers(&self, id: GrantId, scope: &str, database: &str, claims: &Claims) -> bool {
        let repository = |asked: &String| {
            *asked == claims.repository || *asked == format!("{}:{}", claims.issuer, claims.repository_id)
        };
        *self != Self::default()
            && self.grant.is_none_or(|asked| asked == id)
            && self.scope.as_deref().is_none_or(|asked| asked == scope)
            && self.database.as_deref().is_none_or(|asked| asked == database)
            && self.repository.as_ref().is_none_or(repository)
    }
}

/// What a grant did so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TotalsRow {
    /// Sessions ever opened.
    pub sessions: u64,
    /// Statements allowed, by class.
    pub statements: BTreeMap<String, u64>,
    /// Rows returned or affected.
    pub rows: u64,
    /// Masked values, by column.
    #[serde(default)]
    pub masked: BTreeMap<String, u64>,
    /// What was found in texts and replaced, by kind.
    #[serde(default)]
    pub detected: BTreeMap<String, u64>,
    /// Statements denied.
    pub denied: u64,
    /// The first denials.
    pub denials: Vec<DenialRow>,
}

impl TotalsRow {
    /// Adds what happened since.
    pub fn add(&mut self, more: &Self) {
        self.sessions += more.sessions;
        self.rows += more.rows;
        self.denied += more.denied;
        for (class, count) in &more.statements {
            *self.statements.entry(class.clone()).or_default() += count;
        }
        for (sums, more) in [(&mut self.masked, &more.masked), (&mut self.detected, &more.detected)] {
            for (name, count) in more {
                *sums.entry(name.clone()).or_default() += count;
            }
        }
        let room = KEPT_DENIALS.saturating_sub(self.denials.len());
        self.denials.extend(more.denials.iter().take(room).cloned());
    }
}

/// One denial, as a job's summary shows it. Never a literal of a statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DenialRow {
    /// The stable code.
    pub code: String,
    /// What the client saw.
    pub message: String,
    /// What was asked and what the policy grants.
    pub detail: String,
    /// What to change.
    pub hint: String,
    /// The policy file.
    pub path: String,
    /// 1-based.
    pub line: u32,
    /// 1-based.
    pub column: u32,
}

/// What start-up finds.
#[derive(Debug)]
pub struct Restored {
    /// Every grant that has not ended.
    pub rows: Vec<GrantRow>,
    /// The latest wall-clock time the store has seen.
    pub seen_at: Option<Timestamp>,
}

/// What may be forgotten.
#[derive(Debug, Clone, Copy)]
pub struct Purge {
    /// Kept as the latest time seen, when it is.
    pub now: Timestamp,
    /// Used tokens and closed keys whose `keep_until` lies before this.
    pub kept_until_before: Timestamp,
    /// Grants that ended before this.
    pub ended_before: Timestamp,
}

/// Why the store cannot be used. No grant is ever made or continued past one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreFault {
    /// It cannot be read or written now.
    #[error("the state store cannot be used: {0}")]
    Unavailable(String),
    /// What it holds is not what was written.
    #[error("the state store is damaged: {0}")]
    Corrupt(String),
    /// A newer broker wrote it.
    #[error("the state store has version {found}; this broker knows versions up to {known}")]
    TooNew {
        /// The version found.
        found: i64,
        /// The newest version this broker knows.
        known: i64,
    },
    /// Another process holds it.
    #[error("the state store is held by another process")]
    Locked,
}

impl Fault for StoreFault {
    fn kind(&self) -> Kind {
        Kind::Store
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "store-unavailable",
            Self::Corrupt(_) => "store-corrupt",
            Self::TooNew { .. } => "store-too-new",
            Self::Locked => "store-locked",
        }
    }

    fn public(&self) -> Cow<'_, str> {
        Cow::Borrowed("the broker's state store cannot be used right now")
    }

    fn fix(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(match self {
            Self::Unavailable(_) => "check the disk that holds `state: { directory: … }`: space, permissions, mount",
            Self::Corrupt(_) => {
                "restore the state directory from a backup, or move it away: \
                 every live grant then ends and tokens still valid can be exchanged once more"
            }
            Self::TooNew { .. } => "run the newer broker again, or restore the backup taken before the upgrade",
            Self::Locked => "stop the other broker, or give this one its own `state: { directory: … }`",
        }))
    }
}

/// A future of a store's answer.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreFault>>;

/// The broker's memory. Each method is one transaction, durable when its future is ready.
pub trait Store: Send + Sync + fmt::Debug {
    /// Uses the token and stores the grant, or does neither. `cap` bounds the live grants of one repository and scope.
    fn mint(&self, grant: GrantRow, token: TokenUse, cap: u32) -> Answer<'_, Outcome>;
    /// Ends a grant once.
    fn end(&self, id: GrantId, ended: Ended) -> Answer<'_, EndOutcome>;
    /// Ends the live grant minted with this idempotency key, and refuses the key until `keep_until`.
    fn close_key(&self, key: Digest, ended: Ended, keep_until: Timestamp) -> Answer<'_, Option<GrantId>>;
    /// One grant and its totals.
    fn grant(&self, id: GrantId) -> Answer<'_, Option<(GrantRow, TotalsRow)>>;
    /// Every grant that has not ended.
    fn live(&self) -> Answer<'_, Restored>;
    /// The live grants a filter means.
    fn matching(&self, filter: Filter) -> Answer<'_, Vec<GrantId>>;
    /// Adds to the totals of several grants.
    fn add_totals(&self, totals: Vec<(GrantId, TotalsRow)>) -> Answer<'_, ()>;
    /// Forgets what is past keeping. Answers how many rows went.
    fn purge(&self, purge: Purge) -> Answer<'_, u64>;
    /// Remembers what policies saw first in a database, and answers all that was ever seen there, by this broker or
    /// another one of the same store.
    fn see(&self, place: String, new: Vec<Sight>) -> Answer<'_, BTreeSet<Sight>>;
    /// Whether the last write succeeded.
    fn ping(&self) -> Answer<'_, ()>;
}
