//! GitLab CI/CD.

use super::{ClaimFault, Claims, Provider, Source, split_ref, truth};

pub(super) struct Gitlab;

impl Provider for Gitlab {
    fn owner_id(&self, source: &Source<'_>) -> Result<String, ClaimFault> {
        source.payload.need("namespace_id")
    }

    fn claims(&self, source: &Source<'_>) -> Result<Claims, ClaimFault> {
        let payload = source.payload;
        let repository = payload.need("project_path")?;
        let event = payload.need("pipeline_source")?;
        let short_ref = payload.need("ref")?;
        let ref_type = payload.need("ref_type")?;
        let config = payload
            .text("ci_config_ref_uri")?
            .and_then(|uri| config_path(&uri, source.url, &repository));
        Ok(Claims {
            provider: source.kind,
            issuer: source.issuer.to_owned(),
            repository_id: payload.need("project_id")?,
            owner_id: self.owner_id(source)?,
            git_ref: full_ref(&event, &ref_type, &short_ref),
            ref_protected: truth(payload.text("ref_protected")?.as_deref()),
            environment: payload.text("environment")?,
            event: Some(event),
            workflow: None,
            reusable_workflow: None,
            config,
            sha: payload.text("sha")?,
            actor: payload.text("user_login")?,
            run_id: Some(payload.need("pipeline_id")?),
            run_attempt: None,
            job_id: Some(payload.need("job_id")?),
            jti: source.jti.to_owned(),
            issued_at: source.issued_at,
            expires_at: source.expires_at,
            raw: payload.to_map(),
            repository,
        })
    }

    fn same_project(&self, source: &Source<'_>) -> Result<(), ClaimFault> {
        let project = source.payload.need("project_id")?;
        match source.payload.text("job_project_id")? {
            Some(job_project) if job_project != project => Err(ClaimFault::Fork { project, job_project }),
            _ => Ok(()),
        }
    }
}

/// In a merge request's pipeline `ref` is the source branch and `ref_type` says `branch`: the request's author chose that
/// name, so it is no branch a policy could trust.
fn full_ref(event: &str, ref_type: &str, short: &str) -> Option<String> {
    if event.contains("merge_request") || event.contains("pull_request") {
        return None;
    }
    match ref_type {
        "branch" => Some(format!("refs/heads/{short}")),
        "tag" => Some(format!("refs/tags/{short}")),
        _ => None,
    }
}

/// `gitlab.example.com/acme/orders//ci/db.yml@refs/heads/main` is `ci/db.yml`, if the file is this issuer's and this
/// project's own; a configuration taken from elsewhere is not a path of this project.
fn config_path(uri: &str, issuer_url: &str, project: &str) -> Option<String> {
    let (location, _) = split_ref(uri)?;
    let (_, host) = issuer_url.split_once("://")?;
    let path = location.strip_prefix(host.trim_end_matches('/'))?.strip_prefix('/')?;
    let path = path.strip_prefix(project)?.strip_prefix("//")?;
    (!path.is_empty()).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::{Map, Value, json};

    use super::super::{Payload, ProviderKind, provider};
    use super::*;

    fn payload(overrides: &Value) -> Map<String, Value> {
        let mut map = json!({
            "project_id": "42", "project_path": "acme/orders", "namespace_id": "72", "ref": "main", "ref_type": "branch",
            "ref_protected": "true", "pipeline_source": "push", "pipeline_id": "1212", "job_id": 8222, "sha": "ab",
            "user_login": "ada", "ci_config_ref_uri": "gitlab.example.com/acme/orders//.gitlab-ci.yml@refs/heads/main",
        });
        for (name, value) in overrides.as_object().unwrap() {
            map.as_object_mut().unwrap().insert(name.clone(), value.clone());
        }
        map.as_object().unwrap().clone()
    }

    fn source(map: &Map<String, Value>) -> Source<'_> {
        Source {
            kind: ProviderKind::Gitlab,
            issuer: "gitlab",
            url: "https://gitlab.example.com",
            paths: None,
            payload: Payload::new(map),
            jti: "j",
            issued_at: Timestamp::UNIX_EPOCH,
            expires_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn claims(overrides: &Value) -> Claims {
        provider(ProviderKind::Gitlab)
            .claims(&source(&payload(overrides)))
            .unwrap()
    }

    #[test]
    fn reads_the_whole_shape() {
        let claims = claims(&json!({}));
        assert_eq!(claims.repository_id, "42");
        assert_eq!(claims.owner_id, "72");
        assert_eq!(claims.git_ref.as_deref(), Some("refs/heads/main"));
        assert_eq!(claims.config.as_deref(), Some(".gitlab-ci.yml"));
        assert_eq!(claims.job_id.as_deref(), Some("8222"), "numbers are text");
        assert_eq!(claims.event.as_deref(), Some("push"));
    }

    #[test]
    fn a_merge_request_has_no_branch_whatever_it_calls_itself() {
        let refs = |source: &str, kind: &str| claims(&json!({ "pipeline_source": source, "ref_type": kind })).git_ref;
        assert_eq!(refs("merge_request_event", "branch"), None);
        assert_eq!(refs("external_pull_request_event", "branch"), None);
        assert_eq!(refs("push", "tag").as_deref(), Some("refs/tags/main"));
        assert_eq!(refs("push", "merge_request"), None);
    }

    #[test]
    fn a_configuration_of_another_place_is_no_path_of_this_project() {
        for (uri, expected) in [
            (
                "gitlab.example.com/acme/orders//ci/db.yml@refs/heads/main",
                Some("ci/db.yml"),
            ),
            (
                "gitlab.example.com/acme/orders//a@b.yml@refs/heads/main",
                Some("a@b.yml"),
            ),
            (
                "gitlab.example.com/evil/acme/orders//.gitlab-ci.yml@refs/heads/main",
                None,
            ),
            (
                "gitlab.example.com/acme/orders-evil//.gitlab-ci.yml@refs/heads/main",
                None,
            ),
            ("evil.example.com/acme/orders//.gitlab-ci.yml@refs/heads/main", None),
            (
                "gitlab.example.com.evil.com/acme/orders//.gitlab-ci.yml@refs/heads/main",
                None,
            ),
            ("gitlab.example.com/acme/orders//@refs/heads/main", None),
            ("https://ci.example.com/x.yml", None),
        ] {
            let claims = claims(&json!({ "ci_config_ref_uri": uri }));
            assert_eq!(claims.config.as_deref(), expected, "{uri}");
        }
        assert_eq!(claims(&json!({ "ci_config_ref_uri": null })).config, None);
    }

    #[test]
    fn a_fork_that_runs_in_the_target_project_is_refused() {
        let check = |overrides: &Value| provider(ProviderKind::Gitlab).same_project(&source(&payload(overrides)));
        assert_eq!(check(&json!({})), Ok(()));
        assert_eq!(check(&json!({ "job_project_id": 42 })), Ok(()));
        assert_eq!(
            check(&json!({ "job_project_id": "43" })),
            Err(ClaimFault::Fork {
                project: "42".into(),
                job_project: "43".into()
            })
        );
    }
}
