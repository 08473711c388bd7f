//! The dev issuer's keys: one RSA key of 2048 bits, one on P-256, real and new at every start.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
    RSA_PSS_SHA256, RsaEncoding,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::DevIssuerError;
use crate::base::secret::random_base62;

/// Key pairs and the names they are published under.
#[derive(Debug)]
pub(super) struct SigningKeys {
    pub(super) rsa_kid: String,
    pub(super) ec_kid: String,
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
}

impl SigningKeys {
    pub(super) fn generate() -> Result<Self, DevIssuerError> {
        Self::named(
            format!("dev-rsa-{}", random_base62(8)?),
            format!("dev-ec-{}", random_base62(8)?),
        )
    }

    /// New keys under old names: what a forger of the whole key set would publish.
    pub(super) fn named(rsa_kid: String, ec_kid: String) -> Result<Self, DevIssuerError> {
        Ok(Self {
            rsa_kid,
            ec_kid,
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| DevIssuerError::Crypto)?,
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| DevIssuerError::Crypto)?,
        })
    }

    /// The signature of `message` with the key pair that fits `alg`.
    pub(super) fn sign(&self, alg: &str, message: &[u8]) -> Result<Vec<u8>, DevIssuerError> {
        let padding: &'static dyn RsaEncoding = match alg {
            "ES256" => {
                let signature = self
                    .ec
                    .sign(&SystemRandom::new(), message)
                    .map_err(|_| DevIssuerError::Crypto)?;
                return Ok(signature.as_ref().to_vec());
            }
            "RS256" => &RSA_PKCS1_SHA256,
            "RS384" => &RSA_PKCS1_SHA384,
            "RS512" => &RSA_PKCS1_SHA512,
            "PS256" => &RSA_PSS_SHA256,
            other => return Err(DevIssuerError::Algorithm(other.to_owned())),
        };
        let mut signature = vec![0; self.rsa.public_modulus_len()];
        self.rsa
            .sign(padding, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| DevIssuerError::Crypto)?;
        Ok(signature)
    }

    /// The public halves, as they stand in a JWKS.
    pub(super) fn public(&self) -> Vec<Value> {
        let modulus = self.rsa.public_key().modulus();
        let exponent = self.rsa.public_key().exponent();
        let point = self.ec.public_key().as_ref();
        let (x, y) = point
            .get(1..)
            .unwrap_or_default()
            .split_at_checked(32)
            .unwrap_or_default();
        vec![
            json!({
                "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.rsa_kid,
                "n": URL_SAFE_NO_PAD.encode(modulus.big_endian_without_leading_zero()),
                "e": URL_SAFE_NO_PAD.encode(exponent.big_endian_without_leading_zero()),
            }),
            json!({
                "kty": "EC", "use": "sig", "alg": "ES256", "crv": "P-256", "kid": self.ec_kid,
                "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
            }),
        ]
    }
}
