//! What a request carries, read with bounds: bearer tokens, idempotency keys and small JSON bodies.

use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::base::secret::Secret;
use crate::grant::{Nature, Problem};
use crate::store::Digest;

/// No request of this API is longer.
const MAX_BODY: usize = 16 * 1024;
/// A body that takes longer is a body that is never meant to end.
const BODY_TIME: Duration = Duration::from_secs(10);
/// 128 random bits are 22 characters of base64url.
pub const MIN_KEY: usize = 22;
/// Longer keys add nothing.
pub const MAX_KEY: usize = 256;

/// The token after `Authorization: Bearer`.
#[derive(Debug)]
pub struct Bearer(pub Secret);

impl<S: Sync> FromRequestParts<S> for Bearer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let none = || {
            Problem::new(
                Nature::Unauthenticated,
                "no-id-token",
                "the request has no `Authorization: Bearer` token",
            )
            .fix(
                "send the job's ID token (GitHub: `permissions: { id-token: write }`, GitLab: `id_tokens:`), \
                 or the revoke token for the routes of a grant",
            )
        };
        let header = single(&parts.headers, AUTHORIZATION.as_str())?.ok_or_else(none)?;
        let (scheme, token) = header.split_once(' ').ok_or_else(none)?;
        if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
            return Err(none());
        }
        Ok(Self(Secret::new(token.to_owned())))
    }
}

/// The digest of the `Idempotency-Key`, when there is one.
#[derive(Debug)]
pub struct IdempotencyKey(pub Option<Digest>);

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(key) = single(&parts.headers, "idempotency-key")? else {
            return Ok(Self(None));
        };
        if !(MIN_KEY..=MAX_KEY).contains(&key.len()) {
            return Err(malformed("the Idempotency-Key must be 22 to 256 characters")
                .fix("send at least 128 random bits, such as 16 bytes from /dev/urandom in base64url"));
        }
        Ok(Self(Some(Digest::of(key.as_bytes()))))
    }
}

/// A header that stands at most once: two of them are read differently by different hops.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Problem> {
    let mut all = headers.get_all(name).iter();
    let Some(first) = all.next() else {
        return Ok(None);
    };
    if all.next().is_some() {
        return Err(malformed(format!("the header {name} stands twice")));
    }
    let text = first
        .to_str()
        .map_err(|_| malformed(format!("the header {name} is not plain text")))?;
    Ok(Some(text))
}

/// A small JSON body with no key the API does not know.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let kind = single(request.headers(), CONTENT_TYPE.as_str())?.unwrap_or("");
        let essence = kind.split(';').next().unwrap_or("").trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            return Err(Problem::new(
                Nature::Malformed,
                "request-not-json",
                "the body must be application/json",
            )
            .fix("send `Content-Type: application/json`"));
        }
        let read = axum::body::to_bytes(request.into_body(), MAX_BODY);
        let bytes = tokio::time::timeout(BODY_TIME, read)
            .await
            .map_err(|_| Problem::new(Nature::Malformed, "request-too-slow", "the body did not arrive in time"))?
            .map_err(|_| {
                Problem::new(
                    Nature::Malformed,
                    "request-too-large",
                    "the body is cut short or longer than 16 KiB",
                )
            })?;
        // The position is told, the text is not: a body can hold a proof key.
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            let what = match error.classify() {
                serde_json::error::Category::Data => "a key is missing, unknown or of the wrong type",
                _ => "it is not JSON",
            };
            malformed(format!(
                "the body cannot be read: {what} (line {}, column {})",
                error.line(),
                error.column()
            ))
            .fix("see /openapi.json for the shape of this request")
        })
    }
}

/// A request that cannot be understood.
pub fn malformed(detail: impl Into<Box<str>>) -> Problem {
    Problem::new(Nature::Malformed, "request-malformed", detail)
}
