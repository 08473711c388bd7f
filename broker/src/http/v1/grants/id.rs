//! `/v1/grants/{id}`: one grant, for the holder of its revoke token.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use serde::Serialize;

use super::GrantView;
use crate::base::id::GrantId;
use crate::grant::Problem;
use crate::http::App;
use crate::http::body::Bearer;
use crate::http::problem::Document;
use crate::store::{GrantRow, TotalsRow};

/// What a grant did.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Totals)]
pub struct TotalsView {
    /// Sessions opened.
    sessions: u64,
    /// Statements allowed, by class.
    statements: std::collections::BTreeMap<String, u64>,
    /// Rows returned or affected.
    rows: u64,
    /// Masked values by column: for each masked column that a statement reads, the rows it handed out.
    masked: std::collections::BTreeMap<String, u64>,
    /// What was found in texts and replaced, by kind.
    detected: std::collections::BTreeMap<String, u64>,
    /// Statements denied.
    denied: u64,
    /// The first denials. Never a literal of a statement.
    denials: Vec<crate::store::DenialRow>,
}

/// A grant and what it did.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct GrantReport {
    grant: GrantView,
    totals: TotalsView,
}

impl From<(GrantRow, TotalsRow)> for GrantReport {
    fn from((row, totals): (GrantRow, TotalsRow)) -> Self {
        let (state, reason) = match row.ended {
            None => ("active".to_owned(), None),
            Some(ended) => (ended.kind, Some(ended.reason)),
        };
        Self {
            grant: GrantView {
                id: row.id.to_string(),
                scope: row.scope,
                database: row.database,
                repository: row.claims.repository,
                issuer: row.claims.issuer,
                state,
                reason,
                created_at: row.created_at.to_string(),
                expires_at: row.expires_at.to_string(),
                ends_at: row.ends_at.to_string(),
            },
            totals: TotalsView {
                sessions: totals.sessions,
                statements: totals.statements,
                rows: totals.rows,
                masked: totals.masked,
                detected: totals.detected,
                denied: totals.denied,
                denials: totals.denials,
            },
        }
    }
}

/// The id in the path. A text that is no id names no grant, in the same words as an id that does not exist.
#[derive(Debug)]
pub struct Named(GrantId);

impl<S: Sync + Send> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await.ok();
        let id = path.and_then(|Path(id)| id.parse().ok());
        id.map(Self).ok_or_else(Problem::unknown_grant)
    }
}

/// A grant and what it did so far
#[utoipa::path(
    get,
    path = "/v1/grants/{id}",
    tag = "grants",
    security(("revoke-token" = [])),
    params(("id" = String, Path, description = "The grant's id")),
    responses(
        (status = 200, description = "The grant", body = GrantReport),
        (status = "4XX", description = "Refused", body = Document, content_type = "application/problem+json"),
        (status = "5XX", description = "Unavailable", body = Document, content_type = "application/problem+json")
    )
)]
pub async fn show(
    State(app): State<Arc<App>>,
    Bearer(token): Bearer,
    Named(id): Named,
) -> Result<Json<GrantReport>, Problem> {
    let shown = app.grants.show(id, &token).await?;
    Ok(Json(shown.into()))
}

/// End a grant and read what it did
///
/// Its sessions are cut before the answer. Asking again answers the same.
#[utoipa::path(
    delete,
    path = "/v1/grants/{id}",
    tag = "grants",
    security(("revoke-token" = [])),
    params(("id" = String, Path, description = "The grant's id")),
    responses(
        (status = 200, description = "The grant has ended", body = GrantReport),
        (status = "4XX", description = "Refused", body = Document, content_type = "application/problem+json"),
        (status = "5XX", description = "Unavailable", body = Document, content_type = "application/problem+json")
    )
)]
pub async fn revoke(
    State(app): State<Arc<App>>,
    Bearer(token): Bearer,
    Named(id): Named,
) -> Result<Json<GrantReport>, Problem> {
    let grants = Arc::clone(&app.grants);
    let ended = app
        .carry_through(async move { grants.revoke(id, &token).await })
        .await?;
    Ok(Json(ended.into()))
}
