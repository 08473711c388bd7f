//! `/v1/grants`: a token becomes a grant; a grant is given up by the key it was asked for with.

pub mod id;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::base::id::{GrantId, RequestId};
use crate::base::secret::Secret;
use crate::grant::{Ask, Grants, Minted, Problem};
use crate::http::body::{Bearer, Body, IdempotencyKey, MAX_KEY, MIN_KEY, malformed};
use crate::http::problem::Document;
use crate::http::{App, Endpoints, Peer, internal};
use crate::store::Digest;

/// Longer names stand in no policy.
const MAX_SCOPE: usize = 128;
/// A reason is a sentence.
const MAX_REASON: usize = 512;

/// What a job asks for.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantRequest {
    /// A scope of the repository's policy.
    #[schema(example = "migrate")]
    scope: String,
    /// A shorter lifetime than the scope's, such as `10m`.
    ttl: Option<String>,
    /// What for, in a sentence. It stands in the ledger.
    reason: Option<String>,
    /// Where the CI gives one token per job: SHA-256 of the bytes of a random key, base64url without padding. Whoever
    /// sends that key later may use the token again.
    proof: Option<String>,
    /// The key behind an earlier `proof`.
    proof_key: Option<String>,
}

/// A grant as the API shows it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Grant)]
pub struct GrantView {
    id: String,
    scope: String,
    /// The operator's name of the database.
    database: String,
    repository: String,
    issuer: String,
    /// `active`, `revoked`, `expired` or `killed`.
    state: String,
    /// Why it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    created_at: String,
    /// New connections are refused from here on.
    expires_at: String,
    /// Every session is cut here.
    ends_at: String,
}

/// Where and how to connect.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Endpoint)]
pub struct EndpointView {
    host: String,
    port: u16,
    /// The database's name in the connect string.
    database: String,
    username: String,
    /// Told once; the broker keeps only its SCRAM verifier.
    password: String,
    /// `verify-full`, or `disable` for a broker on loopback.
    sslmode: &'static str,
    /// The CA to trust, PEM; null when the system's own roots do.
    ca: Option<String>,
    /// All of it in one connect string.
    url: String,
}

/// Where in the policy the permission stands.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = PolicyLine)]
pub struct PolicyView {
    path: String,
    line: u32,
    /// SHA-256 of the policy.
    sha: String,
}

/// Who enforces the scope.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Enforcement)]
pub struct EnforcementView {
    /// `role`: the broker and PostgreSQL itself; `shared`: the broker alone.
    kind: &'static str,
    /// What that means, where it is less than both.
    #[serde(skip_serializing_if = "Option::is_none")]
    caveat: Option<&'static str>,
}

/// A new grant.
#[derive(Serialize, utoipa::ToSchema)]
pub struct GrantAnswer {
    grant: GrantView,
    endpoint: EndpointView,
    /// Ends the grant. Told once.
    revoke_token: String,
    policy: PolicyView,
    enforcement: EnforcementView,
}

/// Exchange a job's OIDC token for a grant
#[utoipa::path(
    post,
    path = "/v1/grants",
    tag = "grants",
    security(("id-token" = [])),
    params(("Idempotency-Key" = Option<String>, Header,
        description = "At least 128 random bits. Repeated by the same job, the first grant ends and a new one is made")),
    request_body = GrantRequest,
    responses(
        (status = 201, description = "The grant and its endpoint", body = GrantAnswer),
        (status = "4XX", description = "Refused", body = Document, content_type = "application/problem+json"),
        (status = "5XX", description = "Unavailable", body = Document, content_type = "application/problem+json")
    )
)]
pub async fn create(
    State(app): State<Arc<App>>,
    Peer(peer): Peer,
    Extension(request_id): Extension<RequestId>,
    Bearer(token): Bearer,
    IdempotencyKey(key): IdempotencyKey,
    Body(request): Body<GrantRequest>,
) -> Result<(StatusCode, Json<GrantAnswer>), Problem> {
    let ask = request.read(key, peer.ip(), request_id)?;
    let (tell, told) = oneshot::channel();
    let grants = Arc::clone(&app.grants);
    app.tasks.spawn(async move {
        let opened = grants.open(token.expose(), &ask).await;
        // A caller that hung up knows no revoke token, so nobody else could end the grant before its time.
        if let Err(Ok(unheard)) = tell.send(opened) {
            end_unheard(&grants, &unheard).await;
        }
    });
    let minted = told.await.unwrap_or_else(|_| Err(internal()))?;
    let answer = answer(&minted, &app.endpoints)?;
    Ok((StatusCode::CREATED, Json(answer)))
}

async fn end_unheard(grants: &Grants, minted: &Minted) {
    if let Err(problem) = grants.revoke(minted.grant.id, &minted.revoke_token).await {
        tracing::error!(code = problem.code, grant = %minted.grant.id, "a grant nobody was told of was not revoked");
    }
}

impl GrantRequest {
    fn read(self, key: Option<Digest>, peer: IpAddr, request: RequestId) -> Result<Ask, Problem> {
        if self.scope.is_empty() || self.scope.len() > MAX_SCOPE || self.scope.chars().any(char::is_control) {
            return Err(malformed("`scope` is not a scope's name"));
        }
        if self
            .reason
            .as_ref()
            .is_some_and(|text| text.len() > MAX_REASON || text.chars().any(char::is_control))
        {
            return Err(malformed("`reason` must be one line of at most 512 bytes"));
        }
        Ok(Ask {
            scope: self.scope,
            ttl: self.ttl.as_deref().map(duration).transpose()?,
            reason: self.reason,
            proof: self.proof.as_deref().map(proof).transpose()?,
            proof_key: self.proof_key.map(Secret::new).map(|key| proof_key(&key)).transpose()?,
            key,
            peer,
            request,
        })
    }
}

fn duration(text: &str) -> Result<Duration, Problem> {
    let wrong = || malformed("`ttl` is not a duration").fix("write it like `10m`, `90s` or `1h30m`");
    let parsed: SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(parsed)
        .ok()
        .filter(|ttl| !ttl.is_zero())
        .ok_or_else(wrong)
}

fn proof(text: &str) -> Result<Digest, Problem> {
    let bytes = URL_SAFE_NO_PAD
        .decode(text)
        .ok()
        .and_then(|bytes| bytes.try_into().ok());
    bytes.map(Digest::from_bytes).ok_or_else(|| {
        malformed("`proof` is not a SHA-256 in base64url without padding").fix("send 43 characters: SHA-256 of the key")
    })
}

fn proof_key(key: &Secret) -> Result<Digest, Problem> {
    if (MIN_KEY..=MAX_KEY).contains(&key.expose().len()) {
        Ok(Digest::from_bytes(key.digest()))
    } else {
        Err(malformed("`proof_key` must be 22 to 256 characters").fix("use at least 128 random bits"))
    }
}

fn answer(minted: &Minted, endpoints: &Endpoints) -> Result<GrantAnswer, Problem> {
    let grant = &minted.grant;
    let Some(database) = endpoints.databases.get(&grant.scope.database) else {
        tracing::error!(grant = %grant.id, database = %grant.scope.database, "a scope names a database that is not configured");
        return Err(internal());
    };
    let username = grant.id.to_string();
    let password = minted.password.expose().to_owned();
    let sslmode = if endpoints.tls { "verify-full" } else { "disable" };
    let (host, port) = (&endpoints.host, endpoints.port);
    let url = format!(
        "postgresql://{username}:{password}@{host}:{port}/{}?sslmode={sslmode}",
        percent(database)
    );
    Ok(GrantAnswer {
        grant: GrantView {
            id: username.clone(),
            scope: grant.scope.name.clone(),
            database: grant.scope.database.clone(),
            repository: grant.claims.repository.clone(),
            issuer: grant.claims.issuer.clone(),
            state: "active".into(),
            reason: None,
            created_at: grant.created_at.to_string(),
            expires_at: grant.expires_at.to_string(),
            ends_at: grant.ends_at.to_string(),
        },
        endpoint: EndpointView {
            // In a field of its own an IPv6 address stands without brackets.
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            database: database.clone(),
            username,
            password,
            sslmode,
            ca: endpoints.ca.clone(),
            url,
        },
        revoke_token: minted.revoke_token.expose().to_owned(),
        policy: PolicyView {
            path: minted.policy.path.clone(),
            line: minted.policy.line,
            sha: minted.policy.sha.clone(),
        },
        enforcement: EnforcementView {
            kind: grant.scope.enforcement.as_str(),
            caveat: grant.scope.enforcement.caveat(),
        },
    })
}

/// Percent-encodes everything that is not unreserved (RFC 3986).
fn percent(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// The grant an idempotency key belonged to.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct KeyAnswer {
    /// The grant that was ended; null when the key had none. Either way the key is dead now.
    grant: Option<String>,
}

/// End the grant that was asked for with this key
///
/// For a client that never got the answer and so has no revoke token. A request with the key that is still on its way
/// will be refused.
#[utoipa::path(
    delete,
    path = "/v1/grants",
    tag = "grants",
    params(("Idempotency-Key" = String, Header, description = "The key of the request that got no answer")),
    responses(
        (status = 200, description = "No grant of this key is live", body = KeyAnswer),
        (status = "4XX", description = "Refused", body = Document, content_type = "application/problem+json"),
        (status = "5XX", description = "Unavailable", body = Document, content_type = "application/problem+json")
    )
)]
pub async fn revoke_by_key(
    State(app): State<Arc<App>>,
    IdempotencyKey(key): IdempotencyKey,
) -> Result<Json<KeyAnswer>, Problem> {
    let key =
        key.ok_or_else(|| malformed("the request has no Idempotency-Key").fix("name the key of the lost request"))?;
    let grants = Arc::clone(&app.grants);
    let ended: Option<GrantId> = app
        .carry_through(async move { grants.revoke_by_key(key).await })
        .await?;
    Ok(Json(KeyAnswer {
        grant: ended.map(|id| id.to_string()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_positive_and_have_a_unit() {
        assert_eq!(duration("1h30m").unwrap(), Duration::from_mins(90));
        for wrong in ["", "15", "-5m", "0s", "soon", "1d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_database_name_cannot_add_to_the_url() {
        assert_eq!(percent("orders"), "orders");
        assert_eq!(percent("a/b?sslmode=disable é"), "a%2Fb%3Fsslmode%3Ddisable%20%C3%A9");
    }
}
