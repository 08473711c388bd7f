//! `/.well-known/hoop-db-access`: what a client must know before it asks for a token.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::{API_VERSION, App, IssuerInfo};

/// What this broker is and whose tokens it takes.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Discovery {
    /// The version of everything under `/v1`.
    api_version: u32,
    /// The audience, when every issuer has the same.
    audience: Option<String>,
    /// The issuers it takes tokens from.
    issuers: Vec<IssuerInfo>,
}

/// The audience and the issuers
#[utoipa::path(
    get,
    path = "/.well-known/hoop-db-access",
    tag = "service",
    responses((status = 200, description = "What a client must know before it asks for a token", body = Discovery))
)]
pub async fn discover(State(app): State<Arc<App>>) -> Json<Discovery> {
    let mut audiences = app.issuers.iter().map(|issuer| &issuer.audience);
    let first = audiences.next();
    let audience = first.filter(|first| audiences.all(|other| other == *first)).cloned();
    Json(Discovery {
        api_version: API_VERSION,
        audience,
        issuers: app.issuers.clone(),
    })
}
