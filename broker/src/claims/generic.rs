//! Any other OIDC issuer: the operator says which claim holds what.

use serde::{Deserialize, Serialize};

use super::{ClaimFault, ClaimPath, Claims, Provider, Source, truth};

/// Where a generic issuer keeps what the broker needs. `repository-id` and `owner-id` must be claims the issuer never
/// gives to someone else later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ClaimPaths {
    /// The immutable id of the repository, project or pipeline.
    pub repository_id: ClaimPath,
    /// The immutable id of its owner.
    pub owner_id: ClaimPath,
    /// Its name. Display only; the id when not given.
    #[serde(default)]
    pub repository: Option<ClaimPath>,
    /// The full ref: a value that does not start with `refs/` matches nothing.
    #[serde(default)]
    pub r#ref: Option<ClaimPath>,
    /// Whether the ref is protected.
    #[serde(default)]
    pub ref_protected: Option<ClaimPath>,
    /// The deployment environment.
    #[serde(default)]
    pub environment: Option<ClaimPath>,
    /// What started the job.
    #[serde(default)]
    pub event: Option<ClaimPath>,
    /// The path of the workflow file.
    #[serde(default)]
    pub workflow: Option<ClaimPath>,
    /// The commit.
    #[serde(default)]
    pub sha: Option<ClaimPath>,
    /// Who started the job.
    #[serde(default)]
    pub actor: Option<ClaimPath>,
    /// The run.
    #[serde(default)]
    pub run_id: Option<ClaimPath>,
    /// The job.
    #[serde(default)]
    pub job_id: Option<ClaimPath>,
}

pub(super) struct Generic;

impl Provider for Generic {
    fn owner_id(&self, source: &Source<'_>) -> Result<String, ClaimFault> {
        source.payload.need_at(&paths(source)?.owner_id)
    }

    fn claims(&self, source: &Source<'_>) -> Result<Claims, ClaimFault> {
        let payload = source.payload;
        let paths = paths(source)?;
        let text = |path: &Option<ClaimPath>| path.as_ref().map_or(Ok(None), |path| payload.text_at(path));
        let repository_id = payload.need_at(&paths.repository_id)?;
        Ok(Claims {
            provider: source.kind,
            issuer: source.issuer.to_owned(),
            repository: text(&paths.repository)?.unwrap_or_else(|| repository_id.clone()),
            owner_id: self.owner_id(source)?,
            git_ref: text(&paths.r#ref)?.filter(|text| text.starts_with("refs/")),
            ref_protected: truth(text(&paths.ref_protected)?.as_deref()),
            environment: text(&paths.environment)?,
            event: text(&paths.event)?,
            workflow: text(&paths.workflow)?,
            reusable_workflow: None,
            config: None,
            sha: text(&paths.sha)?,
            actor: text(&paths.actor)?,
            run_id: text(&paths.run_id)?,
            run_attempt: None,
            job_id: text(&paths.job_id)?,
            jti: source.jti.to_owned(),
            issued_at: source.issued_at,
            expires_at: source.expires_at,
            raw: payload.to_map(),
            repository_id,
        })
    }
}

/// Configuration refuses a generic issuer without paths; should one come by, its tokens name nobody.
fn paths<'a>(source: &Source<'a>) -> Result<&'a ClaimPaths, ClaimFault> {
    source.paths.ok_or_else(|| ClaimFault::Missing {
        claim: "repository-id".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::super::{Payload, ProviderKind, provider};
    use super::*;

    #[test]
    fn reads_declared_paths_and_nothing_else() {
        let paths: ClaimPaths = serde_json::from_value(json!({
            "repository-id": "oidc.example.com/project-id", "owner-id": "/org/id", "ref": "ref", "event": "trigger",
        }))
        .unwrap();
        let map = json!({
            "oidc.example.com/project-id": "p-1", "org": { "id": 5 }, "ref": "refs/heads/main", "environment": "production",
        });
        let map = map.as_object().unwrap();
        let source = Source {
            kind: ProviderKind::Generic,
            issuer: "ci",
            url: "https://ci.example.com",
            paths: Some(&paths),
            payload: Payload::new(map),
            jti: "j",
            issued_at: Timestamp::UNIX_EPOCH,
            expires_at: Timestamp::UNIX_EPOCH,
        };
        let claims = provider(source.kind).claims(&source).unwrap();
        assert_eq!((claims.repository_id.as_str(), claims.owner_id.as_str()), ("p-1", "5"));
        assert_eq!(claims.git_ref.as_deref(), Some("refs/heads/main"));
        assert_eq!(claims.environment, None, "not declared");
        assert_eq!(claims.event, None, "declared, not sent");
        let nowhere = Source { paths: None, ..source };
        assert!(provider(source.kind).claims(&nowhere).is_err());
    }
}
