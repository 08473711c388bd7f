//! Step 1: the text of a token is taken apart. What comes out proves nothing.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::json;
use super::{Algorithm, Issuer, TokenFault};

/// The longest token the broker looks at.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// The longest `kid`, `alg` or `iss`.
const MAX_NAME: usize = 512;

/// Header parameters that move the key, the meaning or the encoding of a token into the token itself: no issuer of ours
/// needs one, so their presence alone is an attack.
const FORBIDDEN_HEADERS: &[&str] = &[
    "apu", "apv", "b64", "crit", "cty", "enc", "epk", "jku", "jwk", "x5c", "x5u", "zip",
];

/// The text of an ID token as it came. `Debug` does not print it: until it expires it is a credential.
#[derive(Clone, Copy)]
pub struct RawToken<'t>(&'t str);

impl<'t> RawToken<'t> {
    /// Takes a token of a bearable size.
    pub fn new(text: &'t str) -> Result<Self, TokenFault> {
        match text.len() {
            0 => Err(TokenFault::NoIdToken),
            1..=MAX_TOKEN_BYTES => Ok(Self(text)),
            _ => Err(malformed("it is longer than 16 KiB")),
        }
    }
}

impl fmt::Debug for RawToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawToken(…)")
    }
}

/// A token taken apart and not believed. Its `iss` may be used for one thing only: to look up, by exact comparison, which
/// configured issuer could have signed it. Its claims cannot be read until [`super::verify`] has seen the signature.
pub struct Unverified<'t> {
    pub(super) iss: String,
    kid: String,
    alg: String,
    /// `header.payload`, as signed.
    pub(super) message: &'t str,
    pub(super) signature: &'t str,
    pub(super) payload: Map<String, Value>,
}

impl<'t> Unverified<'t> {
    /// Takes `raw` apart: exactly three parts of strict base64url, two of them JSON objects without duplicate keys, and a
    /// header that brings no key of its own.
    pub fn read(raw: RawToken<'t>) -> Result<Self, TokenFault> {
        let text = raw.0;
        let (message, signature) = text.rsplit_once('.').ok_or(malformed("it does not have three parts"))?;
        let (header, payload) = message
            .split_once('.')
            .ok_or(malformed("it does not have three parts"))?;
        if payload.contains('.') {
            return Err(malformed("it does not have three parts (an encrypted token has five)"));
        }
        decode(signature)?;
        let header = json::object(&decode(header)?)
            .map_err(|_| malformed("its header is not a JSON object with unique keys"))?;
        let payload = json::object(&decode(payload)?)
            .map_err(|_| malformed("its payload is not a JSON object with unique keys"))?;
        if FORBIDDEN_HEADERS.iter().any(|name| header.contains_key(*name)) {
            return Err(malformed(
                "its header carries a parameter that is never accepted (jku, x5u, jwk, x5c, crit, zip, …)",
            ));
        }
        match header.get("typ") {
            None => {}
            Some(Value::String(typ)) if typ.eq_ignore_ascii_case("JWT") => {}
            Some(_) => return Err(malformed("its `typ` is not JWT")),
        }
        Ok(Self {
            iss: name(&payload, "iss").ok_or(malformed("its payload has no text `iss`"))?,
            kid: name(&header, "kid").ok_or(malformed("its header has no text `kid`"))?,
            alg: name(&header, "alg").ok_or(malformed("its header has no text `alg`"))?,
            message,
            signature,
            payload,
        })
    }

    /// The claimed issuer, for an exact look-up among the configured ones.
    pub fn iss(&self) -> &str {
        &self.iss
    }

    /// The claimed key, for a look-up among that issuer's keys.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Step 3: the algorithm, if the *issuer's configuration* lists the one the header names.
    pub fn algorithm(&self, issuer: &Issuer) -> Result<Algorithm, TokenFault> {
        Algorithm::from_name(&self.alg)
            .filter(|algorithm| issuer.algorithms.contains(algorithm))
            .ok_or_else(|| TokenFault::algorithm_not_allowed(issuer, &self.alg))
    }
}

impl fmt::Debug for Unverified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unverified(…)")
    }
}

fn malformed(why: &'static str) -> TokenFault {
    TokenFault::Malformed { why: why.into() }
}

/// Strict base64url: no padding, no white space, no stray bits at the end, so that a token has one spelling only.
fn decode(part: &str) -> Result<Vec<u8>, TokenFault> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| malformed("a part is not strict base64url"))
}

fn name(map: &Map<String, Value>, key: &str) -> Option<String> {
    let text = map.get(key)?.as_str()?;
    let sound = !text.is_empty() && text.len() <= MAX_NAME && !text.chars().any(char::is_control);
    sound.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOAD: &str = r#"{"iss":"https://ci.example.com"}"#;

    fn token(header: &str, payload: &str) -> String {
        format!(
            "{}.{}.c2ln",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(payload)
        )
    }

    fn code(text: &str) -> Option<TokenFault> {
        RawToken::new(text)
            .and_then(|raw| Unverified::read(raw).map(drop))
            .err()
    }

    #[test]
    fn reads_a_plain_token() {
        let text = token(r#"{"alg":"RS256","kid":"k","typ":"jwt","x5t":"t"}"#, PAYLOAD);
        let unverified = Unverified::read(RawToken::new(&text).unwrap()).unwrap();
        assert_eq!((unverified.iss(), unverified.kid()), ("https://ci.example.com", "k"));
        assert_eq!(
            format!("{unverified:?} {:?}", RawToken::new(&text).unwrap()),
            "Unverified(…) RawToken(…)"
        );
    }

    #[test]
    fn nothing_and_too_much() {
        assert_eq!(code(""), Some(TokenFault::NoIdToken));
        let header = r#"{"alg":"RS256","kid":"k"}"#;
        let pad = |count: usize| token(header, &format!(r#"{{"iss":"i","pad":"{}"}}"#, "x".repeat(count)));
        assert_eq!(code(&pad(12_000)), None);
        assert_eq!(code(&pad(13_000)), Some(malformed("it is longer than 16 KiB")));
    }

    #[test]
    fn every_header_that_brings_a_key_is_refused() {
        for name in FORBIDDEN_HEADERS {
            let text = token(&format!(r#"{{"alg":"RS256","kid":"k","{name}":null}}"#), PAYLOAD);
            assert!(matches!(code(&text), Some(TokenFault::Malformed { .. })), "{name}");
        }
    }

    #[test]
    fn one_spelling_only() {
        let good = token(r#"{"alg":"RS256","kid":"k"}"#, PAYLOAD);
        assert_eq!(code(&good), None);
        for bad in [
            format!("{good}="),
            format!("{good} "),
            format!(" {good}"),
            format!("{good}\n"),
            format!("Bearer {good}"),
            good.replace(".c2ln", ".c2lu+"),
            good.replace(".c2ln", ".c2h"),
            good.replace('.', ""),
            format!("{good}.{good}"),
            format!("{good}.x.y"),
        ] {
            assert!(matches!(code(&bad), Some(TokenFault::Malformed { .. })), "{bad}");
        }
    }
}
