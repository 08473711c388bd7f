//! The key caches: fresh for an hour, good for a day when the issuer is away, and never a way to hammer an issuer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

use super::fetch::Fetcher;
use crate::base::clock::Clock;
use crate::token::config::ConfigError;
use crate::token::{Issuer, KeySet, TokenFault, VerifyingKey};

/// How long a set is used without asking again.
const FRESH: SignedDuration = SignedDuration::from_hours(1);

/// How long a set is used while the issuer cannot be asked. After that a withdrawn key could live on for ever.
const STALE: SignedDuration = SignedDuration::from_hours(24);

/// The least time between two looks at one issuer, whatever is asked: tokens with invented `kid`s cost it no more.
const PAUSE: SignedDuration = SignedDuration::from_mins(1);

/// The same while there is no usable set at all. Then no `kid` is known, and nobody can cause more looks by inventing one.
const PAUSE_WITHOUT_KEYS: SignedDuration = SignedDuration::from_secs(10);

/// The key caches of all issuers.
#[derive(Debug)]
pub struct Keys {
    clock: Clock,
    /// By the operator's name for the issuer.
    caches: HashMap<String, Arc<Cache>>,
}

#[derive(Debug)]
struct Cache {
    issuer: String,
    fetcher: Fetcher,
    current: ArcSwapOption<Snapshot>,
    /// Held while a fetch runs: whoever else needs the keys waits for that one.
    attempt: Arc<Mutex<Attempt>>,
    fetches: AtomicU64,
}

#[derive(Debug)]
struct Snapshot {
    keys: KeySet,
    fetched_at: Timestamp,
}

#[derive(Debug, Default)]
struct Attempt {
    at: Option<Timestamp>,
    /// Why the last one failed.
    failure: Option<String>,
}

impl Keys {
    /// Empty caches for the issuers; nothing is fetched until a token asks.
    pub fn new(issuers: &[Arc<Issuer>], clock: Clock) -> Result<Self, ConfigError> {
        let mut caches = HashMap::new();
        for issuer in issuers {
            let cache = Cache {
                issuer: issuer.name.clone(),
                fetcher: Fetcher::new(issuer)?,
                current: ArcSwapOption::empty(),
                attempt: Arc::default(),
                fetches: AtomicU64::new(0),
            };
            caches.insert(issuer.name.clone(), Arc::new(cache));
        }
        Ok(Self { clock, caches })
    }

    /// Step 4: the issuer's key `kid`.
    pub async fn key(&self, issuer: &Issuer, kid: &str) -> Result<Arc<VerifyingKey>, TokenFault> {
        let cache = self
            .caches
            .get(&issuer.name)
            .ok_or_else(|| TokenFault::unknown_issuer(&issuer.url))?;
        if let Some(key) = cache.find(kid, self.clock.now(), FRESH) {
            return Ok(key);
        }
        let failure = cache.refresh(&self.clock).await;
        if let Some(key) = cache.find(kid, self.clock.now(), STALE) {
            return Ok(key);
        }
        Err(match failure {
            // The key may be new and the issuer away: not the token's fault.
            Some(why) => TokenFault::IssuerUnavailable {
                issuer: issuer.name.clone(),
                why,
            },
            None => TokenFault::unknown_key(&issuer.name, kid),
        })
    }

    /// How often the named issuer has been asked, for metrics.
    pub fn fetches(&self, issuer: &str) -> u64 {
        self.caches
            .get(issuer)
            .map_or(0, |cache| cache.fetches.load(Ordering::Relaxed))
    }
}

impl Cache {
    /// The key, if the set is not older than `limit`.
    fn find(&self, kid: &str, now: Timestamp, limit: SignedDuration) -> Option<Arc<VerifyingKey>> {
        let current = self.current.load();
        let snapshot = current
            .as_ref()
            .filter(|snapshot| age(snapshot.fetched_at, now) < limit)?;
        snapshot.keys.get(kid).cloned()
    }

    /// Asks the issuer again unless that happened just now, and says why the last look failed, if it did.
    async fn refresh(self: &Arc<Self>, clock: &Clock) -> Option<String> {
        let mut attempt = Arc::clone(&self.attempt).lock_owned().await;
        let now = clock.now();
        let pause = match self.current.load().as_ref() {
            Some(snapshot) if age(snapshot.fetched_at, now) < STALE => PAUSE,
            _ => PAUSE_WITHOUT_KEYS,
        };
        // This is also where those end up who waited for somebody else's fetch: it has just happened.
        if attempt.at.is_some_and(|at| age(at, now) < pause) {
            return attempt.failure.clone();
        }
        attempt.at = Some(now);
        let cache = Arc::clone(self);
        // In a task of its own: a caller who goes away must not abort the look that others wait for.
        let look = tokio::spawn(async move {
            attempt.failure = cache.look(now).await;
            attempt.failure.clone()
        });
        look.await
            .unwrap_or_else(|_| Some("the look at the issuer's keys was interrupted".to_owned()))
    }

    async fn look(&self, now: Timestamp) -> Option<String> {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        match self.fetcher.keys().await {
            Ok(keys) => {
                tracing::info!(issuer = self.issuer, usable = keys.len(), "fetched the issuer's keys");
                for why in keys.skipped() {
                    tracing::warn!(issuer = self.issuer, %why, "a key of the issuer is not used");
                }
                self.current.store(Some(Arc::new(Snapshot { keys, fetched_at: now })));
                None
            }
            Err(error) => {
                let why = error.chain();
                tracing::warn!(issuer = self.issuer, why, "cannot fetch the issuer's keys");
                Some(why)
            }
        }
    }
}

/// How far apart two readings of the clock are. A clock that was set back makes a set older, not fresh for ever.
fn age(then: Timestamp, now: Timestamp) -> SignedDuration {
    now.duration_since(then).abs()
}
