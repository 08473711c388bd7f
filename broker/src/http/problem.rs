//! Problem documents (RFC 9457). A handler answers a [`Problem`]; the outermost guard, which knows the request id,
//! writes it.

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::base::id::RequestId;
use crate::grant::{Nature, Problem};

/// The document of a refused request.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct Document {
    /// Where the code is explained.
    #[serde(rename = "type")]
    kind: String,
    /// The status in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// The stable, documented code.
    code: &'static str,
    /// One sentence: what is wrong.
    detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
    /// The policy line it comes from. Told only to a job of the policy's repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<Place>,
    /// What the policy or the broker expects.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<String>,
    /// What came.
    #[serde(skip_serializing_if = "Option::is_none")]
    actual: Option<String>,
    /// What the operator finds in the log.
    request_id: String,
}

/// A place in a policy.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = PolicyPlace)]
struct Place {
    path: String,
    line: u32,
    column: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha: Option<String>,
}

/// A problem on its way through the guards.
#[derive(Debug, Clone)]
struct Unwritten(Problem);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = status(&self).into_response();
        response.extensions_mut().insert(Unwritten(self));
        response
    }
}

/// Writes the problem a handler left, if it left one.
pub fn write(mut response: Response, request: RequestId) -> Response {
    let Some(Unwritten(problem)) = response.extensions_mut().remove() else {
        return response;
    };
    let mut written = (status(&problem), Json(document(&problem, request))).into_response();
    let headers = written.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if problem.nature == Nature::Unauthenticated {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(wait) = problem.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
    }
    written
}

fn document(problem: &Problem, request: RequestId) -> Document {
    let status = status(problem);
    // Whoever has not proved to be a job of the repository learns nothing of its policy.
    let known = problem.claims.is_some();
    let policy = problem.policy.as_deref().filter(|_| known).map(|(origin, sha)| Place {
        path: origin.path.to_string(),
        line: origin.line,
        column: origin.column,
        sha: sha.clone(),
    });
    let told = |text: &Option<Box<str>>| text.as_deref().filter(|_| known).map(str::to_owned);
    Document {
        kind: format!("urn:hoop:db-access:problem:{}", problem.code),
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        code: problem.code,
        detail: problem.detail.to_string(),
        fix: problem.fix.as_deref().map(str::to_owned),
        policy,
        expected: told(&problem.expected),
        actual: told(&problem.actual),
        request_id: request.to_string(),
    }
}

fn status(problem: &Problem) -> StatusCode {
    match (problem.nature, problem.code) {
        (Nature::Malformed, "request-too-large") => StatusCode::PAYLOAD_TOO_LARGE,
        (Nature::Malformed, "request-not-json") => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        (Nature::Malformed, "request-too-slow") => StatusCode::REQUEST_TIMEOUT,
        (Nature::Malformed, "method-not-allowed") => StatusCode::METHOD_NOT_ALLOWED,
        (Nature::Unavailable, "internal") => StatusCode::INTERNAL_SERVER_ERROR,
        (Nature::Unauthenticated, _) => StatusCode::UNAUTHORIZED,
        (Nature::Refused, _) => StatusCode::FORBIDDEN,
        (Nature::NotFound, _) => StatusCode::NOT_FOUND,
        (Nature::Conflict, _) => StatusCode::CONFLICT,
        (Nature::Malformed, _) => StatusCode::BAD_REQUEST,
        (Nature::TooMany, _) => StatusCode::TOO_MANY_REQUESTS,
        (Nature::Unavailable, _) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
