//! What the operator configured about one issuer, checked and ready to use.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::Algorithm;
use crate::base::pattern::Pattern;
use crate::claims::{ClaimPath, ClaimPaths, ProviderKind};

/// One issuer. Each is its own namespace: a repository id means nothing without it.
#[derive(Debug, Clone, PartialEq)]
pub struct Issuer {
    /// The operator's name for it.
    pub name: String,
    /// Which provider reads its tokens.
    pub kind: ProviderKind,
    /// Exactly the `iss` of its tokens.
    pub url: String,
    /// Exactly the `aud` of its tokens.
    pub audience: String,
    /// What its tokens may be signed with. Never taken from a token.
    pub algorithms: Vec<Algorithm>,
    /// The owners whose jobs may ask at all. Never empty.
    pub allow_owner_ids: BTreeSet<String>,
    /// How long after its issue a token may still be shown.
    pub max_token_age: SignedDuration,
    /// How long a token may live by its own word.
    pub max_lifetime: SignedDuration,
    /// How a second use of one `jti` is judged.
    pub replay: Replay,
    /// Claims the operator requires, beyond those the kind requires.
    pub required_claims: BTreeMap<ClaimPath, Expected>,
    /// Where a generic issuer keeps its claims.
    pub claims: Option<ClaimPaths>,
    /// Where its keys come from.
    pub keys: KeySource,
    /// PEM file with the only certificate authorities trusted for this issuer's TLS.
    pub ca: Option<PathBuf>,
}

/// How a second use of one `jti` is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Replay {
    /// Never: every exchange needs a fresh token (GitHub gives one for the asking).
    Once,
    /// Only with the secret the first exchange committed to, and only for the same grant (GitLab gives one per job).
    Bind,
}

/// Where an issuer's keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// From the issuer's discovery document.
    Discover,
    /// From this URL; the discovery document is not read.
    Url(Url),
    /// From this file, for an issuer the broker cannot reach.
    File(PathBuf),
}

/// The values a required claim may have: any of the globs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected(Vec<Pattern>);

impl Expected {
    /// Any of these; an empty list matches nothing.
    pub fn any_of(patterns: Vec<Pattern>) -> Self {
        Self(patterns)
    }

    /// True when any of the claim's values matches any of the globs.
    pub fn matches(&self, values: &[String]) -> bool {
        values
            .iter()
            .any(|value| self.0.iter().any(|pattern| pattern.matches(value)))
    }
}

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let patterns: Vec<&str> = self.0.iter().map(Pattern::as_str).collect();
        write!(f, "`{}`", patterns.join("` or `"))
    }
}

/// True when the URL's host is this machine, the only place plain HTTP is accepted from.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
