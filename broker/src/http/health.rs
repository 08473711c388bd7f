//! `/healthz`: the process lives. `/readyz`: everything a grant needs works, and if not, what does not.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use futures_util::future::join_all;
use serde::Serialize;

use super::App;

/// A check that takes longer is red.
const PATIENCE: Duration = Duration::from_secs(2);

/// One thing the broker needs.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Check {
    /// What: `store`, `ledger`, `tls`, `database orders-prod`.
    pub name: String,
    /// Whether it works.
    pub ok: bool,
    /// The stable code of what is wrong. Never an address or a path: strangers may ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// The answer of `/readyz`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Readiness {
    ready: bool,
    checks: Vec<Check>,
}

/// Whether the process lives
#[utoipa::path(get, path = "/healthz", tag = "service", responses((status = 200, description = "It does")))]
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether grants can be made
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "service",
    responses(
        (status = 200, description = "They can", body = Readiness),
        (status = 503, description = "At least one check is red", body = Readiness)
    )
)]
pub async fn readyz(State(app): State<Arc<App>>) -> (StatusCode, Json<Readiness>) {
    let store = async {
        let answer = tokio::time::timeout(PATIENCE, app.grants.store().ping()).await;
        let code = match answer {
            Ok(Ok(())) => None,
            Ok(Err(fault)) => Some(crate::base::fault::Fault::code(&fault).to_owned()),
            Err(_) => Some("timeout".to_owned()),
        };
        Check {
            name: "store".into(),
            ok: code.is_none(),
            code,
        }
    };
    let others = join_all(app.probes.iter().map(|probe| async {
        let late = Check {
            name: "probe".into(),
            ok: false,
            code: Some("timeout".into()),
        };
        tokio::time::timeout(PATIENCE, probe()).await.unwrap_or(late)
    }));
    let (store, mut checks) = futures_util::future::join(store, others).await;
    checks.insert(0, store);
    let ready = checks.iter().all(|check| check.ok);
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(Readiness { ready, checks }))
}
