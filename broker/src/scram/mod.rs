//! SCRAM-SHA-256 against a stored verifier: the password itself is never kept. The exchange is `pgwire`'s; what is
//! ours is the verifier's making and the mock that makes an unknown user look like a known one.

use aws_lc_rs::pbkdf2;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pgwire::api::auth::sasl::scram::ScramSecret;
use sha2::{Digest, Sha256};

use crate::base::secret::{NoRandomness, Secret, random_bytes};

/// PostgreSQL's own default. The secret has 256 random bits, so more iterations buy nothing but connection latency.
pub const ITERATIONS: u32 = 4096;

/// A stored verifier, PostgreSQL's own text form:
/// `SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    salt: Vec<u8>,
    iterations: u32,
    stored_key: [u8; 32],
    server_key: [u8; 32],
}

/// A text that is not a verifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a SCRAM-SHA-256 verifier")]
pub struct NotAVerifier;

impl Verifier {
    /// Derives the verifier of `password` under a fresh salt. Costs one PBKDF2 of [`ITERATIONS`] rounds.
    pub fn of(password: &Secret) -> Result<Self, NoRandomness> {
        let salt = random_bytes::<16>()?;
        let mut salted = [0_u8; 32];
        let rounds = std::num::NonZeroU32::new(ITERATIONS).unwrap_or(std::num::NonZeroU32::MIN);
        // SASLprep is the identity on our base62 secrets.
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            rounds,
            &salt,
            password.expose().as_bytes(),
            &mut salted,
        );
        let client_key = mac(&salted, b"Client Key");
        Ok(Self {
            salt: salt.to_vec(),
            iterations: ITERATIONS,
            stored_key: Sha256::digest(client_key).into(),
            server_key: mac(&salted, b"Server Key"),
        })
    }

    /// A verifier nobody knows the password of, for a user name that does not exist: the salt is stable per name and
    /// process, so asking twice tells nothing.
    pub fn mock(user: &str, process_key: &[u8; 32]) -> Self {
        let seed = mac(process_key, user.as_bytes());
        let salt = seed.iter().copied().take(16).collect();
        Self {
            salt,
            iterations: ITERATIONS,
            stored_key: mac(&seed, b"no stored key"),
            server_key: mac(&seed, b"no server key"),
        }
    }

    /// What `pgwire`'s exchange works on.
    pub fn to_secret(&self) -> ScramSecret {
        ScramSecret::Verifier {
            salt: self.salt.clone(),
            iterations: self.iterations as usize,
            stored_key: self.stored_key.to_vec(),
            server_key: self.server_key.to_vec(),
        }
    }

    /// PostgreSQL's text form, for the store.
    pub fn to_text(&self) -> String {
        format!(
            "SCRAM-SHA-256${}:{}${}:{}",
            self.iterations,
            STANDARD.encode(&self.salt),
            STANDARD.encode(self.stored_key),
            STANDARD.encode(self.server_key)
        )
    }

    /// Reads PostgreSQL's text form.
    pub fn from_text(text: &str) -> Result<Self, NotAVerifier> {
        let read = || -> Option<Self> {
            let (head, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
            let (iterations, salt) = head.split_once(':')?;
            let (stored, server) = keys.split_once(':')?;
            Some(Self {
                salt: STANDARD.decode(salt).ok()?,
                iterations: iterations.parse().ok()?,
                stored_key: STANDARD.decode(stored).ok()?.try_into().ok()?,
                server_key: STANDARD.decode(server).ok()?.try_into().ok()?,
            })
        };
        read().ok_or(NotAVerifier)
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier(…)")
    }
}

fn mac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key);
    let tag = aws_lc_rs::hmac::sign(&key, message);
    let mut out = [0_u8; 32];
    out.copy_from_slice(tag.as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_is_postgresqls_and_round_trips() {
        let verifier = Verifier::of(&Secret::new("hdbp_x".into())).unwrap();
        let text = verifier.to_text();
        assert!(text.starts_with("SCRAM-SHA-256$4096:"));
        assert_eq!(Verifier::from_text(&text).unwrap(), verifier);
        assert_eq!(Verifier::from_text("md5abc"), Err(NotAVerifier));
    }

    #[test]
    fn a_mock_is_stable_per_name() {
        let key = [7_u8; 32];
        assert_eq!(Verifier::mock("a", &key), Verifier::mock("a", &key));
        assert_ne!(Verifier::mock("a", &key), Verifier::mock("b", &key));
    }
}
