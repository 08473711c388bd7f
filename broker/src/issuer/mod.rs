//! The issuers' keys, and the whole way from the text of a token to claims: steps 1 to 13 in order.

mod fetch;
mod keys;

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

pub use fetch::FetchError;
pub use keys::Keys;

use crate::base::clock::Clock;
use crate::claims::Claims;
use crate::token::config::ConfigError;
use crate::token::{self, Issuer, RawToken, TokenFault, Unverified};

/// Verifies ID tokens of the configured issuers.
#[derive(Debug)]
pub struct Verifier {
    /// By exact URL.
    issuers: HashMap<String, Arc<Issuer>>,
    keys: Keys,
}

impl Verifier {
    /// Takes the issuers. Two of the same URL are an error: their tokens could not be told apart.
    pub fn new(issuers: Vec<Issuer>, clock: Clock) -> Result<Self, ConfigError> {
        let mut by_url = HashMap::new();
        let mut all = Vec::new();
        for issuer in issuers {
            let issuer = Arc::new(issuer);
            if let Some(other) = by_url.insert(issuer.url.clone(), Arc::clone(&issuer)) {
                return Err(ConfigError {
                    issuer: issuer.name.clone(),
                    key: "url",
                    problem: format!(
                        "issuer {} has the same URL; their tokens could not be told apart",
                        other.name
                    ),
                });
            }
            all.push(issuer);
        }
        Ok(Self {
            keys: Keys::new(&all, clock)?,
            issuers: by_url,
        })
    }

    /// Steps 1 to 13. An unknown issuer is refused before anything is fetched.
    pub async fn verify(&self, raw: &str, now: Timestamp) -> Result<(Claims, Arc<Issuer>), TokenFault> {
        let unverified = Unverified::read(RawToken::new(raw)?)?;
        let issuer = self
            .issuers
            .get(unverified.iss())
            .ok_or_else(|| TokenFault::unknown_issuer(unverified.iss()))?;
        unverified.algorithm(issuer)?;
        let key = self.keys.key(issuer, unverified.kid()).await?;
        let claims = token::verify(unverified, issuer, &key, now)?.claims()?;
        Ok((claims, Arc::clone(issuer)))
    }

    /// The configured issuers, in no order.
    pub fn issuers(&self) -> impl Iterator<Item = &Arc<Issuer>> {
        self.issuers.values()
    }

    /// The key caches.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }
}
