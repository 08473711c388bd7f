//! R12 over HTTP: every hostile token against a running broker, tokens that went astray, one token shown many times at
//! once, and the proof that lets a job repeat itself where the CI gives one token per job.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hoop::base::clock::Clock;
use reqwest::header::HeaderValue;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Aim, Canaries, Report, Score};
use crate::House;
use crate::hostile::{AUDIENCE, Hostile, Site, honest_tokens, hostile_tokens};
use crate::house::{Grant, Plan};

/// How many show one token at once.
const RACERS: usize = 200;

/// What HTTP itself has to say about a few of them before anybody looks at the token.
fn over_http<'a>(name: &str, code: &'a str) -> (u16, &'a str) {
    match name {
        // A header's value ends where its white space begins.
        "shape: white space" => (401, "no-id-token"),
        "shape: full-width dots" => (400, "request-malformed"),
        // Longer than all headers together may be: hyper answers by itself.
        "shape: 1 MiB" => (431, ""),
        _ => (401, code),
    }
}

/// A broker that trusts the issuers of the hostile table.
struct Court {
    site: Site,
    house: House,
    canaries: Canaries,
}

/// The whole table once, and `races` races for one token.
pub async fn hostile(races: u64) -> Result<Report> {
    let site = Site::start(Clock::system()).await?;
    let plan = Plan {
        policy: super::policy(),
        extra: super::operator(),
        issuers: Some(site.issuers().to_string()),
        ..Plan::default()
    };
    let mut court = Court {
        house: House::plan(plan).await?,
        site,
        canaries: Canaries::new(),
    };
    let table = court.table().await?;
    let astray = court.astray().await?;
    let race = court.races(races).await?;
    let bind = court.bind().await?;
    let secrets = court.canaries.search(&court.house).await?;
    Ok(Report {
        scores: vec![table, astray, race, bind, secrets],
    })
}

impl Court {
    async fn post(&mut self, token: &str, body: Value) -> Result<(u16, Value)> {
        self.canaries.token(token);
        let (status, answer) = self.house.api("POST", "/v1/grants", Some(token), Some(body)).await?;
        if status == 201 {
            // Every grant of the proof is given back: a scope has only so many.
            let grant = Grant { answer: answer.clone() };
            self.canaries.grant(&grant);
            self.canaries.answer(self.house.revoke(&grant).await?.to_string());
        } else {
            self.canaries.answer(answer.to_string());
        }
        Ok((status, answer))
    }

    async fn alive(&self) -> Result<bool> {
        Ok(self.house.api("GET", "/healthz", None, None).await?.0 == 200)
    }

    async fn table(&mut self) -> Result<Score> {
        let mut score = Score::new("R12", "", Aim::of(120), Aim::of(300));
        let (mut codes, mut unsendable): (BTreeMap<String, u64>, u64) = (BTreeMap::new(), 0);
        for Hostile { name, token, code } in hostile_tokens(&self.site) {
            if HeaderValue::from_str(&format!("Bearer {token}")).is_err() {
                unsendable += 1;
                continue;
            }
            let start = Instant::now();
            let (status, answer) = match self.post(&token, json!({ "scope": "migrate" })).await {
                // The broker may close before it has read everything: then the client sees only that.
                Err(_) if over_http(&name, code).0 == 431 => (431, Value::Null),
                posted => posted?,
            };
            score.took(start.elapsed());
            let said = answer["code"].as_str().unwrap_or_default().to_owned();
            let (wanted, code) = over_http(&name, code);
            let right = status == wanted && said == code;
            score.check(right, || format!("{name}: {status} {said} instead of {wanted} {code}"));
            *codes.entry(said).or_default() += 1;
        }
        let alive = self.alive().await?;
        score.check(alive, || "the broker is not alive after the table".to_owned());
        for (name, token) in honest_tokens(&self.site) {
            let (status, answer) = self.post(&token, json!({ "scope": "migrate" })).await?;
            // A broker that refuses everything would pass the table.
            let right =
                status == 201 || (status == 403 && !answer["code"].as_str().unwrap_or_default().starts_with("token"));
            score.check(right, || format!("honest: {name}: {status} {}", answer["code"]));
            *codes.entry(format!("honest {status}")).or_default() += 1;
        }
        let codes: Vec<String> = codes.iter().map(|(code, count)| format!("{code} {count}")).collect();
        score.what = format!(
            "hostile tokens over HTTP ({}; {unsendable} no header can carry)",
            codes.join(", ")
        );
        Ok(score)
    }

    /// Honest tokens that were meant for something else.
    async fn astray(&mut self) -> Result<Score> {
        let mut score = Score::new(
            "R12",
            "honest tokens gone astray: each refused for its own reason",
            Aim::of(10),
            Aim::of(10),
        );
        let github = |changes: Value| self.site.github.github(&changes).unwrap();
        let aud = AUDIENCE;
        let cases = [
            (
                "another audience",
                github(json!({ "aud": "sts.amazonaws.com" })),
                "migrate",
                401,
                "wrong-audience",
            ),
            (
                "a repository nobody registered",
                github(json!({ "aud": aud, "repository_id": "1" })),
                "migrate",
                403,
                "",
            ),
            (
                "its name registered, its id not",
                github(json!({ "aud": aud, "repository_id": "999", "repository": "acme/orders" })),
                "migrate",
                403,
                "",
            ),
            (
                "another owner",
                github(json!({ "aud": aud, "repository_owner_id": "666" })),
                "migrate",
                401,
                "owner-not-allowed",
            ),
            (
                "another branch",
                github(json!({ "aud": aud, "ref": "refs/heads/feature" })),
                "migrate",
                403,
                "",
            ),
            (
                "a branch that starts like main",
                github(json!({ "aud": aud, "ref": "refs/heads/main2" })),
                "migrate",
                403,
                "",
            ),
            (
                "a tag named main",
                github(json!({ "aud": aud, "ref": "refs/tags/main", "ref_type": "tag" })),
                "migrate",
                403,
                "",
            ),
            (
                "no environment",
                github(json!({ "aud": aud, "environment": null })),
                "migrate",
                403,
                "",
            ),
            (
                "another environment",
                github(json!({ "aud": aud, "environment": "staging" })),
                "migrate",
                403,
                "",
            ),
            (
                "another event",
                github(json!({ "aud": aud, "event_name": "schedule" })),
                "migrate",
                403,
                "",
            ),
            (
                "a pull request",
                github(json!({ "aud": aud, "event_name": "pull_request", "ref": "refs/pull/7/merge" })),
                "migrate",
                403,
                "",
            ),
            (
                "a scope that is not there",
                github(json!({ "aud": aud })),
                "admin",
                403,
                "",
            ),
            (
                "a GitLab token for a GitHub scope",
                self.site.gitlab.gitlab(&json!({ "aud": aud })).unwrap(),
                "read",
                403,
                "",
            ),
            (
                "GitLab's environments have a case",
                self.site
                    .gitlab
                    .gitlab(&json!({ "aud": aud, "environment": "Production" }))
                    .unwrap(),
                "migrate",
                403,
                "",
            ),
            (
                "a GitLab merge request",
                self.site
                    .gitlab
                    .gitlab(&json!({ "aud": aud, "pipeline_source": "merge_request_event" }))
                    .unwrap(),
                "migrate",
                403,
                "",
            ),
        ];
        for (name, token, scope, wanted, code) in cases {
            let (status, answer) = self.post(&token, json!({ "scope": scope })).await?;
            let said = answer["code"].as_str().unwrap_or_default();
            let told = answer["fix"].is_string() && answer["request_id"].is_string();
            let right = status == wanted && (code.is_empty() || said == code) && told;
            score.check(right, || format!("{name}: {answer}"));
        }
        Ok(score)
    }

    /// One token, shown by many at the same moment.
    async fn races(&mut self, races: u64) -> Result<Score> {
        let mut score = Score::new(
            "R12",
            format!("one token shown {RACERS} times at once: one grant"),
            Aim::of(1),
            Aim::of(50),
        );
        for _ in 0..races {
            let token = self.site.github.github(&json!({ "aud": AUDIENCE }))?;
            self.canaries.token(&token);
            let line = Arc::new(tokio::sync::Barrier::new(RACERS));
            let racers = (0..RACERS).map(|_| {
                let (line, house, token) = (line.clone(), &self.house, &token);
                async move {
                    line.wait().await;
                    house
                        .api("POST", "/v1/grants", Some(token), Some(json!({ "scope": "migrate" })))
                        .await
                }
            });
            let start = Instant::now();
            let answers = futures_util::future::join_all(racers).await;
            score.took(start.elapsed());
            let mut counts: BTreeMap<String, usize> = BTreeMap::new();
            for answer in answers {
                let (status, answer) = answer?;
                let code = answer["code"].as_str().unwrap_or_default();
                *counts.entry(format!("{status} {code}").trim().to_owned()).or_default() += 1;
                if status == 201 {
                    self.house.revoke(&Grant { answer }).await?;
                }
            }
            let wanted = BTreeMap::from([("201".to_owned(), 1), ("409 token-reused".to_owned(), RACERS - 1)]);
            score.check(counts == wanted, || format!("{counts:?}"));
        }
        let alive = self.alive().await?;
        score.check(alive, || "the broker is not alive after the races".to_owned());
        Ok(score)
    }

    /// GitLab's one token per job: usable again by whoever holds the key of the first request's proof, and by nobody else.
    async fn bind(&mut self) -> Result<Score> {
        let mut score = Score::new(
            "R12",
            "one GitLab token with and without its proof key",
            Aim::of(6),
            Aim::of(6),
        );
        let keys: Vec<String> = (0..3)
            .map(|_| hoop::base::secret::random_base62(43))
            .collect::<Result<_, _>>()?;
        let proof = |key: &str| URL_SAFE_NO_PAD.encode(Sha256::digest(key.as_bytes()));
        let token = self.site.gitlab.gitlab(&json!({ "aud": AUDIENCE }))?;
        keys.iter().for_each(|key| self.canaries.secret("a proof key", key));
        let first = json!({ "scope": "migrate", "proof": proof(&keys[0]) });
        let steps = [
            ("the first request", first.clone(), 201, ""),
            ("the same request again, without the key", first, 409, ""),
            ("no proof at all", json!({ "scope": "migrate" }), 409, ""),
            (
                "another key",
                json!({ "scope": "migrate", "proof_key": keys[1] }),
                409,
                "replay-proof-mismatch",
            ),
            (
                "the proof in place of the key",
                json!({ "scope": "migrate", "proof_key": proof(&keys[0]) }),
                409,
                "replay-proof-mismatch",
            ),
            ("the key", json!({ "scope": "migrate", "proof_key": keys[0] }), 201, ""),
            (
                "the key once more",
                json!({ "scope": "migrate", "proof_key": keys[0] }),
                201,
                "",
            ),
            (
                "another scope",
                json!({ "scope": "read", "proof_key": keys[0] }),
                403,
                "",
            ),
            (
                "a short key",
                json!({ "scope": "migrate", "proof_key": "short" }),
                400,
                "request-malformed",
            ),
        ];
        for (name, body, wanted, code) in steps {
            let (status, answer) = self.post(&token, body).await?;
            let said = answer["code"].as_str().unwrap_or_default();
            score.check(status == wanted && (code.is_empty() || said == code), || {
                format!("{name}: {status} {answer}")
            });
        }
        let unbound = self.site.gitlab.gitlab(&json!({ "aud": AUDIENCE }))?;
        for (name, body, wanted) in [
            ("a token used without a proof", json!({ "scope": "migrate" }), 201),
            ("and again", json!({ "scope": "migrate" }), 409),
            (
                "and with a key it was never bound to",
                json!({ "scope": "migrate", "proof_key": keys[2] }),
                409,
            ),
        ] {
            let (status, answer) = self.post(&unbound, body).await?;
            score.check(status == wanted, || format!("{name}: {status} {answer}"));
        }
        Ok(score)
    }
}
