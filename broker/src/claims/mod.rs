//! What a verified token says about a job, in one shape for every CI.
//!
//! Identity is `(issuer, repository_id)`; every name is display text. A claim the token does not carry is `None`, which
//! matches nothing: a missing claim is never an empty string.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

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
