//! What a verified token says about a job, in one shape for every CI.
//!
//! Identity is `(issuer, repository_id)`; every name is display text. A claim the token does not carry is `None`, which
//! matches nothing: a missing claim is never an empty string, and an empty string counts as missing (GitLab sends `""`
//! where it has nothing to say), so that it can match nothing either.
//!
//! One file per CI, behind [`Provider`].

mod generic;
mod github;
mod gitlab;
mod payload;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use generic::ClaimPaths;
pub use payload::{ClaimFault, ClaimPath, Payload};

/// Events that people without write access can cause while the job runs with the base repository's identity. No policy
/// can name them: they are refused with the token.
pub const NEVER_EVENTS: &[&str] = &[
    "discussion",
    "discussion_comment",
    "external_pull_request_event",
    "fork",
    "gollum",
    "issue_comment",
    "issues",
    "pull_request_comment",
    "pull_request_review",
    "pull_request_review_comment",
    "pull_request_target",
    "watch",
    "workflow_run",
];

/// Which CI a token comes from, and so which provider read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProviderKind {
    /// Any other OIDC issuer, with operator-declared claim paths.
    Generic,
    /// GitHub Actions, on github.com, data residency or Enterprise Server.
    GithubActions,
    /// GitLab CI/CD, gitlab.com or self-managed.
    Gitlab,
}

/// The claims of one verified token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// Which provider read the token.
    pub provider: ProviderKind,
    /// The operator's name for the issuer: the key under `issuers:` in `broker.yaml`.
    pub issuer: String,
    /// The immutable repository (GitHub) or project (GitLab) id, as text.
    pub repository_id: String,
    /// `owner/name`. Display only.
    pub repository: String,
    /// The immutable id of the owner or top namespace, as text.
    pub owner_id: String,
    /// The full ref, such as `refs/heads/main`, `refs/tags/v1` or `refs/pull/7/merge`.
    pub git_ref: Option<String>,
    /// Whether the CI protects that ref.
    pub ref_protected: Option<bool>,
    /// The deployment environment.
    pub environment: Option<String>,
    /// GitHub's `event_name`, GitLab's `pipeline_source`.
    pub event: Option<String>,
    /// The path of the top workflow file (GitHub).
    pub workflow: Option<String>,
    /// `owner/repo/path` of the called reusable workflow (GitHub `job_workflow_ref` without its ref).
    pub reusable_workflow: Option<String>,
    /// The path of the CI configuration file (GitLab).
    pub config: Option<String>,
    /// The commit.
    pub sha: Option<String>,
    /// Who started the run. Display and audit only.
    pub actor: Option<String>,
    /// GitHub's `run_id`, GitLab's `pipeline_id`.
    pub run_id: Option<String>,
    /// GitHub's `run_attempt`.
    pub run_attempt: Option<String>,
    /// GitLab's `job_id`, or GitHub's `check_run_id`, which alone tells the jobs of a matrix apart.
    pub job_id: Option<String>,
    /// The token's own identifier: accepted once.
    pub jti: String,
    /// `iat`.
    pub issued_at: Timestamp,
    /// `exp`.
    pub expires_at: Timestamp,
    /// Every claim as the token carries it, for `whoami`, explanations and the audit event.
    pub raw: serde_json::Map<String, serde_json::Value>,
}

/// The payload of a verified token and what is known of its issuer: all a provider may read.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Which provider reads it.
    pub kind: ProviderKind,
    /// The operator's name for the issuer.
    pub issuer: &'a str,
    /// The issuer's exact URL.
    pub url: &'a str,
    /// Where a generic issuer keeps what the others keep in well-known claims.
    pub paths: Option<&'a ClaimPaths>,
    /// Every claim.
    pub payload: Payload<'a>,
    /// `jti`, already checked.
    pub jti: &'a str,
    /// `iat`, already checked.
    pub issued_at: Timestamp,
    /// `exp`, already checked.
    pub expires_at: Timestamp,
}

/// One CI's way of saying who a job is.
pub trait Provider {
    /// The immutable id of the owner or namespace, for the operator's allow-list.
    fn owner_id(&self, source: &Source<'_>) -> Result<String, ClaimFault>;

    /// The claims in the common shape. A claim this CI always sends is required; any other may be `None`.
    fn claims(&self, source: &Source<'_>) -> Result<Claims, ClaimFault>;

    /// Refuses a job that runs in one project with the code of another.
    fn same_project(&self, _source: &Source<'_>) -> Result<(), ClaimFault> {
        Ok(())
    }
}

/// The provider for a kind of issuer.
pub fn provider(kind: ProviderKind) -> &'static dyn Provider {
    match kind {
        ProviderKind::Generic => &generic::Generic,
        ProviderKind::GithubActions => &github::GithubActions,
        ProviderKind::Gitlab => &gitlab::Gitlab,
    }
}

/// Splits `path@ref` at the last `@`. Both sides must say something and the right one must look like a full ref or a
/// commit: whoever names a file `evil.yml@refs/heads/main` keeps the first `@` in the path, where nothing matches it.
fn split_ref(text: &str) -> Option<(&str, &str)> {
    let (path, at) = text.rsplit_once('@')?;
    let commit = at.len() >= 40 && at.bytes().all(|byte| byte.is_ascii_hexdigit());
    (!path.is_empty() && (commit || at.strip_prefix("refs/").is_some_and(|rest| !rest.is_empty())))
        .then_some((path, at))
}

/// `"true"` and `"false"` as text, or JSON booleans; anything else is not known.
fn truth(text: Option<&str>) -> Option<bool> {
    match text {
        Some("true") => Some(true),
        Some("false") => Some(false),
        _ => None,
    }
}
