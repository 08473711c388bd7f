//! Tokens that must not pass, each with the one code it must be refused with, and honest ones that must.
//!
//! Every hostile token differs from an honest one in what its name says and in nothing else (the few that break two
//! rules say so: they prove the order of the checks). The table is made with real keys against running issuers, so the
//! same tokens can be shown to the library and, over HTTP, to a broker.

mod claims;
mod headers;
mod keys;
mod shape;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hoop::base::clock::Clock;
use hoop::demo::issuer::{DevIssuer, Shape};
use serde_json::{Map, Value, json};

/// The audience the broker is configured with.
pub const AUDIENCE: &str = "https://db-broker.example.com";

/// A token that must be refused, and how.
#[derive(Debug, Clone)]
pub struct Hostile {
    /// What is wrong with it.
    pub name: String,
    /// Its text.
    pub token: String,
    /// The code of the refusal.
    pub code: &'static str,
}

/// The issuers the tokens come from: three the broker knows, one it does not.
#[derive(Debug)]
pub struct Site {
    /// Configured as `github`, RS256 only.
    pub github: DevIssuer,
    /// Configured as `gitlab`, RS256 only.
    pub gitlab: DevIssuer,
    /// Configured as `ci`, a generic issuer, RS256 and ES256.
    pub generic: DevIssuer,
    /// Not configured.
    pub stranger: DevIssuer,
    /// What all of them and the broker take for now.
    pub clock: Clock,
}

impl Site {
    /// Starts the issuers and publishes the traps among their keys.
    pub async fn start(clock: Clock) -> anyhow::Result<Self> {
        let any = "127.0.0.1:0".parse()?;
        let site = Self {
            github: DevIssuer::start(any, clock.clone()).await?,
            gitlab: DevIssuer::start(any, clock.clone()).await?,
            generic: DevIssuer::start(any, clock.clone()).await?,
            stranger: DevIssuer::start(any, clock.clone()).await?,
            clock,
        };
        keys::lay_traps(&site);
        Ok(site)
    }

    /// The `issuers:` block of a `broker.yaml` that trusts them.
    pub fn issuers(&self) -> Value {
        json!({
            "github": {
                "kind": "github-actions", "url": self.github.url(), "audience": AUDIENCE,
                "allow": { "owner-ids": ["1342004"] }, "max-token-age": "10m",
                "required-claims": { "runner_environment": "github-*" },
            },
            "gitlab": {
                "kind": "gitlab", "url": self.gitlab.url(), "audience": AUDIENCE,
                "allow": { "namespace-ids": ["72", "73"] },
            },
            "ci": {
                "kind": "generic", "url": self.generic.url(), "audience": AUDIENCE,
                "allow": { "owner-ids": ["o-9"] },
                "claims": {
                    "repository-id": "ci.example.com/project-id", "owner-id": "/org/id", "ref": "ref", "event": "trigger",
                },
            },
        })
    }

    /// An honest GitHub token's claims, with changes; null takes a claim out.
    fn github_claims(&self, changes: &Value) -> Map<String, Value> {
        changed(
            self.github.claims(Shape::Github, &json!({ "aud": AUDIENCE })).unwrap(),
            changes,
        )
    }

    /// An honest GitLab token's claims, with changes.
    fn gitlab_claims(&self, changes: &Value) -> Map<String, Value> {
        changed(
            self.gitlab.claims(Shape::Gitlab, &json!({ "aud": AUDIENCE })).unwrap(),
            changes,
        )
    }

    /// An honest token's claims of the generic issuer, with changes.
    fn generic_claims(&self, changes: &Value) -> Map<String, Value> {
        let now = self.clock.now().as_second();
        let claims = json!({
            "iss": self.generic.url(), "aud": [AUDIENCE], "sub": "project/p-1", "jti": jti(), "iat": now, "exp": now + 600,
            "ci.example.com/project-id": "p-1", "org": { "id": "o-9" }, "ref": "refs/heads/main", "trigger": "push",
        });
        changed(claims.as_object().unwrap().clone(), changes)
    }

    fn github_header(&self, changes: &Value) -> Value {
        let header = json!({ "typ": "JWT", "alg": "RS256", "kid": self.github.rsa_kid() });
        Value::Object(changed(header.as_object().unwrap().clone(), changes))
    }

    fn github_token(&self, changes: &Value) -> String {
        let claims = Value::Object(self.github_claims(changes));
        self.github.sign(&self.github_header(&json!({})), &claims).unwrap()
    }

    fn gitlab_token(&self, changes: &Value) -> String {
        let header = json!({ "typ": "JWT", "alg": "RS256", "kid": self.gitlab.rsa_kid() });
        self.gitlab
            .sign(&header, &Value::Object(self.gitlab_claims(changes)))
            .unwrap()
    }

    fn generic_token(&self, alg: &str, kid: &str, changes: &Value) -> String {
        let header = json!({ "alg": alg, "kid": kid });
        self.generic
            .sign(&header, &Value::Object(self.generic_claims(changes)))
            .unwrap()
    }
}

/// The table.
pub fn hostile_tokens(site: &Site) -> Vec<Hostile> {
    let mut table = Table(Vec::new());
    shape::add(&mut table, site);
    headers::add(&mut table, site);
    keys::add(&mut table, site);
    claims::add(&mut table, site);
    table.0
}

/// Tokens that must pass: without them, a broker that refuses everything would pass the table.
pub fn honest_tokens(site: &Site) -> Vec<(String, String)> {
    let now = site.clock.now().as_second();
    let mut all = vec![
        (
            "github, minted by the issuer".to_owned(),
            site.github.github(&json!({ "aud": AUDIENCE })).unwrap(),
        ),
        (
            "gitlab, minted by the issuer".to_owned(),
            site.gitlab.gitlab(&json!({ "aud": AUDIENCE })).unwrap(),
        ),
        (
            "generic, RS256".to_owned(),
            site.generic_token("RS256", &site.generic.rsa_kid(), &json!({})),
        ),
        (
            "generic, ES256".to_owned(),
            site.generic_token("ES256", &site.generic.ec_kid(), &json!({})),
        ),
    ];
    for (name, changes) in [
        ("audience as a list of one", json!({ "aud": [AUDIENCE] })),
        ("nbf ten minutes before iat", json!({ "nbf": now - 600 })),
        (
            "issued 30 s in the future",
            json!({ "iat": now + 30, "nbf": now + 30, "exp": now + 330 }),
        ),
        (
            "expired 30 s ago",
            json!({ "iat": now - 330, "nbf": now - 330, "exp": now - 30 }),
        ),
        ("owner id as a number", json!({ "repository_owner_id": 1_342_004 })),
        (
            "required claim as a list",
            json!({ "runner_environment": ["larger", "github-hosted"] }),
        ),
        (
            "a sub of the old form",
            json!({ "sub": "repo:acme/orders:ref:refs/heads/main" }),
        ),
        ("a sub of nobody knows what", json!({ "sub": "*" })),
        (
            "a pull request",
            json!({ "event_name": "pull_request", "ref": "refs/pull/7/merge", "environment": null }),
        ),
        ("no check_run_id, as on GHES", json!({ "check_run_id": null })),
    ] {
        all.push((format!("github, {name}"), site.github_token(&changes)));
    }
    for (name, changes) in [
        ("no job_project_id, as before 18.x", json!({ "job_project_id": null })),
        ("job_project_id as a number", json!({ "job_project_id": 42 })),
        ("lives for a day", json!({ "exp": now + 86_000 })),
        ("half an hour old", json!({ "iat": now - 1800, "nbf": now - 1800 })),
    ] {
        all.push((format!("gitlab, {name}"), site.gitlab_token(&changes)));
    }
    let lower = site.github_header(&json!({ "typ": "jwt" }));
    let untyped = site.github_header(&json!({ "typ": null }));
    for (name, header) in [("typ in lower case", lower), ("no typ", untyped)] {
        let claims = Value::Object(site.github_claims(&json!({})));
        all.push((format!("github, {name}"), site.github.sign(&header, &claims).unwrap()));
    }
    all
}

struct Table(Vec<Hostile>);

impl Table {
    fn add(&mut self, code: &'static str, name: impl Into<String>, token: String) {
        self.0.push(Hostile {
            name: name.into(),
            token,
            code,
        });
    }
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn jti() -> String {
    hoop::base::secret::random_base62(22).unwrap()
}

/// `changes` laid over `map`; null takes a key out.
fn changed(mut map: Map<String, Value>, changes: &Value) -> Map<String, Value> {
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            map.remove(name);
        } else {
            map.insert(name.clone(), value.clone());
        }
    }
    map
}
