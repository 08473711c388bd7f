//! GitHub Actions. `sub` is never read: its form depends on the repository's age, its environments and its organisation's
//! templates.

use super::{ClaimFault, Claims, Provider, Source, split_ref, truth};

pub(super) struct GithubActions;

impl Provider for GithubActions {
    fn owner_id(&self, source: &Source<'_>) -> Result<String, ClaimFault> {
        source.payload.need("repository_owner_id")
    }

    fn claims(&self, source: &Source<'_>) -> Result<Claims, ClaimFault> {
        let payload = source.payload;
        let repository = payload.need("repository")?;
        let workflow = payload
            .text("workflow_ref")?
            .and_then(|text| workflow_path(&text, &repository));
        let reusable = payload.text("job_workflow_ref")?;
        Ok(Claims {
            provider: source.kind,
            issuer: source.issuer.to_owned(),
            repository_id: payload.need("repository_id")?,
            owner_id: self.owner_id(source)?,
            git_ref: Some(payload.need("ref")?).filter(|text| text.starts_with("refs/")),
            ref_protected: truth(payload.text("ref_protected")?.as_deref()),
            environment: payload.text("environment")?,
            event: Some(payload.need("event_name")?),
            workflow,
            reusable_workflow: reusable.and_then(|text| split_ref(&text).map(|(path, _)| path.to_owned())),
            config: None,
            sha: payload.text("sha")?,
            actor: payload.text("actor")?,
            run_id: Some(payload.need("run_id")?),
            run_attempt: payload.text("run_attempt")?,
            job_id: payload.text("check_run_id")?,
            jti: source.jti.to_owned(),
            issued_at: source.issued_at,
            expires_at: source.expires_at,
            raw: payload.to_map(),
            repository,
        })
    }
}

/// `acme/orders/.github/workflows/ci.yml@refs/heads/main` is `.github/workflows/ci.yml`, if `acme/orders` is the token's
/// own repository; a file of another one is not a path of this one.
fn workflow_path(workflow_ref: &str, repository: &str) -> Option<String> {
    let (path, _) = split_ref(workflow_ref)?;
    let path = path.strip_prefix(repository)?.strip_prefix('/')?;
    (!path.is_empty()).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::super::{Payload, ProviderKind, provider};
    use super::*;

    fn claims(overrides: &Value) -> Result<Claims, ClaimFault> {
        let mut map = json!({
            "repository": "acme/orders", "repository_id": "260064828", "repository_owner_id": "1342004",
            "ref": "refs/heads/main", "ref_protected": "true", "event_name": "push", "run_id": "7", "run_attempt": "1",
            "check_run_id": "99", "environment": "production", "sha": "ab", "actor": "octocat",
            "workflow_ref": "acme/orders/.github/workflows/migrate.yml@refs/heads/main",
            "job_workflow_ref": "acme/shared/.github/workflows/db.yml@refs/tags/v1",
        });
        let map = map.as_object_mut().unwrap();
        for (name, value) in overrides.as_object().unwrap() {
            map.insert(name.clone(), value.clone());
        }
        let source = Source {
            kind: ProviderKind::GithubActions,
            issuer: "github",
            url: "https://token.actions.githubusercontent.com",
            paths: None,
            payload: Payload::new(map),
            jti: "j",
            issued_at: Timestamp::UNIX_EPOCH,
            expires_at: Timestamp::UNIX_EPOCH,
        };
        provider(source.kind).claims(&source)
    }

    #[test]
    fn reads_the_whole_shape() {
        let claims = claims(&json!({})).unwrap();
        assert_eq!(claims.repository_id, "260064828");
        assert_eq!(claims.owner_id, "1342004");
        assert_eq!(claims.git_ref.as_deref(), Some("refs/heads/main"));
        assert_eq!(claims.ref_protected, Some(true));
        assert_eq!(claims.workflow.as_deref(), Some(".github/workflows/migrate.yml"));
        assert_eq!(
            claims.reusable_workflow.as_deref(),
            Some("acme/shared/.github/workflows/db.yml")
        );
        assert_eq!(claims.job_id.as_deref(), Some("99"));
    }

    #[test]
    fn awkward_workflow_names_never_become_a_plain_path() {
        for (workflow_ref, expected) in [
            (
                "acme/orders/.github/workflows/migrate.yml@evil.yml@refs/heads/main",
                Some(".github/workflows/migrate.yml@evil.yml"),
            ),
            (
                "acme/orders/.github/workflows/evil.yml@refs/heads/x@refs/heads/main",
                Some(".github/workflows/evil.yml@refs/heads/x"),
            ),
            // A branch called `x@y`: the path keeps what belongs to the branch, and matches nothing.
            ("acme/orders/.github/workflows/migrate.yml@refs/heads/x@y", None),
            ("acme/orders-evil/.github/workflows/migrate.yml@refs/heads/main", None),
            ("evil/orders/.github/workflows/migrate.yml@refs/heads/main", None),
            ("acme/orders/@refs/heads/main", None),
            ("acme/orders/.github/workflows/migrate.yml", None),
            ("acme/orders/.github/workflows/migrate.yml@", None),
            ("acme/orders/.github/workflows/migrate.yml@refs/", None),
        ] {
            let claims = claims(&json!({ "workflow_ref": workflow_ref })).unwrap();
            assert_eq!(claims.workflow.as_deref(), expected, "{workflow_ref}");
        }
    }

    #[test]
    fn what_is_not_said_is_none_and_matches_nothing() {
        let claims = claims(&json!({
            "environment": "", "ref_protected": "yes", "workflow_ref": null, "job_workflow_ref": "", "check_run_id": null,
            "ref": "main",
        }))
        .unwrap();
        assert_eq!(claims.environment, None);
        assert_eq!(claims.ref_protected, None);
        assert_eq!(claims.workflow, None);
        assert_eq!(claims.reusable_workflow, None);
        assert_eq!(claims.job_id, None);
        assert_eq!(claims.git_ref, None, "a short name is no ref");
    }

    #[test]
    fn identity_is_required() {
        for name in [
            "repository",
            "repository_id",
            "repository_owner_id",
            "ref",
            "event_name",
            "run_id",
        ] {
            for nothing in [Value::Null, json!("")] {
                let missing = ClaimFault::Missing { claim: name.to_owned() };
                assert_eq!(claims(&json!({ name: nothing })), Err(missing));
            }
        }
    }
}
