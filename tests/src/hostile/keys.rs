//! Steps 2, 4, 5 and 6: whose token it is, with which key, and whether the signature is that key's.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::{AUDIENCE, Site, Table, b64};

/// Publishes keys that must not be used beside those that may.
pub(super) fn lay_traps(site: &Site) {
    let rsa = site.github.jwks()["keys"][0].clone();
    let with = |base: &Value, changes: Value| {
        let mut key = base.clone();
        for (name, value) in changes.as_object().unwrap() {
            key[name] = value.clone();
        }
        key
    };
    // Real keys, right signatures, wrong purpose.
    site.github
        .publish(with(&rsa, json!({ "kid": "enc-only", "use": "enc" })));
    site.github
        .publish(with(&rsa, json!({ "kid": "wrap-only", "key_ops": ["wrapKey"] })));
    site.github
        .publish(with(&rsa, json!({ "kid": "with-private", "d": "AQAB" })));
    site.github
        .publish(with(&rsa, json!({ "kid": "ps-only", "alg": "PS256" })));
    site.github
        .publish(with(&rsa, json!({ "kid": "hs-claimed", "alg": "HS256" })));
    site.github
        .publish(with(&rsa, json!({ "kid": "weak", "n": b64([0xff; 128]) })));
    site.github
        .publish(with(&rsa, json!({ "kid": "exponent-one", "e": "AQ" })));
    site.github
        .publish(json!({ "kty": "oct", "kid": "oct-trap", "k": b64("secret") }));
    // A second entry under the name of the first must not replace it.
    let other = site.stranger.jwks()["keys"][0].clone();
    site.github
        .publish(with(&other, json!({ "kid": site.github.rsa_kid() })));
    let point = site.generic.jwks()["keys"][1].clone();
    site.generic
        .publish(with(&point, json!({ "kid": "off-curve", "y": point["x"] })));
    let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let bytes = p384.public_key().as_ref();
    site.generic.publish(json!({
        "kty": "EC", "crv": "P-384", "kid": "p384", "x": b64(&bytes[1..49]), "y": b64(&bytes[49..97]),
    }));
}

pub(super) fn add(table: &mut Table, site: &Site) {
    issuers(table, site);
    keys(table, site);
    signatures(table, site);
    elliptic(table, site);
}

fn issuers(table: &mut Table, site: &Site) {
    let url = site.github.url();
    let port = url.rsplit(':').next().unwrap();
    for iss in [
        format!("{url}/"),
        format!("{url}//"),
        format!("{url}/."),
        format!("{url}?"),
        format!("{url}#"),
        format!("{url} "),
        format!(" {url}"),
        format!("{url}.evil.example.com"),
        format!("{url}@evil.example.com"),
        format!("{url}/octo-enterprise"),
        format!("http://evil.example.com@127.0.0.1:{port}"),
        format!("http://localhost:{port}"),
        format!("http://127.1:{port}"),
        format!("HTTP://127.0.0.1:{port}"),
        format!("https://127.0.0.1:{port}"),
        url.strip_prefix("http://").unwrap().to_owned(),
        url.strip_suffix(|_: char| true).unwrap().to_owned(),
        "http://127.0.0.1".to_owned(),
        "https://token.actions.githubusercontent.com".to_owned(),
        "https://evil.example.com".to_owned(),
        "http://169.254.169.254/latest".to_owned(),
        "file:///etc/hoop/jwks.json".to_owned(),
        "*".to_owned(),
        "github".to_owned(),
    ] {
        table.add(
            "unknown-issuer",
            format!("iss = {iss:?}"),
            site.github_token(&json!({ "iss": iss })),
        );
    }
    for iss in [
        json!(7),
        json!([url]),
        json!({ "url": url }),
        json!(true),
        json!(""),
        json!(null),
    ] {
        table.add(
            "token-malformed",
            format!("iss = {iss}"),
            site.github_token(&json!({ "iss": iss })),
        );
    }
    let stranger = site.stranger.github(&json!({ "aud": AUDIENCE })).unwrap();
    table.add("unknown-issuer", "a stranger's token, rightly signed", stranger);
    let token = site.github_token(&json!({ "iss": site.gitlab.url() }));
    table.add("unknown-key", "GitLab's iss, GitHub's key and kid", token);
    let claims = Value::Object(site.github_claims(&json!({ "iss": site.gitlab.url() })));
    let header = json!({ "alg": "RS256", "kid": site.gitlab.rsa_kid() });
    table.add(
        "bad-signature",
        "GitLab's iss and kid, GitHub's key",
        site.github.sign(&header, &claims).unwrap(),
    );
    let gitlab = site.gitlab.github(&json!({ "aud": AUDIENCE })).unwrap();
    table.add("claim-missing", "GitHub's claims, signed by GitLab", gitlab);
}

fn keys(table: &mut Table, site: &Site) {
    let claims = Value::Object(site.github_claims(&json!({})));
    for (kid, code) in [
        ("enc-only", "unknown-key"),
        ("wrap-only", "unknown-key"),
        ("with-private", "unknown-key"),
        ("hs-claimed", "unknown-key"),
        ("weak", "unknown-key"),
        ("exponent-one", "unknown-key"),
        ("oct-trap", "unknown-key"),
        ("ps-only", "algorithm-not-allowed"),
    ] {
        let token = site
            .github
            .sign(&site.github_header(&json!({ "kid": kid })), &claims)
            .unwrap();
        table.add(code, format!("published key {kid}"), token);
    }
    let header = site.github_header(&json!({ "kid": site.github.ec_kid() }));
    let token = site.github.sign(&header, &claims).unwrap();
    table.add("algorithm-not-allowed", "RS256 with the kid of a P-256 key", token);
    let header = site.github_header(&json!({}));
    let token = site.stranger.sign(&header, &claims).unwrap();
    table.add("bad-signature", "a stranger's key under the right kid", token);
}

fn signatures(table: &mut Table, site: &Site) {
    let good = site.github_token(&json!({}));
    let (message, signature) = good.rsplit_once('.').unwrap();
    let other = site.github_token(&json!({}));
    let other_signature = other.rsplit('.').next().unwrap();
    let cut = |bytes: usize| signature[..bytes].to_owned();
    let elliptic = site.github.sign_text("ES256", "{}", "{}").unwrap();
    let mut flipped = signature.to_owned();
    let replacement = if flipped.starts_with('A') { "B" } else { "A" };
    flipped.replace_range(..1, replacement);
    for (name, signature) in [
        ("empty", String::new()),
        ("first character changed", flipped),
        ("half", cut(172)),
        ("one byte short", cut(340)),
        ("one byte", "AA".to_owned()),
        ("four bytes longer", format!("{}AAAAAAAA", cut(340))),
        ("of another token", other_signature.to_owned()),
        ("all zero", b64([0; 256])),
        ("all ones", b64([0xff; 256])),
        ("the number one", b64([[0_u8; 255].as_slice(), &[1]].concat())),
        ("of 12 KiB", "A".repeat(12 * 1024)),
        ("an ES256 one", elliptic.rsplit('.').next().unwrap().to_owned()),
    ] {
        table.add(
            "bad-signature",
            format!("signature: {name}"),
            format!("{message}.{signature}"),
        );
    }
    // The signed text changed afterwards.
    let (header, _) = message.split_once('.').unwrap();
    for (name, changes) in [
        (
            "another repository",
            json!({ "repository_id": "1", "repository": "acme/other" }),
        ),
        ("a later exp", json!({ "exp": site.clock.now().as_second() + 600 })),
        ("another audience", json!({ "aud": "https://other.example.com" })),
    ] {
        let claims = b64(Value::Object(site.github_claims(&changes)).to_string());
        table.add(
            "bad-signature",
            format!("payload swapped for {name}"),
            format!("{header}.{claims}.{signature}"),
        );
    }
    let spaced = b64(format!("{} ", site.github_header(&json!({}))));
    let payload = message.split('.').nth(1).unwrap();
    table.add(
        "bad-signature",
        "header with a space more",
        format!("{spaced}.{payload}.{signature}"),
    );
    // Two rules broken at once: the signature is judged before anything the claims say.
    let stale = site.github_token(&json!({ "exp": 1000, "iat": 900, "aud": "x" }));
    let (message, _) = stale.rsplit_once('.').unwrap();
    table.add(
        "bad-signature",
        "order: expired and foreign, but not even signed",
        format!("{message}.{signature}"),
    );
    let nobody = site.github_header(&json!({ "alg": "none" }));
    let claims = Value::Object(site.github_claims(&json!({ "iss": "https://evil.example.com" })));
    let token = format!("{}.{}.", b64(nobody.to_string()), b64(claims.to_string()));
    table.add("unknown-issuer", "order: an unknown issuer before alg none", token);
    let header = site.github_header(&json!({ "alg": "none", "kid": "unknown" }));
    let claims = Value::Object(site.github_claims(&json!({})));
    let token = format!("{}.{}.", b64(header.to_string()), b64(claims.to_string()));
    table.add("algorithm-not-allowed", "order: alg none before an unknown key", token);
}

fn elliptic(table: &mut Table, site: &Site) {
    let good = site.generic_token("ES256", &site.generic.ec_kid(), &json!({}));
    let (message, signature) = good.rsplit_once('.').unwrap();
    let order = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad,
        0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51_u8,
    ];
    let der = [0x30, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01, 0x01_u8];
    for (name, bytes) in [
        ("r = s = 0", vec![0; 64]),
        ("r = 0", [[0_u8; 32], [1; 32]].concat()),
        ("s = 0", [[1_u8; 32], [0; 32]].concat()),
        ("r = s = n", [order, order].concat()),
        (
            "r = s = 1",
            [
                [[0_u8; 31].as_slice(), &[1]].concat(),
                [[0_u8; 31].as_slice(), &[1]].concat(),
            ]
            .concat(),
        ),
        ("63 bytes", vec![1; 63]),
        ("65 bytes", vec![1; 65]),
        ("96 bytes, as of P-384", vec![1; 96]),
        ("DER", der.to_vec()),
        ("empty", Vec::new()),
    ] {
        table.add(
            "bad-signature",
            format!("ES256: {name}"),
            format!("{message}.{}", b64(bytes)),
        );
    }
    table.add("bad-signature", "ES256: cut", format!("{message}.{}", &signature[..80]));
    for (kid, code) in [("off-curve", "unknown-key"), ("p384", "algorithm-not-allowed")] {
        table.add(
            code,
            format!("ES256: published key {kid}"),
            site.generic_token("ES256", kid, &json!({})),
        );
    }
    let kid = site.generic.rsa_kid();
    table.add(
        "algorithm-not-allowed",
        "ES256 with the kid of an RSA key",
        site.generic_token("ES256", &kid, &json!({})),
    );
    let kid = site.generic.ec_kid();
    table.add(
        "algorithm-not-allowed",
        "RS256 with the kid of an EC key",
        site.generic_token("RS256", &kid, &json!({})),
    );
    let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let tag = p384.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
    table.add(
        "bad-signature",
        "ES256: a P-384 signature",
        format!("{message}.{}", b64(tag)),
    );
}
