//! Steps 7 to 13: what a rightly signed token may not say.

use hoop::claims::NEVER_EVENTS;
use serde_json::{Value, json};

use super::{AUDIENCE, Site, Table};

pub(super) fn add(table: &mut Table, site: &Site) {
    audiences(table, site);
    times(table, site);
    identifiers(table, site);
    owners(table, site);
    required(table, site);
    for event in NEVER_EVENTS {
        let token = site.github_token(&json!({ "event_name": event }));
        table.add("event-not-allowed", format!("github event {event}"), token);
    }
    let token = site.gitlab_token(&json!({ "pipeline_source": "external_pull_request_event" }));
    table.add("event-not-allowed", "gitlab source external_pull_request_event", token);
    let token = site.generic_token(
        "RS256",
        &site.generic.rsa_kid(),
        &json!({ "trigger": "pull_request_target" }),
    );
    table.add("event-not-allowed", "generic event pull_request_target", token);
    order(table, site);
}

fn audiences(table: &mut Table, site: &Site) {
    for aud in [
        json!(null),
        json!(""),
        json!([]),
        json!([""]),
        json!([[AUDIENCE]]),
        json!([AUDIENCE, AUDIENCE]),
        json!([AUDIENCE, "https://other.example.com"]),
        json!(["https://other.example.com", AUDIENCE]),
        json!("https://other.example.com"),
        json!("https://db-broker.example.co"),
        json!("https://db-broker.example.com/"),
        json!("https://db-broker.example.com.evil.com"),
        json!("https://db-broker.example.com https://other.example.com"),
        json!("HTTPS://DB-BROKER.EXAMPLE.COM"),
        json!(" https://db-broker.example.com"),
        json!("https://db-broker.example.com\0"),
        json!("db-broker.example.com"),
        json!("https://github.com/acme"),
        json!("sts.amazonaws.com"),
        json!("*"),
        json!(7),
        json!(true),
        json!({ "0": AUDIENCE }),
    ] {
        table.add(
            "wrong-audience",
            format!("aud = {aud}"),
            site.github_token(&json!({ "aud": aud })),
        );
    }
}

fn times(table: &mut Table, site: &Site) {
    let now = site.clock.now().as_second();
    for claim in ["exp", "iat", "nbf"] {
        table.add(
            "claim-missing",
            format!("no {claim}"),
            site.github_token(&json!({ claim: null })),
        );
        for value in [
            json!((now + 100).to_string()),
            json!("99999999999"),
            json!(""),
            json!(1.5e9),
            json!(1_700_000_000.5),
            json!(1e300),
            json!(u64::MAX),
            json!(i64::MAX),
            json!(i64::MIN),
            json!(now * 1000),
            json!(true),
            json!([now]),
            json!({}),
        ] {
            // In milliseconds the year would be after 50000, which no clock of ours can hold.
            table.add(
                "token-malformed",
                format!("{claim} = {value}"),
                site.github_token(&json!({ claim: value })),
            );
        }
        table.add("token-malformed", format!("{claim} = null"), with_null(site, claim));
    }
    for (code, name, changes) in [
        (
            "token-expired",
            "expired 65 s ago",
            json!({ "iat": now - 300, "exp": now - 65 }),
        ),
        (
            "token-expired",
            "expired an hour ago",
            json!({ "iat": now - 3900, "nbf": now - 4500, "exp": now - 3600 }),
        ),
        ("token-expired", "exp = 0", json!({ "exp": 0 })),
        ("token-expired", "exp = -1", json!({ "exp": -1 })),
        (
            "clock-skew",
            "issued two minutes ahead",
            json!({ "iat": now + 120, "exp": now + 420 }),
        ),
        (
            "clock-skew",
            "issued next year",
            json!({ "iat": now + 31_536_000, "exp": now + 31_536_300 }),
        ),
        ("clock-skew", "not valid for two minutes", json!({ "nbf": now + 120 })),
        ("clock-skew", "not valid for a year", json!({ "nbf": now + 31_536_000 })),
        (
            "token-too-old",
            "issued eleven minutes ago, still valid",
            json!({ "iat": now - 660, "exp": now + 200 }),
        ),
        ("token-too-old", "iat = 0", json!({ "iat": 0 })),
        ("token-too-old", "iat = -1", json!({ "iat": -1 })),
        ("token-too-old", "lives for an hour", json!({ "exp": now + 3600 })),
        (
            "token-too-old",
            "lives for ten years",
            json!({ "exp": now + 315_360_000 }),
        ),
        (
            "token-malformed",
            "expires before it is issued",
            json!({ "iat": now + 30, "exp": now + 10 }),
        ),
        (
            "token-malformed",
            "expires when it is issued",
            json!({ "iat": now, "exp": now }),
        ),
    ] {
        table.add(code, format!("github {name}"), site.github_token(&changes));
    }
    for (code, name, changes) in [
        (
            "token-too-old",
            "issued more than an hour ago",
            json!({ "iat": now - 3700, "exp": now + 3600 }),
        ),
        ("token-too-old", "lives for two days", json!({ "exp": now + 172_800 })),
        ("claim-missing", "no nbf", json!({ "nbf": null })),
    ] {
        table.add(code, format!("gitlab {name}"), site.gitlab_token(&changes));
    }
    let rsa = site.generic.rsa_kid();
    let typed = site.generic_token("RS256", &rsa, &json!({ "nbf": (now + 999).to_string() }));
    table.add("token-malformed", "generic nbf as text must not count as absent", typed);
    let long = site.generic_token("RS256", &rsa, &json!({ "exp": now + 7200 }));
    table.add("token-too-old", "generic lives for two hours", long);
}

fn identifiers(table: &mut Table, site: &Site) {
    for claim in ["jti", "sub"] {
        table.add(
            "claim-missing",
            format!("no {claim}"),
            site.github_token(&json!({ claim: null })),
        );
        table.add(
            "claim-missing",
            format!("empty {claim}"),
            site.github_token(&json!({ claim: "" })),
        );
        for value in [json!(7), json!(["x"]), json!({}), json!(false), json!("a\u{0}b")] {
            table.add(
                "token-malformed",
                format!("{claim} = {value}"),
                site.github_token(&json!({ claim: value })),
            );
        }
    }
    table.add(
        "token-malformed",
        "jti of 300 bytes",
        site.github_token(&json!({ "jti": "x".repeat(300) })),
    );
    let github = [
        "repository_id",
        "repository",
        "repository_owner_id",
        "ref",
        "event_name",
        "run_id",
    ];
    let gitlab = [
        "project_id",
        "project_path",
        "namespace_id",
        "ref",
        "ref_type",
        "pipeline_source",
        "pipeline_id",
        "job_id",
    ];
    for claim in github {
        table.add(
            "claim-missing",
            format!("github no {claim}"),
            site.github_token(&json!({ claim: null })),
        );
        table.add(
            "claim-missing",
            format!("github empty {claim}"),
            site.github_token(&json!({ claim: "" })),
        );
        table.add(
            "token-malformed",
            format!("github {claim} as a list"),
            site.github_token(&json!({ claim: ["1342004"] })),
        );
        table.add(
            "token-malformed",
            format!("github {claim} as an object"),
            site.github_token(&json!({ claim: {} })),
        );
    }
    for claim in gitlab {
        table.add(
            "claim-missing",
            format!("gitlab no {claim}"),
            site.gitlab_token(&json!({ claim: null })),
        );
        table.add(
            "token-malformed",
            format!("gitlab {claim} as a list"),
            site.gitlab_token(&json!({ claim: ["72"] })),
        );
    }
    for claim in [
        "environment",
        "ref_protected",
        "workflow_ref",
        "job_workflow_ref",
        "check_run_id",
        "sha",
        "actor",
    ] {
        let token = site.github_token(&json!({ claim: { "x": 1 } }));
        table.add(
            "token-malformed",
            format!("github optional {claim} as an object"),
            token,
        );
    }
    table.add(
        "token-malformed",
        "repository_id as a fraction",
        site.github_token(&json!({ "repository_id": 260_064_828.5 })),
    );
    table.add(
        "token-malformed",
        "repository_id of 2 KiB",
        site.github_token(&json!({ "repository_id": "1".repeat(2048) })),
    );
    table.add(
        "token-malformed",
        "repository with a new line",
        site.github_token(&json!({ "repository": "acme/orders\nx" })),
    );
}

fn owners(table: &mut Table, site: &Site) {
    for owner in [
        json!("999"),
        json!("acme"),
        json!("01342004"),
        json!(" 1342004"),
        json!("1342004 "),
        json!("134200"),
        json!("13420041"),
        json!("*"),
        json!(-1_342_004),
        json!("1342004,999"),
        json!("72"),
        json!(true),
    ] {
        let token = site.github_token(&json!({ "repository_owner_id": owner }));
        table.add("owner-not-allowed", format!("owner id = {owner}"), token);
    }
    let renamed = json!({ "repository_owner_id": "999", "repository_owner": "acme", "repository": "acme/orders" });
    table.add(
        "owner-not-allowed",
        "a new owner under an old name",
        site.github_token(&renamed),
    );
    let token = site.gitlab_token(&json!({ "namespace_id": "1342004" }));
    table.add("owner-not-allowed", "GitHub's owner id at GitLab", token);
    let token = site.gitlab_token(&json!({ "namespace_id": "99", "namespace_path": "acme" }));
    table.add("owner-not-allowed", "gitlab foreign namespace", token);
    let rsa = site.generic.rsa_kid();
    let token = site.generic_token("RS256", &rsa, &json!({ "org": { "id": "o-1" } }));
    table.add("owner-not-allowed", "generic foreign owner", token);
    let token = site.generic_token("RS256", &rsa, &json!({ "org": "o-9" }));
    table.add("claim-missing", "generic owner not where it is declared", token);
    let token = site.generic_token(
        "RS256",
        &rsa,
        &json!({ "ci.example.com/project-id": null, "ci": { "example": 1 } }),
    );
    table.add("claim-missing", "generic project id missing", token);
}

fn required(table: &mut Table, site: &Site) {
    for value in [
        json!("self-hosted"),
        json!("github"),
        json!("github-hosted/x"),
        json!("xgithub-hosted"),
        json!(null),
        json!([]),
    ] {
        let token = site.github_token(&json!({ "runner_environment": value }));
        table.add("claim-missing", format!("required runner_environment = {value}"), token);
    }
    for value in [json!({}), json!([{}]), json!(1.5)] {
        let token = site.github_token(&json!({ "runner_environment": value }));
        table.add(
            "token-malformed",
            format!("required runner_environment = {value}"),
            token,
        );
    }
    for (name, changes) in [
        ("runs in another project", json!({ "job_project_id": "43" })),
        ("runs in another project, as a number", json!({ "job_project_id": 43 })),
        // After the fix of 2025 a fork's job in the target project carries the fork's ids.
        (
            "of an allowed namespace runs in the target",
            json!({ "project_id": "77", "namespace_id": "73" }),
        ),
    ] {
        table.add(
            "fork-not-allowed",
            format!("gitlab fork: {name}"),
            site.gitlab_token(&changes),
        );
    }
    let token = site.gitlab_token(&json!({ "job_project_id": ["42"] }));
    table.add("token-malformed", "gitlab job_project_id as a list", token);
}

/// Two rules broken at once: the code is the earlier one's.
fn order(table: &mut Table, site: &Site) {
    let now = site.clock.now().as_second();
    for (code, name, changes) in [
        (
            "wrong-audience",
            "audience before expiry",
            json!({ "aud": "x", "exp": 1000 }),
        ),
        (
            "token-expired",
            "expiry before jti",
            json!({ "exp": now - 100, "iat": now - 400, "jti": null }),
        ),
        (
            "token-expired",
            "expiry before owner",
            json!({ "exp": now - 100, "iat": now - 400, "repository_owner_id": "9" }),
        ),
        (
            "claim-missing",
            "jti before owner",
            json!({ "jti": null, "repository_owner_id": "9" }),
        ),
        (
            "owner-not-allowed",
            "owner before repository",
            json!({ "repository_owner_id": "9", "repository_id": null }),
        ),
        (
            "owner-not-allowed",
            "owner before event",
            json!({ "repository_owner_id": "9", "event_name": "workflow_run" }),
        ),
        (
            "claim-missing",
            "required claim before event",
            json!({ "runner_environment": "x", "event_name": "workflow_run" }),
        ),
    ] {
        table.add(code, format!("order: {name}"), site.github_token(&changes));
    }
    let changes = json!({ "job_project_id": "43", "namespace_id": "99" });
    table.add(
        "owner-not-allowed",
        "order: owner before fork",
        site.gitlab_token(&changes),
    );
    let changes = json!({ "job_project_id": "43", "pipeline_source": "external_pull_request_event" });
    table.add(
        "fork-not-allowed",
        "order: fork before event",
        site.gitlab_token(&changes),
    );
}

/// A claim that is there and null, which is not the same as absent.
fn with_null(site: &Site, claim: &str) -> String {
    let mut claims = site.github_claims(&json!({}));
    claims.insert(claim.to_owned(), Value::Null);
    site.github
        .sign(&site.github_header(&json!({})), &Value::Object(claims))
        .unwrap()
}
