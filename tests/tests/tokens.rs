//! R12, in process: every hostile token is refused with its own code, every honest one passes.

use std::collections::{BTreeMap, HashSet};

use hoop::base::clock::Clock;
use hoop::base::fault::Fault;
use hoop::issuer::Verifier;
use hoop::token::config::IssuerConfig;
use hoop::token::{Issuer, KeySet, RawToken, Replay, Unverified, verify};
use jiff::Timestamp;
use tests::hostile::{Site, honest_tokens, hostile_tokens};

fn clock() -> Clock {
    Clock::manual(Timestamp::from_second(1_795_000_000).unwrap())
}

fn issuers(site: &Site) -> Vec<Issuer> {
    let configs: BTreeMap<String, IssuerConfig> = serde_json::from_value(site.issuers()).unwrap();
    configs
        .into_iter()
        .map(|(name, config)| config.build(&name).unwrap())
        .collect()
}

#[tokio::test]
async fn every_hostile_token_is_refused_with_its_own_code() {
    let site = Site::start(clock()).await.unwrap();
    let verifier = Verifier::new(issuers(&site), site.clock.clone()).unwrap();
    let table = hostile_tokens(&site);
    let mut wrong = Vec::new();
    let mut codes: BTreeMap<&str, usize> = BTreeMap::new();
    for hostile in &table {
        let actual = match verifier.verify(&hostile.token, site.clock.now()).await {
            Ok(_) => "ACCEPTED",
            Err(fault) => {
                let said = format!("{fault} {fault:?} {} {:?}", fault.public(), fault.fix());
                let secret = hostile.token.rsplit('.').next().filter(|part| part.len() > 40);
                assert!(
                    secret.is_none_or(|part| !said.contains(part)),
                    "{}: the token is echoed",
                    hostile.name
                );
                fault.code()
            }
        };
        *codes.entry(actual).or_default() += 1;
        if actual != hostile.code {
            wrong.push(format!("{}: expected {}, got {actual}", hostile.name, hostile.code));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        table.len(),
        wrong.join("\n")
    );
    assert!(table.len() >= 300, "only {} hostile tokens", table.len());
    let names: HashSet<&str> = table.iter().map(|hostile| hostile.name.as_str()).collect();
    assert_eq!(names.len(), table.len(), "two hostile tokens share a name");
    assert_eq!(
        codes.len(),
        14,
        "every code of the check list but issuer-unavailable: {codes:?}"
    );
    println!("{} hostile tokens refused: {codes:?}", table.len());
}

#[tokio::test]
async fn every_honest_token_passes() {
    let site = Site::start(clock()).await.unwrap();
    let verifier = Verifier::new(issuers(&site), site.clock.clone()).unwrap();
    for (name, token) in honest_tokens(&site) {
        let result = verifier.verify(&token, site.clock.now()).await;
        assert!(result.is_ok(), "{name}: {:?}", result.err());
    }
}

#[tokio::test]
async fn claims_come_out_in_one_shape() {
    let site = Site::start(clock()).await.unwrap();
    let verifier = Verifier::new(issuers(&site), site.clock.clone()).unwrap();
    let honest: BTreeMap<String, String> = honest_tokens(&site).into_iter().collect();
    let now = site.clock.now();
    let (github, issuer) = verifier
        .verify(&honest["github, minted by the issuer"], now)
        .await
        .unwrap();
    assert_eq!((issuer.name.as_str(), issuer.replay), ("github", Replay::Once));
    assert_eq!(
        (github.issuer.as_str(), github.repository_id.as_str()),
        ("github", "260064828")
    );
    assert_eq!(github.workflow.as_deref(), Some(".github/workflows/migrate.yml"));
    assert_eq!(github.git_ref.as_deref(), Some("refs/heads/main"));
    assert_eq!(github.environment.as_deref(), Some("production"));
    assert_eq!(github.job_id.as_deref(), Some("55012345678"));
    assert_eq!(github.issued_at, now);
    let (gitlab, issuer) = verifier
        .verify(&honest["gitlab, minted by the issuer"], now)
        .await
        .unwrap();
    assert_eq!((issuer.name.as_str(), issuer.replay), ("gitlab", Replay::Bind));
    assert_eq!((gitlab.repository_id.as_str(), gitlab.owner_id.as_str()), ("42", "72"));
    assert_eq!(gitlab.config.as_deref(), Some(".gitlab-ci.yml"));
    assert_eq!(gitlab.git_ref.as_deref(), Some("refs/heads/main"));
    let (generic, _) = verifier.verify(&honest["generic, ES256"], now).await.unwrap();
    assert_eq!(
        (generic.repository_id.as_str(), generic.owner_id.as_str()),
        ("p-1", "o-9")
    );
    assert_eq!(generic.raw["sub"], "project/p-1");
}

#[tokio::test]
async fn an_unknown_issuer_is_refused_without_any_network_call() {
    let site = Site::start(clock()).await.unwrap();
    let verifier = Verifier::new(issuers(&site), site.clock.clone()).unwrap();
    let token = site.stranger.github(&serde_json::json!({})).unwrap();
    let fault = verifier.verify(&token, site.clock.now()).await.unwrap_err();
    assert_eq!(fault.code(), "unknown-issuer");
    for issuer in [&site.stranger, &site.github, &site.gitlab, &site.generic] {
        assert_eq!((issuer.discoveries(), issuer.key_fetches()), (0, 0));
    }
}

#[tokio::test]
async fn a_token_shown_against_another_issuers_rules_is_refused_though_the_key_fits() {
    let site = Site::start(clock()).await.unwrap();
    let token = site
        .github
        .github(&serde_json::json!({ "aud": tests::hostile::AUDIENCE }))
        .unwrap();
    let keys = KeySet::read(site.github.jwks().to_string().as_bytes()).unwrap();
    let key = keys.get(&site.github.rsa_kid()).unwrap();
    for issuer in issuers(&site) {
        let unverified = Unverified::read(RawToken::new(&token).unwrap()).unwrap();
        let code = verify(unverified, &issuer, key, site.clock.now()).map_or_else(|fault| fault.code(), |_| "ok");
        assert_eq!(
            code,
            if issuer.name == "github" {
                "ok"
            } else {
                "unknown-issuer"
            },
            "{}",
            issuer.name
        );
    }
}
