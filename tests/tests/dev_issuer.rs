//! The dev issuer speaks to a job as GitHub's does.

use hoop::base::clock::Clock;
use hoop::demo::issuer::{Args, DevIssuer, DevIssuerError, Shape};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn ask(issuer: &DevIssuer, path: &str, bearer: &str) -> (u16, String) {
    let host = issuer.url().strip_prefix("http://").unwrap();
    let mut socket = tokio::net::TcpStream::connect(host).await.unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: {bearer}\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn a_job_asks_for_its_token_as_on_github() {
    let issuer = DevIssuer::start("127.0.0.1:0".parse().unwrap(), Clock::system())
        .await
        .unwrap();
    let path = issuer.request_url().strip_prefix(issuer.url()).unwrap().to_owned();
    assert!(path.contains('?'), "GitHub's request URL already has a query");
    let path = format!("{path}&audience=https%3A%2F%2Fdb.example.com");
    let bearer = format!("bearer {}", issuer.request_token().expose());
    let (status, body) = ask(&issuer, &path, &bearer).await;
    assert_eq!(status, 200, "{body}");
    let body: Value = serde_json::from_str(&body).unwrap();
    let payload = body["value"].as_str().unwrap().split('.').nth(1).unwrap();
    use base64::Engine as _;
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(payload)
        .unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(claims["aud"], "https://db.example.com");
    assert_eq!(
        claims["sub"],
        "repo:acme@1342004/orders@260064828:environment:production"
    );
    for wrong in ["", "bearer x", "basic abc", &bearer.to_uppercase()] {
        assert_eq!(ask(&issuer, &path, wrong).await.0, 401, "{wrong:?}");
    }
}

#[tokio::test]
async fn the_command_line_sets_claims_and_loopback_is_kept() {
    let args = Args {
        listen: "127.0.0.1:0".parse().unwrap(),
        shape: Shape::Gitlab,
        audience: "db".into(),
        claims: vec!["ref=release/1".into(), "environment=".into()],
    };
    let issuer = DevIssuer::serve(&args, Clock::system()).await.unwrap();
    let claims = issuer.claims(Shape::Gitlab, &json!({})).unwrap();
    assert_eq!((&claims["ref"], &claims["aud"]), (&json!("release/1"), &json!("db")));
    assert!(!claims.contains_key("environment"));
    assert!(issuer.banner().contains(&issuer.request_url()));
    let open = Args {
        listen: "0.0.0.0:0".parse().unwrap(),
        ..args.clone()
    };
    assert!(matches!(
        DevIssuer::serve(&open, Clock::system()).await,
        Err(DevIssuerError::NotLoopback(_))
    ));
    let taken = Args {
        listen: issuer.url().strip_prefix("http://").unwrap().parse().unwrap(),
        ..args.clone()
    };
    assert!(matches!(
        DevIssuer::serve(&taken, Clock::system()).await,
        Err(DevIssuerError::Listen { .. })
    ));
    let broken = Args {
        claims: vec!["ref".into()],
        ..args
    };
    assert!(matches!(
        DevIssuer::serve(&broken, Clock::system()).await,
        Err(DevIssuerError::NotAClaim(_))
    ));
}
