//! Why a token is refused: one code per step of the check list.
//!
//! Until the signature is verified anybody could have written the token, so those refusals say no more than which step
//! refused. After it, the caller has shown who he is, and the refusal shows what was expected and what came.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};

use super::Issuer;
use crate::base::fault::{Fault, Kind};
use crate::claims::ClaimFault;

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// There is no token.
    #[error("the request carries no ID token")]
    NoIdToken,
    /// Step 1, and claims of the wrong type later on.
    #[error("malformed ID token: {why}")]
    Malformed {
        /// What is wrong, without anything the token says.
        why: Cow<'static, str>,
    },
    /// Step 2, and step 6.
    #[error("no configured issuer has exactly the URL `{iss}`")]
    UnknownIssuer {
        /// What the token claims, made safe for a log line.
        iss: String,
    },
    /// Step 3.
    #[error("algorithm `{alg}` is not accepted from issuer {issuer}")]
    AlgorithmNotAllowed {
        /// The operator's name for the issuer.
        issuer: String,
        /// What the token claims, made safe for a log line.
        alg: String,
    },
    /// Step 4: the issuer is reachable and has no such key.
    #[error("issuer {issuer} has no usable key `{kid}`")]
    UnknownKey {
        /// The operator's name for the issuer.
        issuer: String,
        /// What the token claims, made safe for a log line.
        kid: String,
    },
    /// Step 4: the issuer's keys cannot be had.
    #[error("the keys of issuer {issuer} cannot be had: {why}")]
    IssuerUnavailable {
        /// The operator's name for the issuer.
        issuer: String,
        /// What went wrong, for the operator.
        why: String,
    },
    /// Step 5.
    #[error("the signature does not verify with key `{kid}` of issuer {issuer}")]
    BadSignature {
        /// The operator's name for the issuer.
        issuer: String,
        /// The key.
        kid: String,
    },
    /// Step 7.
    #[error("the audience is {actual}, not exactly `{expected}`")]
    WrongAudience {
        /// What the operator configured.
        expected: String,
        /// What the token says, as JSON.
        actual: String,
    },
    /// Step 8: `exp` is past.
    #[error("the token expired at {at}; it is {now}")]
    Expired {
        /// `exp`.
        at: Timestamp,
        /// The broker's clock.
        now: Timestamp,
    },
    /// Step 8: `iat` or `nbf` lies in the future.
    #[error("`{claim}` is {at}, later than the broker's clock {now} by more than the leeway")]
    ClockSkew {
        /// Which of them.
        claim: &'static str,
        /// Its value.
        at: Timestamp,
        /// The broker's clock.
        now: Timestamp,
    },
    /// Step 8: issued too long ago.
    #[error("the token was issued {age:#} ago; max-token-age is {limit:#}")]
    TooOld {
        /// `now - iat`.
        age: SignedDuration,
        /// The issuer's `max-token-age`.
        limit: SignedDuration,
    },
    /// Step 8: made to live too long.
    #[error("the token lives {lifetime:#}; max-lifetime is {limit:#}")]
    LivesTooLong {
        /// `exp - iat`.
        lifetime: SignedDuration,
        /// The issuer's `max-lifetime`.
        limit: SignedDuration,
    },
    /// Steps 8, 9 and 11: a claim that must be there is not.
    #[error("the claim `{claim}` is missing")]
    ClaimMissing {
        /// Its name.
        claim: String,
    },
    /// Step 11: a claim the operator requires has another value.
    #[error("the claim `{claim}` is `{actual}`; the operator requires {expected}")]
    ClaimMismatch {
        /// Its name.
        claim: String,
        /// What would be accepted.
        expected: String,
        /// What the token says.
        actual: String,
    },
    /// Step 10.
    #[error("owner {owner_id} is not on the allow-list of issuer {issuer}")]
    OwnerNotAllowed {
        /// The operator's name for the issuer.
        issuer: String,
        /// The token's owner.
        owner_id: String,
    },
    /// Step 12.
    #[error("the job runs in project {job_project} with the code of project {project}")]
    ForkNotAllowed {
        /// The project whose code runs.
        project: String,
        /// The project the job runs in.
        job_project: String,
    },
    /// Step 13.
    #[error("event `{event}` is never accepted")]
    EventNotAllowed {
        /// The event.
        event: String,
    },
}

impl TokenFault {
    pub(super) fn algorithm_not_allowed(issuer: &Issuer, alg: &str) -> Self {
        Self::AlgorithmNotAllowed {
            issuer: issuer.name.clone(),
            alg: shown(alg),
        }
    }

    /// No configured issuer has this URL.
    pub fn unknown_issuer(iss: &str) -> Self {
        Self::UnknownIssuer { iss: shown(iss) }
    }

    /// The issuer has no such key.
    pub fn unknown_key(issuer: &str, kid: &str) -> Self {
        Self::UnknownKey {
            issuer: issuer.to_owned(),
            kid: shown(kid),
        }
    }

    /// What would have been accepted, where the caller may know it.
    pub fn expected(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::WrongAudience { expected, .. } | Self::ClaimMismatch { expected, .. } => Some(expected.into()),
            Self::TooOld { limit, .. } => Some(format!("issued at most {limit:#} ago").into()),
            Self::LivesTooLong { limit, .. } => Some(format!("a lifetime of at most {limit:#}").into()),
            Self::ForkNotAllowed { job_project, .. } => Some(format!("project_id {job_project}").into()),
            _ => None,
        }
    }

    /// What the token says instead, where the caller may know it.
    pub fn actual(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::WrongAudience { actual, .. } | Self::ClaimMismatch { actual, .. } => Some(actual.into()),
            Self::ClaimMissing { .. } => Some("MISSING".into()),
            Self::Expired { at, .. } | Self::ClockSkew { at, .. } => Some(at.to_string().into()),
            Self::TooOld { age, .. } => Some(format!("{age:#}").into()),
            Self::LivesTooLong { lifetime, .. } => Some(format!("{lifetime:#}").into()),
            Self::OwnerNotAllowed { owner_id, .. } => Some(owner_id.into()),
            Self::ForkNotAllowed { project, .. } => Some(format!("project_id {project}").into()),
            Self::EventNotAllowed { event } => Some(event.into()),
            _ => None,
        }
    }
}

impl Fault for TokenFault {
    fn kind(&self) -> Kind {
        match self {
            Self::NoIdToken | Self::Malformed { .. } => Kind::Client,
            Self::IssuerUnavailable { .. } => Kind::Issuer,
            _ => Kind::Denied,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NoIdToken => "no-id-token",
            Self::Malformed { .. } => "token-malformed",
            Self::UnknownIssuer { .. } => "unknown-issuer",
            Self::AlgorithmNotAllowed { .. } => "algorithm-not-allowed",
            Self::UnknownKey { .. } => "unknown-key",
            Self::IssuerUnavailable { .. } => "issuer-unavailable",
            Self::BadSignature { .. } => "bad-signature",
            Self::WrongAudience { .. } => "wrong-audience",
            Self::Expired { .. } => "token-expired",
            Self::ClockSkew { .. } => "clock-skew",
            Self::TooOld { .. } | Self::LivesTooLong { .. } => "token-too-old",
            Self::ClaimMissing { .. } | Self::ClaimMismatch { .. } => "claim-missing",
            Self::OwnerNotAllowed { .. } => "owner-not-allowed",
            Self::ForkNotAllowed { .. } => "fork-not-allowed",
            Self::EventNotAllowed { .. } => "event-not-allowed",
        }
    }

    fn public(&self) -> Cow<'_, str> {
        match self {
            // Before the signature: which step, no more.
            Self::UnknownIssuer { .. } => "the ID token's issuer is not one of this broker's".into(),
            Self::AlgorithmNotAllowed { .. } => "the ID token's algorithm is not accepted from its issuer".into(),
            Self::UnknownKey { .. } => "the ID token's issuer has no key with the token's `kid`".into(),
            Self::IssuerUnavailable { .. } => "the ID token's issuer cannot be reached to verify it".into(),
            Self::BadSignature { .. } => "the ID token's signature does not verify".into(),
            // After it: what the caller sent and what was expected. The allow-list itself stays with the operator.
            Self::OwnerNotAllowed { owner_id, .. } => {
                format!("owner {owner_id} is not on the operator's allow-list").into()
            }
            other => other.to_string().into(),
        }
    }

    fn fix(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::NoIdToken => {
                "send the job's ID token; on GitHub the job needs `permissions: id-token: write`, on GitLab `id_tokens:`".into()
            }
            Self::Malformed { .. } => "send the ID token exactly as the CI issued it".into(),
            Self::UnknownIssuer { .. } => {
                "GET /.well-known/hoop-db-access lists the issuers; the operator adds one under `issuers:` in broker.yaml".into()
            }
            Self::AlgorithmNotAllowed { .. } => "the operator lists accepted ones under `algorithms:` of the issuer".into(),
            Self::UnknownKey { .. } => "ask the CI for a fresh token; if its keys have just been rotated, retry in a minute".into(),
            Self::IssuerUnavailable { .. } => "retry shortly; the operator finds the cause in the broker's log".into(),
            Self::BadSignature { .. } => "ask the CI for a fresh token and send it unchanged".into(),
            Self::WrongAudience { expected, .. } => format!("ask the CI for a token with the audience `{expected}`").into(),
            Self::Expired { .. } | Self::TooOld { .. } => "ask the CI for a fresh token right before the request".into(),
            Self::ClockSkew { .. } => "compare the clocks of the broker and of the issuer".into(),
            Self::LivesTooLong { .. } => {
                "shorten the token's lifetime (GitLab: the job's timeout), or ask the operator to raise `max-lifetime`".into()
            }
            Self::ClaimMissing { claim } => format!("the issuer must send `{claim}`; `hoop-db whoami` prints what it sends").into(),
            Self::ClaimMismatch { claim, .. } => {
                format!("the operator requires `{claim}` under `required-claims:` of the issuer in broker.yaml").into()
            }
            Self::OwnerNotAllowed { owner_id, .. } => {
                format!("ask the operator to add \"{owner_id}\" to `allow:` of the issuer in broker.yaml").into()
            }
            Self::ForkNotAllowed { .. } => "run the job in the project its code comes from".into(),
            Self::EventNotAllowed { .. } => {
                "people without write access can cause this event; use push, schedule or workflow_dispatch".into()
            }
        })
    }
}

impl From<ClaimFault> for TokenFault {
    fn from(fault: ClaimFault) -> Self {
        match fault {
            ClaimFault::Missing { claim } => Self::ClaimMissing { claim },
            ClaimFault::WrongType { claim, found } => Self::Malformed {
                why: format!("the claim `{claim}` is {found}").into(),
            },
            ClaimFault::Fork { project, job_project } => Self::ForkNotAllowed { project, job_project },
        }
    }
}

/// What an unproven token says, for a log line: short and without anything that could break the line.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(120).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unproven_text_is_never_public_and_never_breaks_a_line() {
        let faults = [
            TokenFault::unknown_issuer("https://evil\n.example"),
            TokenFault::unknown_key("github", "evil\u{1b}[31m"),
        ];
        for fault in faults {
            assert!(!fault.public().contains("evil"), "{}", fault.public());
            assert!(!fault.to_string().contains(['\n', '\u{1b}']), "{fault}");
            assert_eq!((fault.expected(), fault.actual()), (None, None));
        }
        assert!(shown(&"x".repeat(5000)).len() <= 120);
    }

    #[test]
    fn a_proven_caller_is_told_what_was_expected() {
        let fault = TokenFault::WrongAudience {
            expected: "https://db.example.com".into(),
            actual: "\"api://x\"".into(),
        };
        assert_eq!(fault.expected().as_deref(), Some("https://db.example.com"));
        assert!(fault.public().contains("api://x"));
        assert!(fault.fix().unwrap().contains("https://db.example.com"));
    }
}
