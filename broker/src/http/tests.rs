//! The routes as a client meets them: every one without a token, the straight line, and every kind of refusal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use futures_util::FutureExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::base::secret::{Prefix, Secret};
use crate::grant::testing::House;

struct Answer {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// Checks that it is a whole problem document with this status and code.
    fn problem(&self, status: u16, code: &str) -> Value {
        let json = self.json();
        assert_eq!(
            (self.status.as_u16(), json["code"].as_str()),
            (status, Some(code)),
            "{}",
            self.text
        );
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(json["status"], status);
        assert_eq!(json["type"], format!("urn:hoop:db-access:problem:{code}"));
        assert_eq!(json["request_id"], self.headers["x-request-id"].to_str().unwrap());
        assert_eq!(self.headers["cache-control"], "no-store");
        json
    }
}

struct Client {
    house: House,
    router: Router,
}

fn app(house: &House) -> App {
    App {
        grants: Arc::clone(&house.grants),
        endpoints: Endpoints {
            host: "db-broker.example.com".into(),
            port: 6432,
            tls: true,
            ca: Some("-----BEGIN CERTIFICATE-----".into()),
            databases: BTreeMap::from([("orders-prod".to_owned(), "orders".to_owned())]),
        },
        issuers: vec![IssuerInfo {
            name: "github".into(),
            kind: "github-actions".into(),
            audience: "https://db-broker.example.com".into(),
        }],
        operator: Some(Secret::new("operator-token-of-the-tests".into())),
        rate: Rate::default(),
        probes: Vec::new(),
        metrics: Arc::new(|| "# EOF\n".to_owned()),
        tasks: TaskTracker::new(),
    }
}

impl Client {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut App)) -> Self {
        let house = House::default();
        let mut app = app(&house);
        change(&mut app);
        Self {
            router: router(&Arc::new(app)),
            house,
        }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    async fn call(&self, method: Method, path: &str, token: Option<&str>, body: Option<Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = body.map(|body| {
            request
                .headers_mut()
                .unwrap()
                .insert("content-type", "application/json".parse().unwrap());
            Body::from(body.to_string())
        });
        self.send(request.body(body.unwrap_or_default()).unwrap()).await
    }

    async fn mint(&self, token: &str) -> Value {
        let answer = self
            .call(
                Method::POST,
                "/v1/grants",
                Some(token),
                Some(json!({"scope": "migrate"})),
            )
            .await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        answer.json()
    }
}

/// Routes anybody may ask. The list may only shrink.
const OPEN: [&str; 6] = [
    "GET /.well-known/hoop-db-access",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
    // Found in the paths below under its own name; it takes a key instead of a token.
    "DELETE /v1/grants",
    "GET /openapi.json",
];

#[tokio::test]
async fn every_route_refuses_a_caller_without_a_token_unless_it_is_on_the_list() {
    let client = Client::new();
    let api = client.call(Method::GET, "/openapi.json", None, None).await.json();
    let mut seen = 0;
    for (path, methods) in api["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            if OPEN.contains(&format!("{method} {path}").as_str()) {
                continue;
            }
            seen += 1;
            let path = path.replace("{id}", &crate::base::id::GrantId::fresh().to_string());
            let answer = client.call(method.clone(), &path, None, Some(json!({}))).await;
            answer.problem(401, "no-id-token");
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
    }
    assert_eq!(
        seen, 4,
        "POST /v1/grants, GET and DELETE /v1/grants/{{id}}, POST /v1/kill"
    );
    assert_eq!(client.house.audit.names(), Vec::<String>::new());
}

#[tokio::test]
async fn the_document_is_what_was_agreed() {
    let client = Client::new();
    let api = client.call(Method::GET, "/openapi.json", None, None).await;
    insta::assert_snapshot!("openapi", api.text);
}

#[tokio::test]
async fn discovery_tells_the_audience_and_the_issuers() {
    let client = Client::new();
    let answer = client
        .call(Method::GET, "/.well-known/hoop-db-access", None, None)
        .await;
    let audience = "https://db-broker.example.com";
    let expected = json!({
        "api_version": 1,
        "audience": audience,
        "issuers": [{"name": "github", "kind": "github-actions", "audience": audience}],
    });
    assert_eq!(answer.json(), expected);
}

#[tokio::test]
async fn a_token_becomes_an_endpoint_that_can_be_shown_and_revoked() {
    let client = Client::new();
    let minted = client.mint("good-1").await;
    let (endpoint, id) = (&minted["endpoint"], minted["grant"]["id"].as_str().unwrap());
    let (password, revoke) = (
        endpoint["password"].as_str().unwrap(),
        minted["revoke_token"].as_str().unwrap(),
    );
    assert!(Secret::well_formed(Prefix::Password, password));
    let url = format!("postgresql://{id}:{password}@db-broker.example.com:6432/orders?sslmode=verify-full");
    assert_eq!(endpoint["url"], url);
    insta::assert_json_snapshot!("minted", minted, {
        ".grant.id" => "[id]",
        ".endpoint.username" => "[id]",
        ".endpoint.password" => "[password]",
        ".endpoint.url" => "[url]",
        ".revoke_token" => "[revoke token]",
    });

    let path = format!("/v1/grants/{id}");
    let shown = client.call(Method::GET, &path, Some(revoke), None).await;
    assert_eq!(
        (shown.status, &shown.json()["grant"]),
        (StatusCode::OK, &minted["grant"])
    );
    assert!(!shown.text.contains(password) && !shown.text.contains(revoke));

    let revoked = client.call(Method::DELETE, &path, Some(revoke), None).await;
    assert_eq!(revoked.status, StatusCode::OK);
    insta::assert_json_snapshot!("revoked", revoked.json(), { ".grant.id" => "[id]" });
    let again = client.call(Method::DELETE, &path, Some(revoke), None).await;
    assert_eq!((again.status, again.json()), (StatusCode::OK, revoked.json()));
    assert_eq!(client.house.audit.names(), ["grant.minted", "grant.revoked"]);
}

#[tokio::test]
async fn an_unknown_grant_and_a_wrong_revoke_token_get_one_answer() {
    let client = Client::new();
    let minted = client.mint("good-1").await;
    let id = minted["grant"]["id"].as_str().unwrap().to_owned();
    let unknown = crate::base::id::GrantId::fresh().to_string();
    let revoke = minted["revoke_token"].as_str().unwrap();
    let mut answers = Vec::new();
    for (id, token) in [
        (id.as_str(), "wrong"),
        (&unknown, revoke),
        ("nonsense", revoke),
        ("%ff", revoke),
    ] {
        for method in [Method::GET, Method::DELETE] {
            let answer = client
                .call(method, &format!("/v1/grants/{id}"), Some(token), None)
                .await;
            let mut json = answer.problem(404, "grant-unknown");
            json.as_object_mut().unwrap().remove("request_id");
            answers.push(json);
        }
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn refusals_say_no_more_than_the_caller_has_proved() {
    let client = Client::new();
    let ask = |scope: &str| Some(json!({"scope": scope}));
    let forged = client
        .call(Method::POST, "/v1/grants", Some("forged"), ask("migrat"))
        .await;
    let json = forged.problem(401, "bad-signature");
    assert!(json.get("expected").is_none() && json.get("policy").is_none());
    let refused = client
        .call(Method::POST, "/v1/grants", Some("good-1"), ask("migrat"))
        .await;
    assert_eq!(refused.problem(403, "scope-unknown")["expected"], "migrate, read");
    client.mint("good-1").await;
    let again = client
        .call(Method::POST, "/v1/grants", Some("good-1"), ask("migrate"))
        .await;
    assert!(
        again.problem(409, "token-reused")["fix"]
            .as_str()
            .unwrap()
            .contains("fresh")
    );
}

#[tokio::test]
async fn a_job_that_got_no_answer_gives_its_grant_up_by_key() {
    let client = Client::new();
    let request = |method: Method, key: &str, token: &str| {
        Request::builder()
            .method(method)
            .uri("/v1/grants")
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .header("idempotency-key", key)
            .body(Body::from(r#"{"scope":"migrate"}"#))
            .unwrap()
    };
    let key = "0123456789abcdefghijkl";
    let first = client.send(request(Method::POST, key, "good-1")).await.json();
    let second = client.send(request(Method::POST, key, "good-2")).await.json();
    assert_ne!(first["grant"]["id"], second["grant"]["id"]);
    let ended = client.send(request(Method::DELETE, key, "")).await;
    assert_eq!(ended.json(), json!({"grant": second["grant"]["id"]}));
    let ended = client.send(request(Method::DELETE, key, "")).await;
    assert_eq!(ended.json(), json!({"grant": null}));
    client
        .send(request(Method::POST, key, "good-3"))
        .await
        .problem(409, "idempotency-key-closed");
    client
        .send(request(Method::POST, "short", "good-3"))
        .await
        .problem(400, "request-malformed");
    let no_key = Request::builder()
        .method(Method::DELETE)
        .uri("/v1/grants")
        .body(Body::empty())
        .unwrap();
    client.send(no_key).await.problem(400, "request-malformed");
    assert_eq!(client.house.grants.registry().live_count(), 0);
}

#[tokio::test]
async fn the_kill_switch_is_the_operators() {
    let client = Client::new();
    client.mint("good-1").await;
    let kill = |token, body| client.call(Method::POST, "/v1/kill", Some(token), Some(body));
    let by_scope = json!({"scope": "migrate"});
    kill("good-1", by_scope.clone()).await.problem(401, "not-the-operator");
    let operator = "operator-token-of-the-tests";
    kill(operator, json!({})).await.problem(400, "request-malformed");
    kill(operator, json!({"scopes": "migrate"}))
        .await
        .problem(400, "request-malformed");
    assert_eq!(kill(operator, by_scope.clone()).await.json()["count"], 1);
    assert_eq!(
        kill(operator, by_scope.clone()).await.json(),
        json!({"count": 0, "grants": []})
    );

    let without = Client::with(|app| app.operator = None);
    let answer = without
        .call(Method::POST, "/v1/kill", Some(""), Some(by_scope.clone()))
        .await;
    answer.problem(401, "no-id-token");
    let answer = without
        .call(Method::POST, "/v1/kill", Some(operator), Some(by_scope))
        .await;
    answer.problem(401, "not-the-operator");
}

#[tokio::test]
async fn bodies_that_cannot_be_understood_are_refused_before_any_token_is_read() {
    let client = Client::new();
    let post = |kind: &str, body: String| {
        let request = Request::builder()
            .method(Method::POST)
            .uri("/v1/grants")
            .header("authorization", "Bearer good-1");
        client.send(request.header("content-type", kind).body(Body::from(body)).unwrap())
    };
    let json = "application/json; charset=utf-8";
    post("text/plain", "{}".into()).await.problem(415, "request-not-json");
    post(json, format!("{{\"scope\":\"{}\"}}", "a".repeat(17_000)))
        .await
        .problem(413, "request-too-large");
    for body in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"scope":7}"#,
        r#"{"scope":""}"#,
        r#"{"scope":"migrate\n"}"#,
        r#"{"scope":"migrate","scope":"read"}"#,
        r#"{"scope":"migrate","admin":true}"#,
        r#"{"scope":"migrate","ttl":"0s"}"#,
        r#"{"scope":"migrate","proof":"short"}"#,
        r#"{"scope":"migrate","proof_key":"short"}"#,
    ] {
        let answer = post(json, body.into()).await;
        let problem = answer.problem(400, "request-malformed");
        assert!(
            !problem["detail"].as_str().unwrap().contains("short"),
            "values are not repeated"
        );
    }
    let twice = Request::builder()
        .method(Method::POST)
        .uri("/v1/grants")
        .header("authorization", "Bearer good-1");
    let twice = twice
        .header("authorization", "Bearer good-2")
        .header("content-type", json);
    client
        .send(twice.body(Body::from(r#"{"scope":"migrate"}"#)).unwrap())
        .await
        .problem(400, "request-malformed");
    client
        .call(Method::GET, "/v1/grant", None, None)
        .await
        .problem(404, "no-such-path");
    client
        .call(Method::PUT, "/v1/grants", None, None)
        .await
        .problem(405, "method-not-allowed");
    assert_eq!(client.house.audit.names(), Vec::<String>::new());
}

#[tokio::test]
async fn one_address_cannot_ask_without_end_and_probes_are_exempt() {
    let one = NonZeroU32::MIN;
    let client = Client::with(|app| {
        app.rate = Rate {
            per_second: one,
            burst: one,
        }
    });
    client
        .call(Method::GET, "/nowhere", None, None)
        .await
        .problem(404, "no-such-path");
    let answer = client.call(Method::GET, "/nowhere", None, None).await;
    answer.problem(429, "rate-limited");
    assert_eq!(answer.headers["retry-after"], "1");
    for _ in 0..5 {
        assert_eq!(
            client.call(Method::GET, "/healthz", None, None).await.status,
            StatusCode::OK
        );
    }
    let mut elsewhere = Request::builder().uri("/nowhere").body(Body::empty()).unwrap();
    elsewhere.extensions_mut().insert(Peer("192.0.2.7:1".parse().unwrap()));
    client.send(elsewhere).await.problem(404, "no-such-path");
}

#[tokio::test]
async fn a_ledger_that_cannot_be_written_means_no_grant() {
    let client = Client::new();
    client.house.audit.broken.store(true, Ordering::SeqCst);
    let answer = client
        .call(
            Method::POST,
            "/v1/grants",
            Some("good-1"),
            Some(json!({"scope": "migrate"})),
        )
        .await;
    answer.problem(503, "ledger-unavailable");
    assert!(answer.headers.contains_key("retry-after"));
    assert!(!answer.text.contains("no space left"), "the cause is the operator's");
}

#[tokio::test]
async fn readiness_names_what_is_red() {
    let client = Client::new();
    let ready = client.call(Method::GET, "/readyz", None, None).await;
    assert_eq!(
        ready.json(),
        json!({"ready": true, "checks": [{"name": "store", "ok": true}]})
    );
    let down = |name: &str| {
        let check = Check {
            name: name.into(),
            ok: false,
            code: Some("upstream-unavailable".into()),
        };
        let probe: Probe = Arc::new(move || futures_util::future::ready(check.clone()).boxed());
        probe
    };
    let client = Client::with(|app| app.probes = vec![down("database orders-prod")]);
    let ready = client.call(Method::GET, "/readyz", None, None).await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready.json()["checks"][1]["name"], "database orders-prod");
}

#[tokio::test]
async fn a_panic_tells_nothing_and_the_next_request_is_served() {
    let times = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&times);
    let client = Client::with(|app| {
        app.metrics = Arc::new(move || {
            assert!(count.fetch_add(1, Ordering::SeqCst) > 0, "a secret of the process");
            "# EOF\n".to_owned()
        });
    });
    let answer = client.call(Method::GET, "/metrics", None, None).await;
    answer.problem(500, "internal");
    assert!(!answer.text.contains("secret"));
    assert_eq!(
        client.call(Method::GET, "/metrics", None, None).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_caller_that_hangs_up_leaves_no_grant_behind() {
    let client = Client::new();
    let request = Request::builder()
        .method(Method::POST)
        .uri("/v1/grants")
        .header("authorization", "Bearer good-1")
        .header("content-type", "application/json")
        .body(Body::from(r#"{"scope":"migrate"}"#))
        .unwrap();
    let mut asked = Box::pin(client.router.clone().oneshot(request));
    // Started, then dropped as the server does when the connection breaks.
    assert!(futures_util::poll!(asked.as_mut()).is_pending());
    drop(asked);
    let gone = async {
        while client.house.audit.names() != ["grant.minted", "grant.revoked"] {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), gone)
        .await
        .unwrap();
    assert_eq!(client.house.grants.registry().live_count(), 0);
}
