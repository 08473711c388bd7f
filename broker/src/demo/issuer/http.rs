//! What the dev issuer answers, and the ways it can be told to misbehave.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Inner, Shape};

/// How the issuer behaves, for other people's tests as much as for ours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// As an issuer should.
    #[default]
    Healthy,
    /// Every document is a 503.
    Outage,
    /// Every document takes this long.
    Slow(Duration),
    /// Every document is a redirect to where the right one is.
    Redirect,
    /// The key set is larger than 64 KiB.
    Oversized,
    /// The key set is HTML.
    Garbage,
    /// Other keys stand under the right names.
    WrongKeys,
    /// The key set holds broken entries beside the right ones.
    BadKeyInSet,
    /// The discovery document names another issuer.
    OtherIssuer,
    /// The discovery document says the keys are at another origin.
    ForeignKeys,
}

pub(super) fn routes(inner: Arc<Inner>) -> Router {
    Router::new()
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/.well-known/jwks", get(jwks))
        .route("/moved/openid-configuration", get(discovery_document))
        .route("/moved/jwks", get(jwks_document))
        .route("/token", get(token).post(post_token))
        .with_state(inner)
}

async fn discovery(State(inner): State<Arc<Inner>>) -> Response {
    inner.discoveries.fetch_add(1, Ordering::Relaxed);
    match inner.mode() {
        Mode::Outage => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Mode::Redirect => moved("/moved/openid-configuration"),
        Mode::Slow(delay) => {
            tokio::time::sleep(delay).await;
            discovery_document(State(inner)).await
        }
        _ => discovery_document(State(inner)).await,
    }
}

async fn discovery_document(State(inner): State<Arc<Inner>>) -> Response {
    let mode = inner.mode();
    let mut issuer = inner.url.clone();
    let mut keys = inner.url.clone();
    if mode == Mode::OtherIssuer {
        issuer = String::from("https://evil.example.com");
    }
    if mode == Mode::ForeignKeys {
        // The same server under another name: everything but the origin is right.
        keys = keys.replace("127.0.0.1", "localhost");
    }
    Json(json!({
        "issuer": issuer,
        "jwks_uri": format!("{keys}/.well-known/jwks"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256"],
    }))
    .into_response()
}

async fn jwks(State(inner): State<Arc<Inner>>) -> Response {
    inner.key_fetches.fetch_add(1, Ordering::Relaxed);
    match inner.mode() {
        Mode::Outage => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Mode::Redirect => moved("/moved/jwks"),
        Mode::Garbage => "<html><body>It works!</body></html>".into_response(),
        Mode::Slow(delay) => {
            tokio::time::sleep(delay).await;
            jwks_document(State(inner)).await
        }
        _ => jwks_document(State(inner)).await,
    }
}

async fn jwks_document(State(inner): State<Arc<Inner>>) -> Response {
    let mut document = json!({ "keys": inner.published() });
    if inner.mode() == Mode::Oversized
        && let Some(map) = document.as_object_mut()
    {
        map.insert("padding".into(), Value::String("x".repeat(65 * 1024)));
    }
    Json(document).into_response()
}

fn moved(to: &'static str) -> Response {
    (StatusCode::FOUND, [(header::LOCATION, to)]).into_response()
}

/// What `ACTIONS_ID_TOKEN_REQUEST_URL` answers a runner.
async fn token(
    State(inner): State<Arc<Inner>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let audience = query.get("audience").cloned();
    mint(&inner, &headers, inner.shape, audience, Map::new())
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct TokenRequest {
    shape: Option<String>,
    audience: Option<String>,
    claims: Map<String, Value>,
}

/// Any token of either shape, for the tests of others: `{"shape": "gitlab", "audience": "…", "claims": {…}}`.
async fn post_token(
    State(inner): State<Arc<Inner>>,
    headers: HeaderMap,
    Json(request): Json<TokenRequest>,
) -> Response {
    let shape = match request.shape.as_deref() {
        None => inner.shape,
        Some("github") => Shape::Github,
        Some("gitlab") => Shape::Gitlab,
        Some(_) => return (StatusCode::BAD_REQUEST, "shape is github or gitlab\n").into_response(),
    };
    mint(&inner, &headers, shape, request.audience, request.claims)
}

fn mint(
    inner: &Inner,
    headers: &HeaderMap,
    shape: Shape,
    audience: Option<String>,
    claims: Map<String, Value>,
) -> Response {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = bearer
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    if !given.is_some_and(|(_, token)| {
        inner
            .request_token
            .has_digest(&crate::base::secret::Secret::new(token.to_owned()).digest())
    }) {
        return (StatusCode::UNAUTHORIZED, "the request token is wrong\n").into_response();
    }
    if inner.mode() == Mode::Outage {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let mut overrides = claims;
    if let Some(audience) = audience {
        overrides.insert("aud".into(), Value::String(audience));
    }
    match inner.mint(shape, &overrides) {
        Ok(value) => Json(json!({ "value": value, "count": value.len() })).into_response(),
        Err(why) => (StatusCode::INTERNAL_SERVER_ERROR, why.to_string()).into_response(),
    }
}
