//! The HTTP door: routes that mirror the URL tree, one file per resource, and everything a stranger meets before them.

mod body;
mod guard;
mod health;
mod metrics;
mod openapi;
mod problem;
pub mod serve;
#[cfg(test)]
mod tests;
mod v1;
mod well_known;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use axum::Router;
use futures_util::future::BoxFuture;
use serde::Serialize;
use tokio_util::task::TaskTracker;

use crate::base::secret::Secret;
use crate::grant::{Grants, Nature, Problem};

pub use health::Check;
pub use openapi::document;
pub use serve::serve;

/// The version of everything under `/v1`.
pub const API_VERSION: u32 = 1;

/// Where a connection came from; the listener attaches it to every request.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Asks one thing the broker needs whether it works.
pub type Probe = Arc<dyn Fn() -> BoxFuture<'static, Check> + Send + Sync>;

/// One issuer, as jobs may know it.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct IssuerInfo {
    /// The operator's name for it.
    pub name: String,
    /// `github-actions`, `gitlab` or `generic`.
    pub kind: String,
    /// The audience a token for this broker must carry.
    pub audience: String,
}

/// What an endpoint's connect string is made of.
#[derive(Debug, Clone)]
pub struct Endpoints {
    /// The public host of the PostgreSQL listener.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether it speaks TLS; only a loopback listener may not.
    pub tls: bool,
    /// The CA jobs are told to trust, PEM.
    pub ca: Option<String>,
    /// The operator's database names and the names the servers know them by.
    pub databases: BTreeMap<String, String>,
}

/// How often one address may ask.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Sustained.
    pub per_second: NonZeroU32,
    /// At once.
    pub burst: NonZeroU32,
}

impl Default for Rate {
    /// Generous for a fleet of runners behind one address, tight for a guesser.
    fn default() -> Self {
        Self {
            per_second: NonZeroU32::MIN.saturating_add(49),
            burst: NonZeroU32::MIN.saturating_add(199),
        }
    }
}

/// What the routes need.
pub struct App {
    /// The grants.
    pub grants: Arc<Grants>,
    /// What an endpoint's connect string is made of.
    pub endpoints: Endpoints,
    /// The issuers it accepts.
    pub issuers: Vec<IssuerInfo>,
    /// What opens the kill switch. Without one, nothing does.
    pub operator: Option<Secret>,
    /// How often one address may ask.
    pub rate: Rate,
    /// What `/readyz` asks beside the store.
    pub probes: Vec<Probe>,
    /// Renders the metrics.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Work that goes on when its caller hangs up; shutdown waits for it.
    pub tasks: TaskTracker,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("endpoints", &self.endpoints)
            .field("issuers", &self.issuers)
            .finish_non_exhaustive()
    }
}

impl App {
    /// Carries `work` through even when the caller hangs up: a half-made revocation is worse than an unheard one.
    async fn carry_through<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<T, Problem> {
        self.tasks.spawn(work).await.unwrap_or_else(|_| Err(internal()))
    }
}

/// Something broke that should not have; the log knows what.
fn internal() -> Problem {
    Problem::new(
        Nature::Unavailable,
        "internal",
        "the broker failed to serve this request",
    )
    .fix("try again; if it stays so, give the operator the request id")
}

/// Every route, behind the guards.
pub fn router(app: &Arc<App>) -> Router {
    let (routes, api) = openapi::routes().split_for_parts();
    let routes = openapi::serve_document(routes, &api)
        .fallback(|| async { Problem::new(Nature::NotFound, "no-such-path", "there is nothing at this path") })
        .method_not_allowed_fallback(|| async {
            Problem::new(
                Nature::Malformed,
                "method-not-allowed",
                "this path does not know this method",
            )
        })
        .with_state(Arc::clone(app));
    guard::guard(routes, app)
}
