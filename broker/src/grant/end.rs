//! The ends of a grant's life that somebody asks for or that the clock brings. The registry is told first, because that
//! is what cuts the sessions; the record and the store follow.

use std::net::IpAddr;
use std::sync::PoisonError;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Ending, EndingKind, Event, Grants, Live, Nature, Problem};
use crate::base::fault::Fault;
use crate::base::id::GrantId;
use crate::base::secret::Secret;
use crate::store::{Digest, Ended, Filter, GrantRow, StoreFault, TotalsRow};

/// How long an answer with totals waits for the sessions it has just cut.
const DRAIN: Duration = Duration::from_millis(500);
/// A key that was revoked without a grant is refused this long; a request on its way does not live longer.
const CLOSED_KEY: SignedDuration = SignedDuration::from_mins(10);

impl Ending {
    /// As the store keeps it.
    pub fn at(&self, at: Timestamp) -> Ended {
        Ended {
            kind: self.kind.as_str().to_owned(),
            reason: self.reason.clone(),
            at,
        }
    }

    fn revoked() -> Self {
        Self {
            kind: EndingKind::Revoked,
            reason: "the job revoked it".into(),
        }
    }
}

impl Grants {
    /// A grant and what it did, for the holder of its revoke token.
    pub async fn show(&self, id: GrantId, revoke: &Secret) -> Result<(GrantRow, TotalsRow), Problem> {
        let row = self.held(id, revoke).await?;
        let totals = self.totals(id).await?.unwrap_or_default();
        Ok((row, totals))
    }

    /// Ends a grant for the holder of its revoke token. Asking again answers the same.
    pub async fn revoke(&self, id: GrantId, revoke: &Secret) -> Result<(GrantRow, TotalsRow), Problem> {
        self.held(id, revoke).await?;
        self.finish(id, &Ending::revoked(), self.clock.now()).await?;
        self.drain(id).await;
        self.show(id, revoke).await
    }

    /// Ends the grant minted with this idempotency key, for a job that never got the answer. A request with the key
    /// that is still on its way is refused when it arrives.
    pub async fn revoke_by_key(&self, key: Digest) -> Result<Option<GrantId>, Problem> {
        let now = self.clock.now();
        let ending = Ending::revoked();
        let keep_until = now.checked_add(CLOSED_KEY).unwrap_or(now);
        let Some(id) = self.store.close_key(key, ending.at(now), keep_until).await? else {
            return Ok(None);
        };
        self.registry.end(id, ending.clone());
        self.audit
            .record(Event::Ended {
                grant: id,
                ending: &ending,
                at: now,
            })
            .await?;
        Ok(Some(id))
    }

    /// The operator's kill switch: cuts every live grant the filter means and answers which.
    pub async fn kill(&self, filter: &Filter, peer: IpAddr) -> Result<Vec<GrantId>, Problem> {
        let now = self.clock.now();
        let ending = Ending {
            kind: EndingKind::Killed,
            reason: "the operator of the broker ended it".into(),
        };
        let cut = self.registry.matching(filter);
        // Everything is cut before anything is written: an operator reaches for this when seconds count.
        let mut ids: Vec<GrantId> = cut
            .iter()
            .filter(|live| self.registry.end(live.id, ending.clone()))
            .map(|live| live.id)
            .collect();
        let here = ids.clone();
        let stored = self.store.matching(filter.clone()).await?;
        ids.extend(stored.into_iter().filter(|id| !here.contains(id)));
        ids.sort_unstable();
        let kill = Event::Kill {
            filter,
            count: ids.len(),
            peer,
            at: now,
        };
        let mut outcome = self.audit.record(kill).await.map_err(Problem::from);
        for &id in &ids {
            if let Err(problem) = self.write_end(id, &ending, now).await {
                outcome = Err(problem);
            }
        }
        tracing::warn!(count = ids.len(), %peer, "kill switch");
        outcome.map(|()| ids)
    }

    /// Ends what the clock has ended: one round of the reaper. Answers how many.
    pub async fn expire(&self, wall: Timestamp, mono: std::time::Instant) -> usize {
        let mut count = 0;
        for live in self.registry.due(wall, mono) {
            match self.finish(live.id, &expired(&live, wall, mono), wall).await {
                Ok(first) => count += usize::from(first),
                Err(problem) => tracing::error!(code = problem.code, grant = %live.id, "an expiry was not written"),
            }
        }
        count
    }

    /// Ends the live grants from which today's policy takes something away. `lost` says what, in words.
    pub async fn rejudge(&self, lost: impl Fn(&Live) -> Option<String>) -> usize {
        let mut count = 0;
        for live in self.registry.live() {
            let Some(lost) = lost(&live) else { continue };
            let ending = Ending {
                kind: EndingKind::Killed,
                reason: format!("its policy changed: {lost}"),
            };
            match self.finish(live.id, &ending, self.clock.now()).await {
                Ok(first) => count += usize::from(first),
                Err(problem) => tracing::error!(code = problem.code, grant = %live.id, "an ending was not written"),
            }
        }
        count
    }

    /// Cuts, records and stores one ending. True when this call was the one that ended the grant.
    pub(super) async fn finish(&self, id: GrantId, ending: &Ending, at: Timestamp) -> Result<bool, Problem> {
        if self.registry.end(id, ending.clone()) {
            return self.write_end(id, ending, at).await.map(|()| true);
        }
        // Ended before, but perhaps while the store could not be written: the repetition mends that. The ending that
        // stands is the one its sessions were told.
        let stands = self.registry.get(id).and_then(|live| live.ending());
        self.store_end(id, stands.as_ref().unwrap_or(ending).at(at)).await?;
        Ok(false)
    }

    /// The store is written even when the ledger is not: an ending is never taken back.
    pub(super) async fn write_end(&self, id: GrantId, ending: &Ending, at: Timestamp) -> Result<(), Problem> {
        let event = Event::Ended { grant: id, ending, at };
        tracing::info!(grant = %id, event = event.name(), reason = %ending.reason, "grant ended");
        let recorded = self.audit.record(event).await;
        self.store_end(id, ending.at(at)).await?;
        recorded.map_err(|fault| {
            tracing::error!(error = %fault, code = fault.code(), grant = %id, "an ending was not recorded");
            Problem::of_fault(Nature::Unavailable, &fault)
        })
    }

    /// Stores an ending, or keeps it for [`Grants::write_endings`].
    pub(super) async fn store_end(&self, id: GrantId, ended: Ended) -> Result<(), StoreFault> {
        let written = self.store.end(id, ended.clone()).await;
        if written.is_err() {
            self.unwritten
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((id, ended));
        }
        written.map(|_| ())
    }

    /// Tries again to store the endings the store did not take.
    pub async fn write_endings(&self) {
        let waiting = std::mem::take(&mut *self.unwritten.lock().unwrap_or_else(PoisonError::into_inner));
        for (id, ended) in waiting {
            if let Err(fault) = self.store_end(id, ended).await {
                tracing::error!(error = %fault, grant = %id, "an ending is still not stored");
            }
        }
    }

    /// The row of a grant whose revoke token the caller holds. A wrong token and an unknown grant look the same.
    async fn held(&self, id: GrantId, revoke: &Secret) -> Result<GrantRow, Problem> {
        let row = self.store.grant(id).await?.map(|(row, _)| row);
        let nobody = [0_u8; 32];
        let digest = row.as_ref().map_or(&nobody, |row| row.revoke.as_bytes());
        // Compared in constant time also when there is no such grant.
        match (revoke.has_digest(digest), row) {
            (true, Some(row)) => Ok(row),
            _ => Err(Problem::unknown_grant()),
        }
    }

    /// Waits a moment for the sessions that were just cut, and brings their last counts to the store.
    async fn drain(&self, id: GrantId) {
        if let Some(live) = self.registry.get(id) {
            let gone = async {
                while live.sessions() > 0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            if tokio::time::timeout(DRAIN, gone).await.is_err() {
                tracing::warn!(grant = %id, sessions = live.sessions(), "sessions still closing; totals may lack their last counts");
            }
        }
        if let Err(fault) = self.flush_totals().await {
            tracing::error!(error = %fault, "totals were not stored");
        }
    }
}

fn expired(live: &Live, wall: Timestamp, mono: std::time::Instant) -> Ending {
    let limits = &live.scope.limits;
    let reason = if live.is_over(wall, mono) {
        format!("max-session ({}) has passed", limits.max_session.origin)
    } else {
        format!("ttl ({}) has passed and no session is open", limits.ttl.origin)
    };
    Ending {
        kind: EndingKind::Expired,
        reason,
    }
}
