//! A grant's life: minted from a matched scope, watched by its sessions, ended once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::base::id::GrantId;
use crate::claims::Claims;
use crate::policy::Scope;

/// What a session watches: one state change ends every session of the grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantState {
    /// Statements may be sent.
    Active,
    /// Over: cut, cancel upstream, roll back.
    Ended(Ending),
}

/// How a grant ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Which of the ways.
    pub kind: EndingKind,
    /// The sentence the client sees after 57P01, with the YAML line where a limit ended it.
    pub reason: String,
}

/// The ways a grant ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndingKind {
    /// The job, through its revoke token.
    Revoked,
    /// `max-session`, or `ttl` with no session left.
    Expired,
    /// An operator's kill switch.
    Killed,
}

/// A live grant as the data plane sees it. Shared by every runtime.
#[derive(Debug)]
pub struct Live {
    /// Also the endpoint's user name.
    pub id: GrantId,
    /// The rules it was minted under.
    pub scope: Arc<Scope>,
    /// Who the job is.
    pub claims: Arc<Claims>,
    /// What the password is checked against.
    pub verifier: crate::scram::Verifier,
    /// When the grant was minted.
    pub created_at: Timestamp,
    /// New connections are refused from here on (`ttl`).
    pub expires_at: Timestamp,
    /// Every session is cut here (`max-session`).
    pub ends_at: Timestamp,
    /// Sessions subscribe to this.
    pub state: watch::Sender<GrantState>,
    /// Sessions open now, for `max-connections`.
    pub open_sessions: AtomicU32,
    /// Running totals for the summary.
    pub totals: Totals,
}

/// Counters of one grant, updated by its sessions as statements end.
#[derive(Debug, Default)]
pub struct Totals {
    /// Sessions ever opened.
    pub sessions: AtomicU64,
    /// Statements allowed, by `Class as usize`.
    pub statements: [AtomicU64; 27],
    /// Rows returned or affected, as the server's command tags count them.
    pub rows: AtomicU64,
    /// Statements denied.
    pub denied: AtomicU64,
    /// The first denials, for the job summary: never literals.
    pub denials: std::sync::Mutex<Vec<crate::decide::Denial>>,
}
