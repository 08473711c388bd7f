//! `/v1/kill`: the operator's switch.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use crate::grant::{Nature, Problem};
use crate::http::body::{Bearer, Body, malformed};
use crate::http::problem::Document;
use crate::http::{App, Peer};
use crate::store::Filter;

/// Which grants to end. Every key that is present must match; one at least must be.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KillRequest {
    /// One grant.
    grant: Option<String>,
    /// A scope's name.
    scope: Option<String>,
    /// `owner/name`, or `issuer:id`.
    repository: Option<String>,
    /// The operator's name of a database.
    database: Option<String>,
}

/// What was ended.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct KillAnswer {
    /// How many grants.
    count: usize,
    /// Which.
    grants: Vec<String>,
}

/// End every live grant of a kind, now
#[utoipa::path(
    post,
    path = "/v1/kill",
    tag = "operator",
    security(("operator-token" = [])),
    request_body = KillRequest,
    responses(
        (status = 200, description = "Their sessions are cut", body = KillAnswer),
        (status = "4XX", description = "Refused", body = Document, content_type = "application/problem+json"),
        (status = "5XX", description = "Unavailable", body = Document, content_type = "application/problem+json")
    )
)]
pub async fn kill(
    State(app): State<Arc<App>>,
    Peer(peer): Peer,
    Bearer(token): Bearer,
    Body(request): Body<KillRequest>,
) -> Result<Json<KillAnswer>, Problem> {
    // Without a configured token nothing matches, and the answer is the same.
    if !app
        .operator
        .as_ref()
        .is_some_and(|operator| operator.has_digest(&token.digest()))
    {
        return Err(Problem::new(
            Nature::Unauthenticated,
            "not-the-operator",
            "this is not the operator's token",
        )
        .fix("send the value behind `operator-token:` of the broker's configuration"));
    }
    let grant = request.grant.map(|id| id.parse()).transpose();
    let filter = Filter {
        grant: grant.map_err(|_| malformed("`grant` is not a grant's id"))?,
        scope: request.scope,
        repository: request.repository,
        database: request.database,
    };
    if filter == Filter::default() {
        return Err(malformed("the request names no grant, scope, repository or database")
            .fix("name at least one; there is no way to end everything by leaving something out"));
    }
    let grants = Arc::clone(&app.grants);
    let ended = app
        .carry_through(async move { grants.kill(&filter, peer.ip()).await })
        .await?;
    Ok(Json(KillAnswer {
        count: ended.len(),
        grants: ended.iter().map(ToString::to_string).collect(),
    }))
}
