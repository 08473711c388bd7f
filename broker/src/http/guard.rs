//! What every request passes first: a request id, a shield against panics, the rate limit of its address, a deadline.

use std::net::{IpAddr, Ipv4Addr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;

use super::{App, Peer, internal, problem};
use crate::base::id::RequestId;
use crate::base::rate::{Limiter, network};
use crate::grant::{Nature, Problem};

/// The longest a request may take; a caller that waits longer has given up.
const DEADLINE: Duration = Duration::from_secs(30);

/// Wraps the routes.
pub fn guard(routes: Router, app: &App) -> Router {
    let limiter = Arc::new(Limiter::new(app.rate.per_second, app.rate.burst));
    routes
        .layer(from_fn(deadline))
        .layer(from_fn_with_state(limiter, limit))
        .layer(from_fn(shield))
        .layer(from_fn(identify))
}

/// Gives the request its id and writes the problem document, if one comes back.
async fn identify(mut request: Request, next: Next) -> Response {
    let id = RequestId::fresh();
    request.extensions_mut().insert(id);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = problem::write(next.run(request).await, id);
    tracing::debug!(request = %id, %method, path, status = response.status().as_u16(), "request");
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    response
}

/// A panic becomes an answer that tells nothing.
async fn shield(request: Request, next: Next) -> Response {
    AssertUnwindSafe(next.run(request))
        .catch_unwind()
        .await
        .unwrap_or_else(|_| {
            tracing::error!("a request handler panicked");
            internal().into_response()
        })
}

async fn deadline(request: Request, next: Next) -> Response {
    tokio::time::timeout(DEADLINE, next.run(request))
        .await
        .unwrap_or_else(|_| {
            Problem::new(
                Nature::Unavailable,
                "request-too-slow",
                "the broker did not finish in time",
            )
            .fix("try again with the same Idempotency-Key")
            .into_response()
        })
}

async fn limit(State(limiter): State<Arc<Limiter<IpAddr>>>, request: Request, next: Next) -> Response {
    // Orchestrators and scrapers ask often, and what they ask costs nothing.
    let probing = matches!(request.uri().path(), "/healthz" | "/readyz" | "/metrics");
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.ip());
    let peer = network(peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
    if !probing && let Err(wait) = limiter.take(&peer) {
        let mut problem = Problem::new(Nature::TooMany, "rate-limited", "too many requests from this address")
            .fix("wait as long as `Retry-After` says");
        problem.retry_after = Some(wait);
        return problem.into_response();
    }
    next.run(request).await
}

/// The caller's address, for the record.
impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let nowhere = Self((Ipv4Addr::UNSPECIFIED, 0).into());
        Ok(parts.extensions.get().copied().unwrap_or(nowhere))
    }
}
