//! One entry under `issuers:` of `broker.yaml`, and its way to an [`Issuer`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::SignedDuration;
use serde::Deserialize;
use url::Url;

use super::Algorithm;
use super::issuer::{Expected, Issuer, KeySource, Replay, is_loopback};
use crate::base::fault::{Fault, Kind};
use crate::base::pattern::Pattern;
use crate::claims::{ClaimPath, ClaimPaths, ProviderKind};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// An issuer as the operator writes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct IssuerConfig {
    /// `github-actions`, `gitlab` or `generic`.
    pub kind: ProviderKind,
    /// Exactly the `iss` of the issuer's tokens.
    pub url: String,
    /// Exactly the `aud` the broker accepts.
    pub audience: String,
    /// Whose jobs may ask at all.
    pub allow: Allow,
    /// What tokens may be signed with; `[RS256]`, for a generic issuer also `ES256`.
    pub algorithms: Option<Vec<Algorithm>>,
    /// `now - iat` of a token; 10 minutes, for GitLab 1 hour, since there a job has one token for all its life.
    pub max_token_age: Option<SignedDuration>,
    /// `exp - iat` of a token; GitHub 15 minutes, generic 1 hour, GitLab 24 hours.
    pub max_lifetime: Option<SignedDuration>,
    /// `once`, for GitLab `bind`.
    pub replay: Option<Replay>,
    /// Claims that must match: a glob or a list of them.
    #[serde(default)]
    pub required_claims: BTreeMap<ClaimPath, OneOrMany>,
    /// Where a generic issuer keeps its claims.
    pub claims: Option<ClaimPaths>,
    /// `file:…` with a JWKS, for an issuer the broker cannot reach.
    pub jwks: Option<String>,
    /// Where the JWKS is, when the discovery document must not be asked.
    pub jwks_url: Option<String>,
    /// `file:…` with the certificate authorities of the issuer's TLS, in PEM. When given, only those are trusted.
    pub ca: Option<String>,
}

/// The allow-list. The two names are the same thing in the words of GitHub and of GitLab.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Allow {
    /// `repository_owner_id`s.
    #[serde(default)]
    pub owner_ids: Vec<String>,
    /// `namespace_id`s.
    #[serde(default)]
    pub namespace_ids: Vec<String>,
}

/// One glob or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Any of several.
    Many(Vec<String>),
}

/// What is wrong with an entry under `issuers:`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("issuers.{issuer}.{key}: {problem}")]
pub struct ConfigError {
    /// The entry's name.
    pub issuer: String,
    /// The key inside it.
    pub key: &'static str,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl Fault for ConfigError {
    fn kind(&self) -> Kind {
        Kind::Config
    }

    fn code(&self) -> &'static str {
        "issuer-invalid"
    }

    fn public(&self) -> Cow<'_, str> {
        "the broker's configuration is invalid".into()
    }
}

impl IssuerConfig {
    /// Checks the entry called `name`.
    pub fn build(self, name: &str) -> Result<Issuer, ConfigError> {
        let fail = |key: &'static str, problem: String| ConfigError {
            issuer: name.to_owned(),
            key,
            problem,
        };
        let url = issuer_url(&self.url).map_err(|problem| fail("url", problem))?;
        if self.audience.trim().is_empty() || self.audience.chars().any(char::is_control) {
            return Err(fail(
                "audience",
                "must say what the tokens' `aud` is, such as the broker's URL".into(),
            ));
        }
        let defaults = Defaults::of(self.kind);
        let algorithms = self.algorithms.unwrap_or_else(|| defaults.algorithms.to_vec());
        if algorithms.is_empty() {
            return Err(fail(
                "algorithms",
                "an empty list accepts no token; leave the key out for the default".into(),
            ));
        }
        let duration = |key, given: Option<SignedDuration>, default: SignedDuration| match given.unwrap_or(default) {
            duration if duration < MINUTE || duration > DAY * 7 => {
                Err(fail(key, format!("{duration:#} is not between 1m and 7d (168h)")))
            }
            duration => Ok(duration),
        };
        match (self.kind, &self.claims) {
            (ProviderKind::Generic, None) => {
                let problem = "a generic issuer needs `claims: { repository-id: …, owner-id: … }`: which claims hold immutable ids";
                return Err(fail("claims", problem.into()));
            }
            (ProviderKind::GithubActions | ProviderKind::Gitlab, Some(_)) => {
                return Err(fail(
                    "claims",
                    "only a generic issuer declares where its claims are".into(),
                ));
            }
            _ => {}
        }
        Ok(Issuer {
            name: name.to_owned(),
            kind: self.kind,
            audience: self.audience,
            algorithms,
            allow_owner_ids: self.allow.into_ids().map_err(|problem| fail("allow", problem))?,
            max_token_age: duration("max-token-age", self.max_token_age, defaults.max_token_age)?,
            max_lifetime: duration("max-lifetime", self.max_lifetime, defaults.max_lifetime)?,
            replay: self.replay.unwrap_or(defaults.replay),
            required_claims: required(self.required_claims).map_err(|problem| fail("required-claims", problem))?,
            claims: self.claims,
            keys: key_source(self.jwks, self.jwks_url, &url).map_err(|problem| fail("jwks", problem))?,
            ca: self
                .ca
                .map(|text| file(&text))
                .transpose()
                .map_err(|problem| fail("ca", problem))?,
            url: self.url,
        })
    }
}

struct Defaults {
    algorithms: &'static [Algorithm],
    max_token_age: SignedDuration,
    max_lifetime: SignedDuration,
    replay: Replay,
}

impl Defaults {
    fn of(kind: ProviderKind) -> Self {
        match kind {
            ProviderKind::GithubActions => Self {
                algorithms: &[Algorithm::Rs256],
                max_token_age: SignedDuration::from_mins(10),
                max_lifetime: SignedDuration::from_mins(15),
                replay: Replay::Once,
            },
            ProviderKind::Gitlab => Self {
                algorithms: &[Algorithm::Rs256],
                max_token_age: SignedDuration::from_hours(1),
                max_lifetime: DAY,
                replay: Replay::Bind,
            },
            ProviderKind::Generic => Self {
                algorithms: &[Algorithm::Rs256, Algorithm::Es256],
                max_token_age: SignedDuration::from_mins(10),
                max_lifetime: SignedDuration::from_hours(1),
                replay: Replay::Once,
            },
        }
    }
}

impl Allow {
    fn into_ids(self) -> Result<std::collections::BTreeSet<String>, String> {
        let ids: std::collections::BTreeSet<String> = self.owner_ids.into_iter().chain(self.namespace_ids).collect();
        if ids.is_empty() {
            return Err(
                "name at least one owner id (owner-ids:) or namespace id (namespace-ids:); without one, anybody's \
                        jobs at this issuer could ask"
                    .into(),
            );
        }
        match ids.iter().find(|id| id.is_empty() || id.contains(['*', ' '])) {
            Some(id) => Err(format!(
                "`{id}` is not an immutable id; names and globs are not accepted here"
            )),
            None => Ok(ids),
        }
    }
}

/// `https`, or `http` on this machine; nothing that could make two spellings of one URL, since `iss` is compared as text.
fn issuer_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|why| format!("`{text}` is not a URL: {why}"))?;
    if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback(&url)) {
        return Err(format!(
            "`{text}` must be https (plain http is accepted on loopback only)"
        ));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("`{text}` must not carry a user name, a query or a fragment"));
    }
    if url.as_str().trim_end_matches('/') != text.trim_end_matches('/') {
        return Err(format!(
            "`{text}` has another spelling, `{url}`; write it as the tokens' `iss` does"
        ));
    }
    Ok(url)
}

fn key_source(jwks: Option<String>, jwks_url: Option<String>, issuer: &Url) -> Result<KeySource, String> {
    match (jwks, jwks_url) {
        (Some(_), Some(_)) => Err("give `jwks` or `jwks-url`, not both".into()),
        (Some(text), None) => file(&text).map(KeySource::File),
        (None, Some(text)) => {
            let url = Url::parse(&text).map_err(|why| format!("jwks-url `{text}` is not a URL: {why}"))?;
            let plain = url.scheme() == "http" && is_loopback(&url) && is_loopback(issuer);
            if (url.scheme() != "https" && !plain) || !url.username().is_empty() || url.password().is_some() {
                return Err(format!("jwks-url `{text}` must be https, without a user name"));
            }
            Ok(KeySource::Url(url))
        }
        (None, None) => Ok(KeySource::Discover),
    }
}

fn file(text: &str) -> Result<PathBuf, String> {
    match text.strip_prefix("file:") {
        Some(path) if !path.is_empty() => Ok(PathBuf::from(path)),
        _ => Err(format!(
            "`{text}` must be a reference to a file, such as file:/etc/hoop/issuer.json"
        )),
    }
}

fn required(claims: BTreeMap<ClaimPath, OneOrMany>) -> Result<BTreeMap<ClaimPath, Expected>, String> {
    let compile = |(path, globs): (ClaimPath, OneOrMany)| {
        let globs = match globs {
            OneOrMany::One(glob) => vec![glob],
            OneOrMany::Many(globs) => globs,
        };
        if globs.is_empty() {
            return Err(format!("`{path}` lists no value, so no token could match"));
        }
        let patterns: Result<Vec<Pattern>, String> = globs
            .iter()
            .map(|glob| Pattern::new(glob, '/').map_err(|why| format!("`{path}`: `{glob}`: {why}")))
            .collect();
        Ok((path, Expected::any_of(patterns?)))
    };
    claims.into_iter().map(compile).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn build(changes: &Value) -> Result<Issuer, String> {
        let mut entry = json!({
            "kind": "github-actions", "url": "https://ci.example.com", "audience": "https://db.example.com",
            "allow": { "owner-ids": ["1342004"] },
        });
        for (name, value) in changes.as_object().unwrap() {
            entry[name] = value.clone();
        }
        let config: IssuerConfig = serde_json::from_value(entry).map_err(|why| why.to_string())?;
        config.build("github").map_err(|error| error.to_string())
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the text is ours and short")]
    fn the_sample_of_the_manual_loads() {
        let sample = r#"
  github: { kind: github-actions, url: "https://token.actions.githubusercontent.com",
            audience: "https://db-broker.example.com", allow: { owner-ids: ["1342004"] }, max-token-age: 10m,
            required-claims: { runner_environment: github-hosted, enterprise: [acme, acme-labs] } }
  gitlab: { kind: gitlab, url: "https://gitlab.example.com", audience: "https://db-broker.example.com",
            allow: { namespace-ids: ["72"] } }
"#;
        let mut configs: BTreeMap<String, IssuerConfig> = serde_yaml::from_str(sample).unwrap();
        let github = configs.remove("github").unwrap().build("github").unwrap();
        assert_eq!(github.algorithms, [Algorithm::Rs256]);
        assert_eq!(github.max_token_age, SignedDuration::from_mins(10));
        assert_eq!((github.replay, &github.keys), (Replay::Once, &KeySource::Discover));
        assert_eq!(github.required_claims.len(), 2);
        let gitlab = configs.remove("gitlab").unwrap().build("gitlab").unwrap();
        assert_eq!((gitlab.replay, gitlab.max_lifetime), (Replay::Bind, DAY));
        assert!(gitlab.allow_owner_ids.contains("72"));
    }

    #[test]
    fn urls_have_one_spelling_and_are_https_or_loopback() {
        for url in [
            "https://ci.example.com",
            "https://ci.example.com/",
            "https://ci.example.com/_services/token",
            "https://ci.example.com:8443",
            "http://127.0.0.1:8080",
            "http://localhost:8080",
            "http://[::1]:8080",
        ] {
            assert_eq!(build(&json!({ "url": url })).unwrap().url, url);
        }
        for url in [
            "",
            "ci.example.com",
            "http://ci.example.com",
            "http://10.0.0.1",
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
            "ftp://ci.example.com",
            "file:///etc/passwd",
            "https://user@ci.example.com",
            "https://user:secret@ci.example.com",
            "https://ci.example.com@evil.example.com",
            "https://ci.example.com?x",
            "https://ci.example.com#x",
            "https://CI.example.com",
            "https://ci.example.com:443",
            "https://ci.example.com/a/../b",
            " https://ci.example.com",
            "https://127.1",
        ] {
            let error = build(&json!({ "url": url })).unwrap_err();
            assert!(error.starts_with("issuers.github.url: "), "{url}: {error}");
        }
    }

    #[test]
    fn what_cannot_be_safe_is_an_error_that_names_the_key() {
        for (changes, key) in [
            (json!({ "allow": {} }), "allow"),
            (json!({ "allow": { "owner-ids": [] } }), "allow"),
            (json!({ "allow": { "owner-ids": [""] } }), "allow"),
            (json!({ "allow": { "owner-ids": ["*"] } }), "allow"),
            (json!({ "allow": { "owner-id": ["1"] } }), "owner-id"),
            (json!({ "allow": null }), "Allow"),
            (json!({ "audience": " " }), "audience"),
            (json!({ "audiences": ["x"] }), "audiences"),
            (json!({ "algorithms": [] }), "algorithms"),
            (json!({ "algorithms": ["HS256"] }), "HS256"),
            (json!({ "algorithms": ["none"] }), "none"),
            (json!({ "max-token-age": "0s" }), "max-token-age"),
            (json!({ "max-token-age": "-5m" }), "max-token-age"),
            (json!({ "max-token-age": "169h" }), "max-token-age"),
            (json!({ "max-lifetime": "1s" }), "max-lifetime"),
            (json!({ "max-lifetime": 15 }), "duration"),
            (json!({ "required-claims": { "x": [] } }), "required-claims"),
            (json!({ "required-claims": { "x": "a|b" } }), "required-claims"),
            (json!({ "required-claims": { "x": "" } }), "required-claims"),
            (json!({ "kind": "generic" }), "claims"),
            (json!({ "claims": { "repository-id": "a", "owner-id": "b" } }), "claims"),
            (
                json!({ "kind": "generic", "claims": { "repository-id": "a" } }),
                "owner-id",
            ),
            (json!({ "kind": "jenkins" }), "jenkins"),
            (json!({ "jwks": "/etc/keys.json" }), "jwks"),
            (json!({ "jwks": "file:" }), "jwks"),
            (
                json!({ "jwks": "file:/a", "jwks-url": "https://a.example.com" }),
                "jwks",
            ),
            (json!({ "jwks-url": "http://a.example.com" }), "jwks"),
            (json!({ "jwks-url": "http://127.0.0.1/keys" }), "jwks"),
            (json!({ "ca": "-----BEGIN CERTIFICATE-----" }), "ca"),
        ] {
            let error = build(&changes).unwrap_err();
            assert!(error.contains(key), "{changes}: {error}");
        }
    }
}
