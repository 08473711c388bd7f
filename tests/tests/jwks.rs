//! The key caches against an issuer that rotates, goes away, lies and is hammered.

use std::sync::Arc;
use std::time::Duration;

use hoop::base::clock::Clock;
use hoop::base::fault::Fault;
use hoop::demo::issuer::{DevIssuer, Mode};
use hoop::issuer::Verifier;
use hoop::token::Issuer;
use hoop::token::config::IssuerConfig;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

const AUDIENCE: &str = "https://db-broker.example.com";

struct Stage {
    issuer: DevIssuer,
    verifier: Arc<Verifier>,
    clock: Clock,
}

impl Stage {
    async fn set(extra: Value) -> Self {
        let clock = Clock::manual(Timestamp::from_second(1_795_000_000).unwrap());
        let issuer = DevIssuer::start("127.0.0.1:0".parse().unwrap(), clock.clone())
            .await
            .unwrap();
        let verifier = Arc::new(Verifier::new(vec![configured(issuer.url(), &extra)], clock.clone()).unwrap());
        Self {
            issuer,
            verifier,
            clock,
        }
    }

    /// What becomes of a fresh honest token now: `ok` or the code.
    async fn show(&self) -> &'static str {
        self.show_text(&self.token()).await
    }

    async fn show_text(&self, token: &str) -> &'static str {
        self.verifier
            .verify(token, self.clock.now())
            .await
            .map_or_else(|fault| fault.code(), |_| "ok")
    }

    /// The same with a `kid` nobody has.
    async fn show_unknown_kid(&self) -> &'static str {
        self.show_text(&self.with_kid("invented")).await
    }

    fn token(&self) -> String {
        self.issuer.github(&json!({ "aud": AUDIENCE })).unwrap()
    }

    fn with_kid(&self, kid: &str) -> String {
        let claims = self
            .issuer
            .claims(hoop::demo::issuer::Shape::Github, &json!({ "aud": AUDIENCE }))
            .unwrap();
        self.issuer
            .sign(&json!({ "alg": "RS256", "kid": kid }), &Value::Object(claims))
            .unwrap()
    }

    fn wait(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
    }

    /// How often the issuer was asked for its keys.
    fn asked(&self) -> u64 {
        self.issuer.key_fetches()
    }
}

fn configured(url: &str, extra: &Value) -> Issuer {
    let mut config = json!({
        "kind": "github-actions", "url": url, "audience": AUDIENCE, "allow": { "owner-ids": ["1342004"] },
    });
    for (name, value) in extra.as_object().unwrap() {
        config[name] = value.clone();
    }
    serde_json::from_value::<IssuerConfig>(config)
        .unwrap()
        .build("github")
        .unwrap()
}

#[tokio::test]
async fn keys_are_fetched_once_an_hour() {
    let stage = Stage::set(json!({})).await;
    for _ in 0..5 {
        assert_eq!(stage.show().await, "ok");
    }
    assert_eq!((stage.issuer.discoveries(), stage.asked()), (1, 1));
    stage.wait(3599);
    assert_eq!((stage.show().await, stage.asked()), ("ok", 1));
    stage.wait(1);
    assert_eq!((stage.show().await, stage.asked()), ("ok", 2));
    assert_eq!(stage.verifier.keys().fetches("github"), 2);
}

#[tokio::test]
async fn a_rotated_key_is_found_and_a_withdrawn_one_forgotten() {
    let stage = Stage::set(json!({})).await;
    let old = stage.token();
    assert_eq!(stage.show_text(&old).await, "ok");
    stage.issuer.rotate().unwrap();
    assert_eq!(stage.show().await, "unknown-key", "asked less than a minute ago");
    stage.wait(60);
    assert_eq!((stage.show().await, stage.asked()), ("ok", 2));
    assert_eq!(stage.show_text(&old).await, "unknown-key", "withdrawn by the issuer");
}

#[tokio::test]
async fn invented_kids_cost_the_issuer_one_look_a_minute() {
    let stage = Stage::set(json!({})).await;
    assert_eq!(stage.show().await, "ok");
    for minute in 0..5 {
        for round in 0..50 {
            assert_eq!(stage.show_unknown_kid().await, "unknown-key");
            assert_eq!(stage.show().await, "ok", "honest tokens are served meanwhile");
            assert!(stage.asked() <= 1 + minute, "round {round} of minute {minute}");
        }
        stage.wait(60);
    }
    assert_eq!(stage.asked(), 5);
}

#[tokio::test]
async fn an_outage_is_survived_for_a_day_with_known_keys_only() {
    let stage = Stage::set(json!({})).await;
    assert_eq!(stage.show().await, "ok");
    stage.issuer.set_mode(Mode::Outage).unwrap();
    stage.wait(7200);
    assert_eq!(stage.show().await, "ok", "stale, but known");
    assert_eq!(stage.show_unknown_kid().await, "issuer-unavailable", "it might be new");
    stage.wait(79_100);
    assert_eq!(stage.show().await, "ok", "just under 24 hours");
    stage.wait(100);
    assert_eq!(stage.show().await, "issuer-unavailable", "24 hours old");
    stage.issuer.set_mode(Mode::Healthy).unwrap();
    stage.wait(60);
    assert_eq!(stage.show().await, "ok");
}

#[tokio::test]
async fn an_outage_at_the_start_ends_ten_seconds_after_the_issuer_is_back() {
    let stage = Stage::set(json!({})).await;
    stage.issuer.set_mode(Mode::Outage).unwrap();
    for _ in 0..20 {
        assert_eq!(stage.show().await, "issuer-unavailable");
    }
    assert_eq!(stage.issuer.discoveries(), 1, "refusals do not ask again");
    stage.issuer.set_mode(Mode::Healthy).unwrap();
    assert_eq!(stage.show().await, "issuer-unavailable");
    stage.wait(10);
    assert_eq!(stage.show().await, "ok");
}

#[tokio::test]
async fn a_hundred_callers_share_one_look() {
    let stage = Stage::set(json!({})).await;
    stage.issuer.set_mode(Mode::Slow(Duration::from_millis(200))).unwrap();
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let (verifier, token, now) = (Arc::clone(&stage.verifier), stage.token(), stage.clock.now());
            tokio::spawn(async move { verifier.verify(&token, now).await.map(drop) })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Ok(()));
    }
    assert_eq!((stage.issuer.discoveries(), stage.asked()), (1, 1));
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_spoil_the_look_for_others() {
    let stage = Stage::set(json!({})).await;
    stage.issuer.set_mode(Mode::Slow(Duration::from_secs(1))).unwrap();
    let impatient = tokio::time::timeout(Duration::from_millis(50), stage.show()).await;
    assert!(impatient.is_err());
    assert_eq!(stage.show().await, "ok");
    assert_eq!(stage.asked(), 1);
}

#[tokio::test]
async fn an_issuer_that_hangs_is_given_up() {
    let stage = Stage::set(json!({})).await;
    stage.issuer.set_mode(Mode::Slow(Duration::from_secs(60))).unwrap();
    assert_eq!(stage.show().await, "issuer-unavailable");
}

#[tokio::test]
async fn what_an_issuer_must_not_do_makes_it_unavailable() {
    for mode in [
        Mode::Redirect,
        Mode::Oversized,
        Mode::Garbage,
        Mode::OtherIssuer,
        Mode::ForeignKeys,
        Mode::Outage,
    ] {
        let stage = Stage::set(json!({})).await;
        stage.issuer.set_mode(mode).unwrap();
        assert_eq!(stage.show().await, "issuer-unavailable", "{mode:?}");
        stage.issuer.set_mode(Mode::Healthy).unwrap();
        stage.wait(10);
        assert_eq!(stage.show().await, "ok", "after {mode:?}");
        // The same while keys are known: they go on being used, and are not replaced by the nonsense.
        stage.issuer.set_mode(mode).unwrap();
        stage.wait(3600);
        assert_eq!(stage.show().await, "ok", "{mode:?} with known keys");
    }
}

#[tokio::test]
async fn forged_keys_under_the_right_names_verify_nothing() {
    let stage = Stage::set(json!({})).await;
    stage.issuer.set_mode(Mode::WrongKeys).unwrap();
    assert_eq!(stage.show().await, "bad-signature");
}

#[tokio::test]
async fn bad_entries_do_not_spoil_the_set() {
    let stage = Stage::set(json!({})).await;
    stage.issuer.set_mode(Mode::BadKeyInSet).unwrap();
    assert_eq!(stage.show().await, "ok");
}

#[tokio::test]
async fn keys_from_a_file_need_no_issuer_and_are_read_again() {
    let stage = Stage::set(json!({})).await;
    let path = std::env::temp_dir().join(format!("jwks-{}-{}.json", std::process::id(), stage.issuer.rsa_kid()));
    std::fs::write(&path, stage.issuer.jwks().to_string()).unwrap();
    let extra = json!({ "jwks": format!("file:{}", path.display()) });
    let verifier = Verifier::new(vec![configured(stage.issuer.url(), &extra)], stage.clock.clone()).unwrap();
    let stage = Stage {
        verifier: Arc::new(verifier),
        ..stage
    };
    assert_eq!(stage.show().await, "ok");
    stage.issuer.rotate().unwrap();
    std::fs::write(&path, stage.issuer.jwks().to_string()).unwrap();
    stage.wait(60);
    assert_eq!(stage.show().await, "ok");
    std::fs::remove_file(&path).unwrap();
    stage.wait(3600);
    assert_eq!(stage.show().await, "ok", "known keys outlive the file");
    assert_eq!((stage.issuer.discoveries(), stage.asked()), (0, 0));
}

#[tokio::test]
async fn a_declared_key_address_is_used_without_discovery() {
    let host = DevIssuer::start("127.0.0.1:0".parse().unwrap(), Clock::system())
        .await
        .unwrap();
    let stage = Stage::set(json!({ "jwks-url": format!("{}/.well-known/jwks", host.url()) })).await;
    assert_eq!(stage.show().await, "unknown-key", "that host has other keys");
    assert_eq!((host.discoveries(), host.key_fetches(), stage.asked()), (0, 1, 0));
}

#[tokio::test]
async fn a_clock_set_back_does_not_keep_keys_for_ever() {
    let stage = Stage::set(json!({})).await;
    assert_eq!(stage.show().await, "ok");
    stage.wait(-200_000);
    stage.issuer.rotate().unwrap();
    assert_eq!((stage.show().await, stage.asked()), ("ok", 2));
}
