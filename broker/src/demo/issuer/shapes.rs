//! What tokens of GitHub and GitLab carry in late 2026, `sub` in its immutable form included.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Builder;

use super::DevIssuerError;
use crate::base::secret::random_bytes;

const SHA: &str = "8fe1b322a576d59fe6257052a4107df7dc1b8c78";

/// Whose tokens the dev issuer imitates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Shape {
    /// GitHub Actions.
    #[default]
    Github,
    /// GitLab CI/CD.
    Gitlab,
}

/// The claims of a token: the shape's own, then `overrides` (null takes a claim out).
pub(super) fn claims(
    shape: Shape,
    issuer: &str,
    audience: &str,
    now: Timestamp,
    overrides: &Map<String, Value>,
) -> Result<Map<String, Value>, DevIssuerError> {
    let now = now.as_second();
    let common = json!({
        "iss": issuer, "aud": audience, "jti": jti()?, "iat": now,
        // GitHub's tokens live five minutes and may be dated back ten; GitLab's live as long as the job may.
        "nbf": if shape == Shape::Github { now - 600 } else { now - 5 },
        "exp": if shape == Shape::Github { now + 300 } else { now + 3600 },
    });
    let own = match shape {
        Shape::Github => github(),
        Shape::Gitlab => gitlab(issuer),
    };
    let mut claims = Map::new();
    for source in [&common, &own] {
        claims.extend(
            source
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
    }
    for (name, value) in overrides {
        claims.insert(name.clone(), value.clone());
    }
    let derived = match shape {
        Shape::Github => github_derived(&claims),
        Shape::Gitlab => gitlab_derived(&claims),
    };
    for (name, value) in derived {
        claims.entry(name).or_insert(Value::String(value));
    }
    claims.retain(|_, value| !value.is_null());
    Ok(claims)
}

fn github() -> Value {
    json!({
        "repository": "acme/orders", "repository_id": "260064828", "repository_visibility": "private",
        "repository_owner": "acme", "repository_owner_id": "1342004",
        "ref": "refs/heads/main", "ref_type": "branch", "ref_protected": "true", "sha": SHA,
        "event_name": "push", "workflow": "migrate", "workflow_sha": SHA, "job_workflow_sha": SHA,
        "environment": "production", "runner_environment": "github-hosted",
        "actor": "octocat", "actor_id": "583231", "head_ref": "", "base_ref": "",
        "run_id": "19873456021", "run_number": "142", "run_attempt": "1", "check_run_id": "55012345678",
    })
}

/// Claims that follow from others, unless they are given.
fn github_derived(claims: &Map<String, Value>) -> Vec<(String, String)> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    let (owner, name) = text("repository").split_once('/').unwrap_or_default();
    let workflow_ref = format!(
        "{}/.github/workflows/{}.yml@{}",
        text("repository"),
        text("workflow"),
        text("ref")
    );
    let subject = match text("environment") {
        "" => format!("ref:{}", text("ref")),
        environment => format!("environment:{environment}"),
    };
    let sub = format!(
        "repo:{owner}@{}/{name}@{}:{subject}",
        text("repository_owner_id"),
        text("repository_id")
    );
    vec![
        ("sub".into(), sub),
        ("workflow_ref".into(), workflow_ref.clone()),
        ("job_workflow_ref".into(), workflow_ref),
    ]
}

fn gitlab(issuer: &str) -> Value {
    let host = issuer.split_once("://").map_or(issuer, |(_, host)| host);
    json!({
        "project_id": "42", "project_path": "acme/orders", "project_visibility": "private",
        "namespace_id": "72", "namespace_path": "acme", "user_id": "7", "user_login": "ada",
        "user_email": "ada@example.com", "user_access_level": "maintainer",
        "pipeline_id": "1519139981", "pipeline_source": "push", "job_id": "8222997048", "job_project_id": "42",
        "job_project_path": "acme/orders", "job_namespace_id": "72", "job_namespace_path": "acme",
        "ref": "main", "ref_type": "branch", "ref_path": "refs/heads/main", "ref_protected": "true", "sha": SHA,
        "environment": "production", "environment_protected": "true", "deployment_tier": "production",
        "runner_id": 12_270_835, "runner_environment": "self-hosted", "ci_config_sha": SHA,
        "ci_config_ref_uri": format!("{host}/acme/orders//.gitlab-ci.yml@refs/heads/main"),
    })
}

fn gitlab_derived(claims: &Map<String, Value>) -> Vec<(String, String)> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    let sub = format!(
        "project_path:{}:ref_type:{}:ref:{}",
        text("project_path"),
        text("ref_type"),
        text("ref")
    );
    vec![("sub".into(), sub)]
}

/// A fresh random identifier, in the form GitHub and GitLab use.
fn jti() -> Result<String, DevIssuerError> {
    Ok(Builder::from_random_bytes(random_bytes::<16>()?)
        .into_uuid()
        .to_string())
}
