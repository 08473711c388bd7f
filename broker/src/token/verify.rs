//! Steps 5 to 13: a token becomes claims, or a refusal with the code of the first step that fails.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::fault::shown;
use super::{Issuer, LEEWAY, TokenFault, Unverified, VerifyingKey};
use crate::claims::{self, Claims, NEVER_EVENTS, Payload, ProviderKind, Source};

/// The longest `jti`.
pub const MAX_JTI_BYTES: usize = 256;

/// A token whose signature, issuer, audience and times hold. It keeps the issuer it was verified against, so that nothing
/// after it can judge it by another one's rules.
#[derive(Debug)]
pub struct Verified<'i> {
    issuer: &'i Issuer,
    payload: Map<String, Value>,
    jti: String,
    issued_at: Timestamp,
    expires_at: Timestamp,
}

/// Steps 3 and 5 to 9. The claims are read as typed JSON here and not by a JWT library: one that treats a claim of the
/// wrong type as absent has been a CVE.
pub fn verify<'i>(
    unverified: Unverified<'_>,
    issuer: &'i Issuer,
    key: &VerifyingKey,
    now: Timestamp,
) -> Result<Verified<'i>, TokenFault> {
    let algorithm = unverified.algorithm(issuer)?;
    if !key.is_for(algorithm) {
        return Err(TokenFault::AlgorithmNotAllowed {
            issuer: issuer.name.clone(),
            alg: format!("{algorithm:?} with key {}", shown(key.kid())),
        });
    }
    if !key.verifies(algorithm, unverified.message, unverified.signature) {
        return Err(TokenFault::BadSignature {
            issuer: issuer.name.clone(),
            kid: shown(key.kid()),
        });
    }
    let payload = unverified.payload;
    match payload.get("iss") {
        Some(Value::String(iss)) if *iss == issuer.url => {}
        _ => return Err(TokenFault::unknown_issuer(unverified.iss.as_str())),
    }
    audience(&payload, &issuer.audience)?;
    let (issued_at, expires_at) = times(&payload, issuer, now)?;
    // `sub` is kept for the audit and never compared, but a token without one is no ID token.
    text(&payload, "sub")?;
    let jti = text(&payload, "jti")?;
    if jti.len() > MAX_JTI_BYTES {
        return Err(malformed("the claim `jti` is longer than 256 bytes"));
    }
    Ok(Verified {
        issuer,
        jti: jti.to_owned(),
        issued_at,
        expires_at,
        payload,
    })
}

impl Verified<'_> {
    /// Steps 10 to 13: the owner, the required claims, the same-project rule, the events that are never accepted.
    pub fn claims(&self) -> Result<Claims, TokenFault> {
        let issuer = self.issuer;
        let source = Source {
            kind: issuer.kind,
            issuer: &issuer.name,
            url: &issuer.url,
            paths: issuer.claims.as_ref(),
            payload: Payload::new(&self.payload),
            jti: &self.jti,
            issued_at: self.issued_at,
            expires_at: self.expires_at,
        };
        let provider = claims::provider(issuer.kind);
        let owner_id = provider.owner_id(&source)?;
        if !issuer.allow_owner_ids.contains(&owner_id) {
            return Err(TokenFault::OwnerNotAllowed {
                issuer: issuer.name.clone(),
                owner_id,
            });
        }
        let claims = provider.claims(&source)?;
        for (path, expected) in &issuer.required_claims {
            let values = source.payload.texts_at(path)?;
            if values.is_empty() {
                return Err(TokenFault::ClaimMissing {
                    claim: path.to_string(),
                });
            }
            if !expected.matches(&values) {
                return Err(TokenFault::ClaimMismatch {
                    claim: path.to_string(),
                    expected: expected.to_string(),
                    actual: shown(&values.join(", ")),
                });
            }
        }
        provider.same_project(&source)?;
        match &claims.event {
            Some(event) if NEVER_EVENTS.contains(&event.as_str()) => {
                Err(TokenFault::EventNotAllowed { event: event.clone() })
            }
            _ => Ok(claims),
        }
    }
}

/// Step 7: one audience and exactly ours. An array of several would be a token somebody else may also be shown.
fn audience(payload: &Map<String, Value>, expected: &str) -> Result<(), TokenFault> {
    let actual = payload.get("aud");
    let one = match actual {
        Some(Value::Array(items)) => match items.as_slice() {
            [one] => one.as_str(),
            _ => None,
        },
        Some(other) => other.as_str(),
        None => None,
    };
    if one == Some(expected) {
        return Ok(());
    }
    Err(TokenFault::WrongAudience {
        expected: expected.to_owned(),
        actual: actual.map_or_else(|| "MISSING".to_owned(), |value| shown(&value.to_string())),
    })
}

/// Step 8: `iat` and `exp`, when everything about the times holds.
fn times(payload: &Map<String, Value>, issuer: &Issuer, now: Timestamp) -> Result<(Timestamp, Timestamp), TokenFault> {
    let missing = |claim: &str| TokenFault::ClaimMissing {
        claim: claim.to_owned(),
    };
    let expires_at = time(payload, "exp")?.ok_or_else(|| missing("exp"))?;
    let issued_at = time(payload, "iat")?.ok_or_else(|| missing("iat"))?;
    // GitHub and GitLab always send it; RFC 7519 lets others leave it out. It may lie before `iat`.
    let not_before = match (time(payload, "nbf")?, issuer.kind) {
        (Some(at), _) => at,
        (None, ProviderKind::Generic) => issued_at,
        (None, ProviderKind::GithubActions | ProviderKind::Gitlab) => return Err(missing("nbf")),
    };
    if now.duration_since(expires_at) >= LEEWAY {
        return Err(TokenFault::Expired { at: expires_at, now });
    }
    for (claim, at) in [("iat", issued_at), ("nbf", not_before)] {
        if at.duration_since(now) > LEEWAY {
            return Err(TokenFault::ClockSkew { claim, at, now });
        }
    }
    let age = now.duration_since(issued_at);
    if age > issuer.max_token_age {
        return Err(TokenFault::TooOld {
            age,
            limit: issuer.max_token_age,
        });
    }
    let lifetime = expires_at.duration_since(issued_at);
    if lifetime > issuer.max_lifetime {
        return Err(TokenFault::LivesTooLong {
            lifetime,
            limit: issuer.max_lifetime,
        });
    }
    if lifetime <= SignedDuration::ZERO {
        return Err(malformed("it expires before it is issued"));
    }
    Ok((issued_at, expires_at))
}

/// A point in time: whole seconds, as a JSON number.
fn time(payload: &Map<String, Value>, claim: &'static str) -> Result<Option<Timestamp>, TokenFault> {
    let Some(value) = payload.get(claim) else {
        return Ok(None);
    };
    let seconds = value.as_i64().and_then(|seconds| Timestamp::from_second(seconds).ok());
    seconds
        .map(Some)
        .ok_or_else(|| malformed_claim(claim, "not a whole number of seconds"))
}

/// A claim that must be a text and say something.
fn text<'p>(payload: &'p Map<String, Value>, claim: &'static str) -> Result<&'p str, TokenFault> {
    match payload.get(claim) {
        None => Err(TokenFault::ClaimMissing {
            claim: claim.to_owned(),
        }),
        Some(Value::String(text)) if text.is_empty() => Err(TokenFault::ClaimMissing {
            claim: claim.to_owned(),
        }),
        Some(Value::String(text)) if text.chars().any(char::is_control) => {
            Err(malformed_claim(claim, "a text with control characters"))
        }
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(malformed_claim(claim, "not a text")),
    }
}

fn malformed(why: &'static str) -> TokenFault {
    TokenFault::Malformed { why: why.into() }
}

fn malformed_claim(claim: &str, found: &str) -> TokenFault {
    TokenFault::Malformed {
        why: format!("the claim `{claim}` is {found}").into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::config::IssuerConfig;
    use super::*;
    use crate::base::fault::Fault;

    const NOW: i64 = 1_795_000_000;

    fn issuer(kind: &str) -> Issuer {
        let mut entry = json!({
            "kind": kind, "url": "https://ci.example.com", "audience": "db", "allow": { "owner-ids": ["1"] },
            "max-token-age": "10m", "max-lifetime": "15m",
        });
        if kind == "generic" {
            entry["claims"] = json!({ "repository-id": "r", "owner-id": "o" });
        }
        serde_json::from_value::<IssuerConfig>(entry)
            .unwrap()
            .build("ci")
            .unwrap()
    }

    fn judged(kind: &str, exp: i64, iat: i64, nbf: Option<i64>) -> &'static str {
        let mut payload = json!({ "exp": NOW + exp, "iat": NOW + iat });
        if let Some(nbf) = nbf {
            payload["nbf"] = json!(NOW + nbf);
        }
        let now = Timestamp::from_second(NOW).unwrap();
        times(payload.as_object().unwrap(), &issuer(kind), now).map_or_else(|fault| fault.code(), |_| "ok")
    }

    #[test]
    fn times_hold_to_the_second() {
        let github = |exp, iat, nbf| judged("github-actions", exp, iat, Some(nbf));
        for (exp, iat, nbf, expected) in [
            (300, 0, -600, "ok"),
            (-59, -359, -359, "ok"),
            (-60, -360, -360, "token-expired"),
            (360, 60, 60, "ok"),
            (361, 61, 0, "clock-skew"),
            (300, 0, 60, "ok"),
            (300, 0, 61, "clock-skew"),
            (300, -600, -600, "ok"),
            (299, -601, -601, "token-too-old"),
            (900, 0, 0, "ok"),
            (901, 0, 0, "token-too-old"),
            (0, 0, 0, "token-malformed"),
            (1, 0, 0, "ok"),
        ] {
            assert_eq!(github(exp, iat, nbf), expected, "exp {exp}, iat {iat}, nbf {nbf}");
        }
    }

    #[test]
    fn only_a_generic_issuer_may_leave_nbf_out() {
        assert_eq!(judged("github-actions", 300, 0, None), "claim-missing");
        assert_eq!(judged("gitlab", 300, 0, None), "claim-missing");
        assert_eq!(judged("generic", 300, 0, None), "ok");
        assert_eq!(judged("generic", 300, 0, Some(61)), "clock-skew");
    }

    #[test]
    fn one_audience_and_exactly_that() {
        let accepted = |aud: &Value| audience(json!({ "aud": aud }).as_object().unwrap(), "db").is_ok();
        assert!(accepted(&json!("db")) && accepted(&json!(["db"])));
        for aud in [
            json!("DB"),
            json!("db "),
            json!("d"),
            json!(["db", "db"]),
            json!([]),
            json!([["db"]]),
            json!(null),
            json!(1),
        ] {
            assert!(!accepted(&aud), "{aud}");
        }
        let missing = audience(&Map::new(), "db").unwrap_err();
        assert_eq!(missing.actual().as_deref(), Some("MISSING"));
    }
}
