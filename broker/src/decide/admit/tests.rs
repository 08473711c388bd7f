//! Jobs of every kind against one policy: who gets in, who does not, and what they are told.

use std::io;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::claims::ProviderKind;
use crate::policy::operator::Operator;

const OPERATOR: &str = r#"
issuers:
  github: { kind: github-actions }
  ghes: { kind: github-actions }
  gitlab: { kind: gitlab }
  buildkite: { kind: generic }
databases: { prod: {}, replica: {} }
repositories:
  - { id: "github:1", name: acme/orders, ceiling: team }
  - { id: "gitlab:1", name: acme/orders, ceiling: team }
  - { id: "buildkite:uuid-1", name: acme/orders, ceiling: team }
  - { id: "github:2", name: acme/nothing, ceiling: team }
  - { id: "github:3", name: acme/broken, ceiling: team }
  - { id: "github:4", name: acme/locked, ceiling: team }
ceilings:
  team:
    databases:
      prod:
        require: { environment: [production], events: [push, workflow_dispatch], sources: [push, web] }
        can: [{ statements: [read, write], tables: ["app.*"] }]
        max: { ttl: 30m }
      replica:
        can: [{ statements: [read], tables: ["app.*"] }]
    pull-requests: { databases: [replica] }
"#;

const POLICY: &str = r#"version: 1
scopes:
  migrate:
    database: prod
    who:
      - issuer: github
        branch: main
        workflow: .github/workflows/migrate.yml
        environment: production
        events: [push, workflow_dispatch]
      - { issuer: gitlab, branch: main, config: .gitlab-ci.yml, environment: production, sources: [push, web] }
    can: [{ statements: [select], tables: [app.orders] }]
  bounded:
    database: prod
    who: [{ issuer: github, branch: main, events: [push] }, { issuer: gitlab, branch: main, sources: [push] }]
    can: [{ statements: [select], tables: [app.orders] }]
  release:
    database: replica
    who:
      - { issuer: github, branch: "release/*", events: [push] }
      - { issuer: github, tag: "v*", events: [push, release] }
      - { issuer: github, branch: "hotfix/**", events: [push], claims: { runner_environment: self-hosted, groups: dba } }
    can: [{ statements: [select], tables: [app.orders] }]
  check:
    database: replica
    who:
      - { issuer: github, workflow: .github/workflows/test.yml, events: [pull_request] }
      - { issuer: gitlab, sources: [merge_request_event] }
    can: [{ statements: [select], tables: [app.orders] }]
  reuse:
    database: replica
    who: [{ issuer: github, branch: main, reusable-workflow: acme/ci/.github/workflows/db.yml, events: [schedule] }]
    can: [{ statements: [select], tables: [app.orders] }]
  agent:
    database: replica
    who: [{ issuer: buildkite, claims: { "pipeline/slug": orders, build.number: "7" } }]
    can: [{ statements: [select], tables: [app.orders] }]
  masked:
    database: replica
    who: [{ issuer: github, branch: main, events: [push] }]
    can: [{ statements: [select], tables: [app.orders] }]
    record: { rows: masked }
  greedy:
    database: replica
    who: [{ issuer: github, branch: main, events: [push] }]
    can: [{ statements: [select], tables: [hr.salaries] }]
  slip:
    database: replica
    who: [{ issuer: github, branch: main, events: [push] }]
    can: [{ statements: [select], tabels: [app.orders] }]
"#;

pub(in crate::decide) fn policies() -> Policies {
    let operator = Operator::read(OPERATOR, "broker.yaml").unwrap();
    Policies::load(&operator, |file| match file {
        "acme/orders/db-access.yaml" => Ok(POLICY.to_owned()),
        "acme/broken/db-access.yaml" => Ok("version: 1\nscopes:\n  a: &x {}\n".to_owned()),
        "acme/locked/db-access.yaml" => Err(io::Error::from(io::ErrorKind::PermissionDenied)),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    })
}

/// A push to main of `acme/orders` on GitHub, in production.
pub(in crate::decide) fn github() -> Claims {
    let text = |text: &str| Some(text.to_owned());
    Claims {
        provider: ProviderKind::GithubActions,
        issuer: "github".to_owned(),
        repository_id: "1".to_owned(),
        repository: "acme/orders".to_owned(),
        owner_id: "9".to_owned(),
        git_ref: text("refs/heads/main"),
        ref_protected: Some(true),
        environment: text("production"),
        event: text("push"),
        workflow: text(".github/workflows/migrate.yml"),
        reusable_workflow: None,
        config: None,
        sha: None,
        actor: None,
        run_id: None,
        run_attempt: None,
        job_id: None,
        jti: "j".to_owned(),
        issued_at: Timestamp::UNIX_EPOCH,
        expires_at: Timestamp::UNIX_EPOCH,
        raw: serde_json::Map::new(),
    }
}

fn gitlab() -> Claims {
    Claims {
        provider: ProviderKind::Gitlab,
        issuer: "gitlab".to_owned(),
        workflow: None,
        config: Some(".gitlab-ci.yml".to_owned()),
        ..github()
    }
}

fn buildkite() -> Claims {
    Claims {
        provider: ProviderKind::Generic,
        issuer: "buildkite".to_owned(),
        repository_id: "uuid-1".to_owned(),
        event: None,
        environment: None,
        git_ref: None,
        workflow: None,
        raw: map(json!({"pipeline/slug": "orders", "build.number": 7})),
        ..github()
    }
}

fn map(value: serde_json::Value) -> serde_json::Map<String, serde_json::Value> {
    serde_json::from_value(value).unwrap()
}

fn on(git_ref: &str) -> Claims {
    Claims {
        git_ref: Some(git_ref.to_owned()),
        ..github()
    }
}

fn by(event: &str) -> Claims {
    Claims {
        event: Some(event.to_owned()),
        ..github()
    }
}

fn within(environment: &str, base: Claims) -> Claims {
    Claims {
        environment: Some(environment.to_owned()),
        ..base
    }
}

fn hotfix(raw: serde_json::Value) -> Claims {
    Claims {
        raw: map(raw),
        ..on("refs/heads/hotfix/1/2")
    }
}

/// Name, scope, claims, and `ok` or the refusal's code with the line it cites (0 for none).
fn check(table: &[(&str, &str, Claims, &str)]) {
    let policies = policies();
    let mut wrong = Vec::new();
    for (name, scope, claims, expected) in table {
        let got = match admit(claims, scope, &policies) {
            Ok(matched) => format!("ok {}", matched.matched().line),
            Err(refusal) => format!("{} {}", refusal.code, refusal.policy.map_or(0, |line| line.origin.line)),
        };
        if got != *expected {
            wrong.push(format!("{name}: {got}, expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
#[rustfmt::skip] // one case, one line
fn branches_and_tags() {
    let none = Claims {
        git_ref: None,
        ..github()
    };
    check(&[
        ("main", "migrate", github(), "ok 6"),
        ("a pull request", "migrate", on("refs/pull/1/merge"), "branch-mismatch 7"),
        ("a pull request's head", "migrate", on("refs/pull/1/head"), "branch-mismatch 7"),
        ("another case", "migrate", on("refs/heads/Main"), "branch-mismatch 7"),
        ("a tag named main", "migrate", on("refs/tags/main"), "branch-mismatch 7"),
        ("a bare name", "migrate", on("main"), "branch-mismatch 7"),
        ("a longer name", "migrate", on("refs/heads/main2"), "branch-mismatch 7"),
        ("a nested name", "migrate", on("refs/heads/x/main"), "branch-mismatch 7"),
        ("a doubled prefix", "migrate", on("refs/heads/refs/heads/main"), "branch-mismatch 7"),
        ("a trailing newline", "migrate", on("refs/heads/main\n"), "branch-mismatch 7"),
        ("a merge queue", "migrate", on("refs/heads/gh-readonly-queue/main/pr-1-abc"), "branch-mismatch 7"),
        ("no ref at all", "migrate", none.clone(), "branch-mismatch 7"),
        ("an empty ref", "migrate", on(""), "branch-mismatch 7"),
        ("one segment", "release", on("refs/heads/release/1.2"), "ok 20"),
        ("two segments", "release", on("refs/heads/release/1/2"), "branch-mismatch 20"),
        ("an empty segment", "release", on("refs/heads/release/"), "branch-mismatch 20"),
        ("a tag", "release", on("refs/tags/v1"), "ok 21"),
        ("a branch named as a tag", "release", on("refs/heads/v1"), "branch-mismatch 20"),
    ]);
}

#[test]
fn a_merge_queue_is_on_no_branch_even_where_a_glob_names_it() {
    let wide = POLICY.replace("\"release/*\"", "\"gh-readonly-queue/**\"");
    let operator = Operator::read(OPERATOR, "broker.yaml").unwrap();
    let policies = Policies::load(&operator, |_| Ok(wide.clone()));
    let claims = on("refs/heads/gh-readonly-queue/main/pr-1-abc");
    assert_eq!(
        admit(&claims, "release", &policies).unwrap_err().code,
        "branch-mismatch"
    );
    // The file itself is sound: its other entries still admit.
    assert!(admit(&on("refs/tags/v1"), "release", &policies).is_ok());
}

#[test]
#[rustfmt::skip] // one case, one line
fn environments() {
    let none = Claims {
        environment: None,
        ..github()
    };
    check(&[
        ("case does not matter on GitHub", "migrate", within("Production", github()), "ok 6"),
        ("case matters on GitLab", "migrate", within("Production", gitlab()), "environment-mismatch 11"),
        ("GitLab", "migrate", gitlab(), "ok 11"),
        ("another", "migrate", within("staging", github()), "environment-mismatch 9"),
        ("longer", "migrate", within("production ", github()), "environment-mismatch 9"),
        ("empty", "migrate", within("", github()), "environment-mismatch 9"),
        ("none", "migrate", none.clone(), "environment-mismatch 9"),
        // `bounded` does not name one; the ceiling does (line 19 of broker.yaml).
        ("the ceiling's", "bounded", within("PRODUCTION", github()), "ok 15"),
        ("not the ceiling's", "bounded", within("staging", github()), "environment-mismatch 19"),
        ("none for the ceiling", "bounded", none, "environment-mismatch 19"),
        ("GitLab's case for the ceiling", "bounded", within("Production", gitlab()), "environment-mismatch 19"),
    ]);
}

#[test]
#[rustfmt::skip] // one case, one line
fn triggers() {
    let test = |event: &str| Claims {
        workflow: Some(".github/workflows/test.yml".to_owned()),
        git_ref: Some("refs/pull/7/merge".to_owned()),
        ..by(event)
    };
    let merge_request = Claims {
        event: Some("merge_request_event".to_owned()),
        git_ref: Some("refs/merge-requests/7/head".to_owned()),
        ..gitlab()
    };
    let none = Claims {
        event: None,
        ..github()
    };
    check(&[
        ("the other trigger", "migrate", by("workflow_dispatch"), "ok 6"),
        ("a schedule", "migrate", by("schedule"), "event-not-allowed 10"),
        ("another case", "migrate", by("Push"), "event-not-allowed 10"),
        ("none", "migrate", none, "event-not-allowed 10"),
        ("a pull request from main", "migrate", by("pull_request"), "event-not-allowed 10"),
        ("pull_request_target", "migrate", by("pull_request_target"), "event-not-allowed 3"),
        ("workflow_run", "migrate", by("workflow_run"), "event-not-allowed 3"),
        ("issue_comment", "check", test("issue_comment"), "event-not-allowed 24"),
        ("pull_request_target of the check", "check", test("pull_request_target"), "event-not-allowed 24"),
        ("the check", "check", test("pull_request"), "ok 27"),
        ("a push of the check", "check", test("push"), "event-not-allowed 27"),
        ("a merge request", "check", merge_request, "ok 28"),
        ("a GitLab push", "check", gitlab(), "event-not-allowed 28"),
    ]);
}

#[test]
#[rustfmt::skip] // one case, one line
fn workflows_and_other_claims() {
    let workflow = |path: Option<&str>| Claims {
        workflow: path.map(str::to_owned),
        ..github()
    };
    let reusable = |path: Option<&str>| Claims {
        reusable_workflow: path.map(str::to_owned),
        ..by("schedule")
    };
    let config = Claims {
        config: None,
        ..gitlab()
    };
    check(&[
        ("another file", "migrate", workflow(Some(".github/workflows/evil.yml")), "workflow-mismatch 8"),
        ("a nested file", "migrate", workflow(Some("x/.github/workflows/migrate.yml")), "workflow-mismatch 8"),
        ("with its ref", "migrate", workflow(Some(".github/workflows/migrate.yml@refs/heads/x")), "workflow-mismatch 8"),
        ("none", "migrate", workflow(None), "workflow-mismatch 8"),
        ("a null configuration", "migrate", config, "workflow-mismatch 11"),
        ("the called workflow", "reuse", reusable(Some("acme/ci/.github/workflows/db.yml")), "ok 32"),
        ("a fork's called workflow", "reuse", reusable(Some("evil/ci/.github/workflows/db.yml")), "workflow-mismatch 32"),
        ("no called workflow", "reuse", reusable(None), "workflow-mismatch 32"),
        ("lists match any of", "release", hotfix(json!({"runner_environment": "self-hosted", "groups": ["x", "dba"]})), "ok 22"),
        ("a hosted runner", "release", hotfix(json!({"runner_environment": "github-hosted", "groups": "dba"})), "runner-mismatch 22"),
        ("no runner", "release", hotfix(json!({"groups": "dba"})), "runner-mismatch 22"),
        ("a null claim", "release", hotfix(json!({"runner_environment": "self-hosted", "groups": null})), "claim-mismatch 22"),
        ("an object", "release", hotfix(json!({"runner_environment": "self-hosted", "groups": {"a": "dba"}})), "claim-mismatch 22"),
        ("an empty list", "release", hotfix(json!({"runner_environment": "self-hosted", "groups": []})), "claim-mismatch 22"),
    ]);
}

#[test]
#[rustfmt::skip] // one case, one line
fn generic_issuers() {
    let raw = |value| Claims {
        raw: map(value),
        ..buildkite()
    };
    let event = |event: &str| Claims {
        event: Some(event.to_owned()),
        ..buildkite()
    };
    check(&[
        ("numbers compare as text", "agent", buildkite(), "ok 36"),
        ("a nested claim is not a dotted one", "agent", raw(json!({"pipeline/slug": "orders", "build": {"number": 7}})), "claim-mismatch 36"),
        ("a trigger of its own", "agent", event("webhook"), "ok 36"),
        ("a proposed change", "agent", event("pull_request"), "event-not-allowed 36"),
        ("a forbidden trigger", "agent", event("workflow_run"), "event-not-allowed 34"),
        ("a GitHub job", "agent", github(), "issuer-mismatch 36"),
    ]);
}

#[test]
#[rustfmt::skip] // one case, one line
fn repositories_files_and_scopes() {
    let id = |issuer: &str, id: &str| Claims {
        issuer: issuer.to_owned(),
        repository_id: id.to_owned(),
        ..github()
    };
    check(&[
        ("a stranger", "migrate", id("github", "99"), "repository-not-registered 0"),
        ("the same id elsewhere", "migrate", id("ghes", "1"), "repository-not-registered 0"),
        ("the name as id", "migrate", id("github", "acme/orders"), "repository-not-registered 0"),
        ("no file", "migrate", id("github", "2"), "policy-missing 0"),
        ("a broken file", "migrate", id("github", "3"), "policy-invalid 3"),
        ("a file out of reach", "migrate", id("github", "4"), "policy-invalid 0"),
        ("a slip in the name", "migrat", github(), "scope-unknown 1"),
        ("another case of the name", "Migrate", github(), "scope-unknown 1"),
        ("a key of later versions", "masked", github(), "not-yet-enforced 42"),
        ("beyond the ceiling", "greedy", github(), "exceeds-ceiling 46"),
        ("a slip in a key", "slip", github(), "policy-invalid 50"),
        // The errors of its neighbours do not touch a good scope.
        ("a good scope", "migrate", github(), "ok 6"),
    ]);
}

#[test]
fn a_refusal_explains_the_closest_entry() {
    let policies = policies();
    let claims = Claims {
        environment: None,
        ..on("refs/pull/7/merge")
    };
    let refusal = admit(&claims, "migrate", &policies).unwrap_err();
    let sha = refusal.policy.as_ref().and_then(|line| line.sha.clone()).unwrap();
    assert_eq!(sha.len(), 64);
    assert_eq!(
        serde_json::to_value(&refusal).unwrap(),
        json!({
            "code": "branch-mismatch",
            "detail": "scope `migrate`: the policy wants branch `refs/heads/main`, the token says `refs/pull/7/merge`",
            "fix": "run the job from there, or change .hoop/db-access.yaml:7 on the default branch",
            "policy": {"path": ".hoop/db-access.yaml", "line": 7, "column": 9, "sha": &*sha},
            "expected": {
                "issuer": "`github`", "branch": "`refs/heads/main`", "environment": "`production`",
                "workflow": "`.github/workflows/migrate.yml`", "events": "`push` or `workflow_dispatch`",
            },
            "actual": {
                "issuer": "github", "branch": "refs/pull/7/merge", "environment": "MISSING",
                "workflow": ".github/workflows/migrate.yml", "events": "push",
            },
        })
    );
    let near = admit(&github(), "migrat", &policies).unwrap_err();
    assert_eq!(near.fix, "did you mean `migrate`?");
    // Two of the release entries name branches; the hotfix one agrees in more keys.
    let close = admit(
        &hotfix(json!({"runner_environment": "x", "groups": "dba"})),
        "release",
        &policies,
    )
    .unwrap_err();
    assert_eq!(
        close.expected.get("branch").map(String::as_str),
        Some("`refs/heads/hotfix/**`")
    );
}

#[test]
fn claims_cannot_write_into_the_log() {
    let claims = on("refs/heads/x\n2026-11-22 admitted\u{1b}[2J");
    let shown = admit(&claims, "migrate", &policies()).unwrap_err().to_string();
    assert!(!shown.contains(['\n', '\u{1b}']), "{shown}");
    let long = admit(&on(&"x".repeat(100_000)), "migrate", &policies()).unwrap_err();
    assert!(long.detail.len() < 1000);
}

#[test]
fn the_lifetime_is_clipped() {
    let matched = admit(&github(), "migrate", &policies()).unwrap();
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    assert_eq!(clip_ttl(&matched, None), Ok(minutes(15)));
    assert_eq!(clip_ttl(&matched, Some(minutes(5))), Ok(minutes(5)));
    assert_eq!(clip_ttl(&matched, Some(minutes(600))), Ok(minutes(15)));
    assert_eq!(
        clip_ttl(&matched, Some(Duration::ZERO)).unwrap_err().code,
        "ttl-invalid"
    );
}
