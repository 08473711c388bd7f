//! Steps 1 and 3: what a header may and may not say.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{Site, Table, b64};

pub(super) fn add(table: &mut Table, site: &Site) {
    let claims = Value::Object(site.github_claims(&json!({})));
    let mut rs256 = |code, name: String, changes: &Value| {
        let token = site.github.sign(&site.github_header(changes), &claims).unwrap();
        table.add(code, format!("header: {name}"), token);
    };
    // A header that brings its own key, though the signature is right.
    let own_jwk = site.stranger.jwks()["keys"][0].clone();
    for (name, value) in [
        ("jku", json!("https://evil.example.com/jwks")),
        ("jku", json!(format!("{}/.well-known/jwks", site.stranger.url()))),
        ("x5u", json!("https://evil.example.com/cert.pem")),
        ("jwk", own_jwk),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("cty", json!("JWT")),
        ("enc", json!("A256GCM")),
        ("epk", json!({})),
        ("typ", json!("JWS")),
        ("typ", json!("at+jwt")),
        ("typ", json!(7)),
        ("typ", json!(["JWT"])),
    ] {
        rs256("token-malformed", format!("{name} = {value}"), &json!({ name: value }));
    }
    for kid in [
        json!(null),
        json!(""),
        json!(7),
        json!(["x"]),
        json!({}),
        json!("a\nb"),
        json!("a\0b"),
        json!("x".repeat(600)),
    ] {
        let short: String = kid.to_string().chars().take(20).collect();
        rs256("token-malformed", format!("kid = {short}"), &json!({ "kid": kid }));
    }
    for kid in [
        "unknown",
        "../../../../dev/null",
        "/dev/null",
        "' UNION SELECT 'x' --",
        "https://evil.example.com/key",
        "${jndi:ldap://evil.example.com}",
        "*",
        "0",
    ] {
        rs256("unknown-key", format!("kid = {kid}"), &json!({ "kid": kid }));
    }
    rs256(
        "unknown-key",
        "kid in upper case".into(),
        &json!({ "kid": site.github.rsa_kid().to_uppercase() }),
    );
    rs256(
        "unknown-key",
        "kid of another issuer".into(),
        &json!({ "kid": site.gitlab.rsa_kid() }),
    );
    algorithms(table, site, &claims);
    symmetric(table, site, &claims);
}

fn algorithms(table: &mut Table, site: &Site, claims: &Value) {
    let unsigned = |alg: &Value, signature: &str| {
        let header = site.github_header(&json!({ "alg": alg }));
        format!("{}.{}.{signature}", b64(header.to_string()), b64(claims.to_string()))
    };
    for alg in ["none", "None", "NONE", "nOnE", "", "null"] {
        let code = if alg.is_empty() {
            "token-malformed"
        } else {
            "algorithm-not-allowed"
        };
        table.add(code, format!("alg = {alg:?}, no signature"), unsigned(&json!(alg), ""));
    }
    let honest = site.github.sign(&site.github_header(&json!({})), claims).unwrap();
    let signature = honest.rsplit('.').next().unwrap();
    table.add(
        "algorithm-not-allowed",
        "alg = none, with a signature",
        unsigned(&json!("none"), signature),
    );
    table.add("token-malformed", "alg missing", unsigned(&json!(null), signature));
    for alg in [json!(["RS256"]), json!(256), json!({ "name": "RS256" }), json!(true)] {
        table.add("token-malformed", format!("alg = {alg}"), unsigned(&alg, signature));
    }
    for alg in [
        "rs256", "RS256 ", "RS1", "RSA", "EdDSA", "ES256K", "ES512", "RSA-OAEP", "dir",
    ] {
        table.add(
            "algorithm-not-allowed",
            format!("alg = {alg:?}"),
            unsigned(&json!(alg), signature),
        );
    }
    // Right signatures, made by the right key, in an algorithm the operator did not list.
    for alg in ["RS384", "RS512", "PS256"] {
        let token = site
            .github
            .sign(&site.github_header(&json!({ "alg": alg })), claims)
            .unwrap();
        table.add("algorithm-not-allowed", format!("alg = {alg}, rightly signed"), token);
    }
    let header = site.github_header(&json!({ "alg": "ES256", "kid": site.github.ec_kid() }));
    let token = site.github.sign(&header, claims).unwrap();
    table.add(
        "algorithm-not-allowed",
        "alg = ES256, rightly signed, not listed for this issuer",
        token,
    );
}

/// The public key used as the secret of an HMAC: what a verifier that believes the header would check.
fn symmetric(table: &mut Table, site: &Site, claims: &Value) {
    let jwk = &site.github.jwks()["keys"][0];
    let modulus = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
    let secrets = [
        ("the modulus", modulus.clone()),
        (
            "the modulus in base64url",
            jwk["n"].as_str().unwrap().as_bytes().to_vec(),
        ),
        ("the key as JSON", jwk.to_string().into_bytes()),
        ("the key as PKCS#1 DER", pkcs1(&modulus)),
        ("nothing", Vec::new()),
        ("the published symmetric key", b"secret".to_vec()),
    ];
    for (name, secret) in secrets {
        for (alg, kind) in [
            ("HS256", hmac::HMAC_SHA256),
            ("HS384", hmac::HMAC_SHA384),
            ("HS512", hmac::HMAC_SHA512),
        ] {
            let header = site.github_header(&json!({ "alg": alg }));
            table.add(
                "algorithm-not-allowed",
                format!("{alg} with {name} as secret"),
                with_hmac(&header, claims, kind, &secret),
            );
        }
        let header = site.github_header(&json!({}));
        let token = with_hmac(&header, claims, hmac::HMAC_SHA256, &secret);
        table.add(
            "bad-signature",
            format!("RS256 in the header, an HMAC with {name} as signature"),
            token,
        );
    }
    let header = site.github_header(&json!({ "alg": "HS256", "kid": "oct-trap" }));
    let token = with_hmac(&header, claims, hmac::HMAC_SHA256, b"secret");
    table.add(
        "algorithm-not-allowed",
        "HS256 with a symmetric key the issuer publishes",
        token,
    );
}

fn with_hmac(header: &Value, claims: &Value, algorithm: hmac::Algorithm, secret: &[u8]) -> String {
    let message = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
    let tag = hmac::sign(&hmac::Key::new(algorithm, secret), message.as_bytes());
    format!("{message}.{}", b64(tag))
}

/// RSAPublicKey of a 2048-bit modulus and 65537.
fn pkcs1(modulus: &[u8]) -> Vec<u8> {
    let mut der = vec![0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00];
    der.extend_from_slice(modulus);
    der.extend_from_slice(&[0x02, 0x03, 0x01, 0x00, 0x01]);
    der
}
