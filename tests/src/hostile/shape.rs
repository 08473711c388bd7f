//! Step 1: the outside of a token.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Value, json};

use super::{Site, Table, b64};

pub(super) fn add(table: &mut Table, site: &Site) {
    let good = site.github_token(&json!({}));
    let parts: Vec<&str> = good.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    table.add("no-id-token", "an empty text", String::new());
    for (name, token) in [
        ("white space", " ".to_owned()),
        ("no dot", good.replace('.', "")),
        ("two parts", format!("{header}.{payload}")),
        ("two dots too many", format!("{good}..")),
        ("four parts", format!("{good}.{signature}")),
        (
            "five parts, as a JWE has",
            format!("{header}.{payload}.{signature}.{payload}.{signature}"),
        ),
        ("only dots", "..".to_owned()),
        ("an empty header", format!(".{payload}.{signature}")),
        ("an empty payload", format!("{header}..{signature}")),
        ("padded signature", format!("{good}==")),
        ("padded header", format!("{header}=.{payload}.{signature}")),
        ("a space before", format!(" {good}")),
        ("a new line after", format!("{good}\n")),
        ("a new line inside", format!("{header}.\n{payload}.{signature}")),
        ("a NUL after", format!("{good}\0")),
        ("the scheme before it", format!("Bearer {good}")),
        ("quoted", format!("\"{good}\"")),
        ("percent-encoded dots", good.replace('.', "%2e")),
        ("full-width dots", good.replace('.', "\u{ff0e}")),
        ("a comma-joined pair", format!("{good},{good}")),
        (
            "JSON serialisation of a JWS",
            json!({ "payload": payload, "protected": header, "signature": signature }).to_string(),
        ),
        ("stray bits at the end of the signature", stray_bits(&good)),
    ] {
        table.add("token-malformed", format!("shape: {name}"), token);
    }
    // Other alphabets and padded forms of the very same, rightly signed claims.
    let claims = Value::Object(site.github_claims(&json!({ "note": "???>>>~~~" }))).to_string();
    let text = site.github_header(&json!({})).to_string();
    for (name, encoded) in [
        ("standard alphabet", STANDARD.encode(&claims)),
        ("padded payload", URL_SAFE.encode(claims.clone() + " ")),
    ] {
        if encoded.contains(['+', '/', '=']) {
            table.add(
                "token-malformed",
                format!("shape: {name}"),
                format!("{}.{encoded}.{signature}", b64(&text)),
            );
        }
    }
    huge(table, site);
    json_text(table, site);
}

fn huge(table: &mut Table, site: &Site) {
    for (name, size) in [("17 KiB", 17 * 1024), ("1 MiB", 1024 * 1024)] {
        let token = site.github_token(&json!({ "pad": "x".repeat(size) }));
        table.add("token-malformed", format!("shape: {name}"), token);
    }
    table.add("token-malformed", "shape: 17 KiB of dots", ".".repeat(17 * 1024));
}

/// Rightly signed texts that two JSON readers could read differently.
fn json_text(table: &mut Table, site: &Site) {
    let header = site.github_header(&json!({})).to_string();
    let claims = Value::Object(site.github_claims(&json!({}))).to_string();
    let body = claims.trim_start_matches('{');
    let owner = r#""repository_owner_id":"1342004""#;
    let head = header.trim_start_matches('{');
    let deep = format!("{}1{}", r#"{"a":"#.repeat(300), "}".repeat(300));
    for (name, header, claims) in [
        (
            "a duplicate claim, same value",
            header.clone(),
            format!("{{{owner},{body}"),
        ),
        (
            "a duplicate iss",
            header.clone(),
            format!(r#"{{"iss":"https://evil.example.com",{body}"#),
        ),
        (
            "a duplicate repository_id",
            header.clone(),
            format!(r#"{{"repository_id":"1",{body}"#),
        ),
        (
            "a duplicate exp",
            header.clone(),
            format!(r#"{{"exp":9999999999,{body}"#),
        ),
        (
            "a duplicate claim, one spelled with an escape",
            header.clone(),
            format!(r#"{{"\u0061ud":"x",{body}"#),
        ),
        (
            "a duplicate key deep inside",
            header.clone(),
            format!(r#"{{"x":{{"a":1,"a":2}},{body}"#),
        ),
        ("a duplicate alg", format!(r#"{{"alg":"none",{head}"#), claims.clone()),
        ("a duplicate kid", format!(r#"{{"kid":"x",{head}"#), claims.clone()),
        (
            "two objects in the payload",
            header.clone(),
            format!("{claims}{claims}"),
        ),
        ("a list as payload", header.clone(), format!("[{claims}]")),
        ("a text as payload", header.clone(), "\"x\"".to_owned()),
        ("null as payload", header.clone(), "null".to_owned()),
        ("a byte order mark", header.clone(), format!("\u{feff}{claims}")),
        ("a trailing comma", header.clone(), claims.replace('}', ",}")),
        ("a comment", header.clone(), format!("{{/* */{body}")),
        ("NaN", header.clone(), format!(r#"{{"x":NaN,{body}"#)),
        (
            "half a surrogate pair",
            header.clone(),
            format!(r#"{{"x":"\ud800",{body}"#),
        ),
        ("300 levels deep", header.clone(), format!(r#"{{"x":{deep},{body}"#)),
        ("a list as header", format!("[{header}]"), claims.clone()),
        ("an empty object as header", "{}".to_owned(), claims.clone()),
        ("an empty object as payload", header.clone(), "{}".to_owned()),
        ("YAML as header", "alg: RS256".to_owned(), claims.clone()),
    ] {
        table.add(
            "token-malformed",
            format!("json: {name}"),
            site.github.sign_text("RS256", &header, &claims).unwrap(),
        );
    }
}

/// The last character of the signature changed in bits that do not count: another spelling of the same bytes.
fn stray_bits(good: &str) -> String {
    // 256 bytes leave four bits in the last character unused: `A`, `Q`, `g`, `w` become their neighbours.
    let (rest, last) = good.split_at(good.len() - 1);
    let next = char::from(last.as_bytes()[0] + 1);
    format!("{rest}{next}")
}
