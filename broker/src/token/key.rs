//! Public keys: a JWKS document in, usable keys out. One bad key does not spoil the set.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, EcdsaVerificationAlgorithm, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm as Jwa, DecodingKey};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

const MAX_KID: usize = 512;

/// What a token may be signed with. There is no `none` and no HMAC: a value of this type cannot name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
}

impl Algorithm {
    /// The algorithm of that name, spelled exactly so.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            _ => return None,
        })
    }

    fn key_type(self) -> KeyType {
        match self {
            Self::Es256 => KeyType::P256,
            Self::Es384 => KeyType::P384,
            _ => KeyType::Rsa,
        }
    }

    fn jwa(self) -> Jwa {
        match self {
            Self::Rs256 => Jwa::RS256,
            Self::Rs384 => Jwa::RS384,
            Self::Rs512 => Jwa::RS512,
            Self::Ps256 => Jwa::PS256,
            Self::Ps384 => Jwa::PS384,
            Self::Ps512 => Jwa::PS512,
            Self::Es256 => Jwa::ES256,
            Self::Es384 => Jwa::ES384,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyType {
    Rsa,
    P256,
    P384,
}

/// A public key of an issuer, good for the algorithms of its own type only.
pub struct VerifyingKey {
    kid: String,
    key_type: KeyType,
    /// The one algorithm the issuer dedicates it to, if it does.
    dedicated: Option<Algorithm>,
    key: DecodingKey,
}

impl VerifyingKey {
    /// Its name in the issuer's set.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// True when the key is made for `algorithm`, by its type, its curve and its own `alg`.
    pub fn is_for(&self, algorithm: Algorithm) -> bool {
        algorithm.key_type() == self.key_type && self.dedicated.is_none_or(|dedicated| dedicated == algorithm)
    }

    /// True when `signature` (base64url) is this key's signature of `message`.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &str, signature: &str) -> bool {
        self.is_for(algorithm)
            && jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.key, algorithm.jwa()).unwrap_or(false)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({:?}, {:?})", self.kid, self.key_type)
    }
}

/// The usable keys of an issuer.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: HashMap<String, Arc<VerifyingKey>>,
    skipped: Vec<NotAKey>,
}

/// Why an entry of a JWKS is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAKey {
    /// It is no JWK.
    #[error("not a JSON web key")]
    Shape,
    /// It has no name, so no token can ask for it.
    #[error("no `kid`")]
    NoKid,
    /// Its name is taken by an earlier entry.
    #[error("the `kid` of an earlier key")]
    Duplicate,
    /// It is not for signatures.
    #[error("not for verifying signatures")]
    OtherUse,
    /// It is symmetric, of an unknown type, or dedicated to an algorithm that is never accepted.
    #[error("not of an accepted type or algorithm")]
    Type,
    /// A modulus below 2048 or above 8192 bits, or a senseless exponent.
    #[error("an RSA key with fewer than 2048 or more than 8192 bits, or with a senseless exponent")]
    WeakRsa,
    /// Not a point of its curve.
    #[error("not a point of its curve")]
    Point,
    /// It carries its own private half: whoever read the set can sign with it.
    #[error("a private key, published")]
    Private,
}

#[derive(Deserialize)]
struct RawSet<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawKey {
    kty: String,
    kid: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<serde::de::IgnoredAny>,
}

impl KeySet {
    /// Reads a JWKS document. `None` when it is not one at all.
    pub fn read(document: &[u8]) -> Option<Self> {
        let raw: RawSet<'_> = serde_json::from_slice(document).ok()?;
        let mut set = Self::default();
        for entry in raw.keys {
            match read_key(entry) {
                Ok(key) if set.keys.contains_key(&key.kid) => set.skipped.push(NotAKey::Duplicate),
                Ok(key) => {
                    set.keys.insert(key.kid.clone(), Arc::new(key));
                }
                Err(why) => set.skipped.push(why),
            }
        }
        Some(set)
    }

    /// The key of that name.
    pub fn get(&self, kid: &str) -> Option<&Arc<VerifyingKey>> {
        self.keys.get(kid)
    }

    /// How many keys are usable.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// True when no key is usable.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Why the other entries are not.
    pub fn skipped(&self) -> &[NotAKey] {
        &self.skipped
    }
}

fn read_key(entry: &RawValue) -> Result<VerifyingKey, NotAKey> {
    let raw: RawKey = serde_json::from_str(entry.get()).map_err(|_| NotAKey::Shape)?;
    let named = |kid: &String| !kid.is_empty() && kid.len() <= MAX_KID;
    let kid = raw.kid.filter(named).ok_or(NotAKey::NoKid)?;
    if raw.d.is_some() {
        return Err(NotAKey::Private);
    }
    let other_use = raw.r#use.is_some_and(|r#use| r#use != "sig");
    if other_use || raw.key_ops.is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
        return Err(NotAKey::OtherUse);
    }
    let dedicated = match raw.alg {
        None => None,
        Some(name) => Some(Algorithm::from_name(&name).ok_or(NotAKey::Type)?),
    };
    let (key_type, key) = match (raw.kty.as_str(), raw.crv.as_deref()) {
        ("RSA", _) => (KeyType::Rsa, rsa(raw.n, raw.e)?),
        ("EC", Some("P-256")) => (KeyType::P256, point(raw.x, raw.y, 32, &ECDSA_P256_SHA256_FIXED)?),
        ("EC", Some("P-384")) => (KeyType::P384, point(raw.x, raw.y, 48, &ECDSA_P384_SHA384_FIXED)?),
        _ => return Err(NotAKey::Type),
    };
    if dedicated.is_some_and(|algorithm| algorithm.key_type() != key_type) {
        return Err(NotAKey::Type);
    }
    Ok(VerifyingKey {
        kid,
        key_type,
        dedicated,
        key,
    })
}

fn rsa(n: Option<String>, e: Option<String>) -> Result<DecodingKey, NotAKey> {
    let n = decode(n)?;
    let e = decode(e)?;
    let leading = n.iter().take_while(|byte| **byte == 0).count();
    let significant = n.get(leading..).unwrap_or_default();
    let top = significant.first().map_or(8, |byte| byte.leading_zeros() as usize);
    let bits = (significant.len() * 8).saturating_sub(top);
    let exponent = e
        .iter()
        .try_fold(0_u64, |sum, byte| sum.checked_mul(256)?.checked_add(u64::from(*byte)));
    let sensible = exponent.is_some_and(|e| e >= 3 && e % 2 == 1 && e < 1 << 33);
    if !(2048..=8192).contains(&bits) || !sensible {
        return Err(NotAKey::WeakRsa);
    }
    Ok(DecodingKey::from_rsa_raw_components(significant, &e))
}

fn point(
    x: Option<String>,
    y: Option<String>,
    size: usize,
    algorithm: &'static EcdsaVerificationAlgorithm,
) -> Result<DecodingKey, NotAKey> {
    let (x, y) = (decode(x)?, decode(y)?);
    if x.len() != size || y.len() != size {
        return Err(NotAKey::Point);
    }
    let mut uncompressed = vec![4_u8];
    uncompressed.extend_from_slice(&x);
    uncompressed.extend_from_slice(&y);
    UnparsedPublicKey::new(algorithm, &uncompressed)
        .parse()
        .map_err(|_| NotAKey::Point)?;
    Ok(DecodingKey::from_ec_der(&uncompressed))
}

fn decode(part: Option<String>) -> Result<Vec<u8>, NotAKey> {
    URL_SAFE_NO_PAD
        .decode(part.ok_or(NotAKey::Shape)?)
        .map_err(|_| NotAKey::Shape)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{EcdsaKeyPair, KeyPair};
    use serde_json::{Value, json};

    use super::*;

    fn ec() -> Value {
        let pair = EcdsaKeyPair::generate(&aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let point = pair.public_key().as_ref().to_vec();
        let part = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
        json!({ "kty": "EC", "crv": "P-256", "kid": "ec", "x": part(1..33), "y": part(33..65) })
    }

    fn with(mut key: Value, changes: &Value) -> Value {
        for (name, value) in changes.as_object().unwrap() {
            key[name] = value.clone();
        }
        key
    }

    fn rsa_of(bits: usize, e: &str) -> Value {
        let mut n = vec![0xff_u8; bits / 8];
        n.insert(0, 0);
        json!({ "kty": "RSA", "kid": "rsa", "n": URL_SAFE_NO_PAD.encode(n), "e": e })
    }

    fn only(key: &Value) -> Result<(), NotAKey> {
        let set = KeySet::read(json!({ "keys": [key] }).to_string().as_bytes()).unwrap();
        set.skipped().first().map_or(Ok(()), |why| Err(*why))
    }

    #[test]
    fn each_bad_key_is_named_and_skipped() {
        assert_eq!(only(&ec()), Ok(()));
        assert_eq!(only(&rsa_of(2048, "AQAB")), Ok(()));
        for (key, why) in [
            (json!("x"), NotAKey::Shape),
            (json!({ "kid": "x" }), NotAKey::Shape),
            (with(ec(), &json!({ "kid": null })), NotAKey::NoKid),
            (with(ec(), &json!({ "kid": "" })), NotAKey::NoKid),
            (with(ec(), &json!({ "use": "enc" })), NotAKey::OtherUse),
            (with(ec(), &json!({ "key_ops": ["encrypt"] })), NotAKey::OtherUse),
            (with(ec(), &json!({ "d": "AAAA" })), NotAKey::Private),
            (with(ec(), &json!({ "alg": "HS256" })), NotAKey::Type),
            (with(ec(), &json!({ "alg": "RS256" })), NotAKey::Type),
            (with(ec(), &json!({ "alg": "ES384" })), NotAKey::Type),
            (with(ec(), &json!({ "crv": "secp256k1" })), NotAKey::Type),
            (with(ec(), &json!({ "crv": "P-384" })), NotAKey::Point),
            (with(ec(), &json!({ "x": ec()["x"] })), NotAKey::Point),
            (with(ec(), &json!({ "x": "AAAA" })), NotAKey::Point),
            (json!({ "kty": "oct", "kid": "s", "k": "c2VjcmV0" }), NotAKey::Type),
            (rsa_of(1024, "AQAB"), NotAKey::WeakRsa),
            (rsa_of(2040, "AQAB"), NotAKey::WeakRsa),
            (rsa_of(16384, "AQAB"), NotAKey::WeakRsa),
            (rsa_of(2048, "AQ"), NotAKey::WeakRsa),
            (rsa_of(2048, "AA"), NotAKey::WeakRsa),
            (with(rsa_of(2048, "AQAB"), &json!({ "n": "a+b" })), NotAKey::Shape),
        ] {
            assert_eq!(only(&key), Err(why), "{key}");
        }
    }

    #[test]
    fn one_bad_key_does_not_spoil_the_set() {
        let document = json!({ "keys": [7, with(ec(), &json!({ "kid": "bad", "x": "A" })), ec(), ec()] }).to_string();
        let set = KeySet::read(document.as_bytes()).unwrap();
        assert_eq!(set.len(), 1);
        assert!(set.get("ec").unwrap().is_for(Algorithm::Es256));
        assert_eq!(set.skipped().last(), Some(&NotAKey::Duplicate));
        assert!(KeySet::read(b"{}").is_none() && KeySet::read(b"<html>").is_none());
    }

    #[test]
    fn a_key_is_for_the_algorithms_of_its_type_and_its_own_alg() {
        let key = |value: &Value| read_key(&RawValue::from_string(value.to_string()).unwrap()).unwrap();
        let plain = key(&rsa_of(2048, "AQAB"));
        assert!(plain.is_for(Algorithm::Rs256) && plain.is_for(Algorithm::Ps256) && !plain.is_for(Algorithm::Es256));
        let dedicated = key(&with(rsa_of(2048, "AQAB"), &json!({ "alg": "RS256" })));
        assert!(dedicated.is_for(Algorithm::Rs256) && !dedicated.is_for(Algorithm::Ps256));
        assert!(Algorithm::from_name("none").is_none() && Algorithm::from_name("HS256").is_none());
        assert!(Algorithm::from_name("rs256").is_none());
    }
}
