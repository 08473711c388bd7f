//! Secrets: values that never reach a log, a `Debug` line or a core dump by accident, and the way new ones are made.

use std::fmt;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// How many random characters a minted secret carries: 43 base62 characters are 256 bits.
const RANDOM_CHARS: usize = 43;

/// A secret text. `Debug` prints a placeholder; the memory is wiped when it is dropped.
#[derive(Clone)]
pub struct Secret(SecretString);

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct NoRandomness;

/// The prefixes of minted secrets: fixed, so that secret scanners find a leaked one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    /// An endpoint's password.
    Password,
    /// A grant's revoke token.
    Revoke,
}

impl Prefix {
    fn text(self) -> &'static str {
        match self {
            Self::Password => "hdbp_",
            Self::Revoke => "hdbr_",
        }
    }
}

impl Secret {
    /// Wraps a text that came from the operator or from a caller.
    pub fn new(text: String) -> Self {
        Self(SecretString::from(text))
    }

    /// Mints a secret: prefix, 256 random bits in base62, and a six-character checksum.
    pub fn mint(prefix: Prefix) -> Result<Self, NoRandomness> {
        let mut text = String::with_capacity(64);
        text.push_str(prefix.text());
        for letter in random_base62(RANDOM_CHARS)?.chars() {
            text.push(letter);
        }
        let sum = checksum(&text);
        text.push_str(&sum);
        Ok(Self::new(text))
    }

    /// The secret itself. Every call is a place a reviewer looks at.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// SHA-256 of the secret, for stores that must recognise it without holding it.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.expose().as_bytes()).into()
    }

    /// Compares digests in constant time.
    pub fn has_digest(&self, digest: &[u8]) -> bool {
        self.digest().as_slice().ct_eq(digest).into()
    }

    /// True when `text` is a whole minted secret of this kind: right prefix, length and checksum. A typing slip is
    /// told apart from a wrong secret without any look-up.
    pub fn well_formed(prefix: Prefix, text: &str) -> bool {
        let Some(split) = text.len().checked_sub(6) else {
            return false;
        };
        let (Some(body), Some(sum)) = (text.get(..split), text.get(split..)) else {
            return false;
        };
        body.len() == prefix.text().len() + RANDOM_CHARS && body.starts_with(prefix.text()) && checksum(body) == sum
    }
}

/// `count` characters of base62 from the operating system's generator, without modulo bias.
pub fn random_base62(count: usize) -> Result<String, NoRandomness> {
    let mut text = String::with_capacity(count);
    let random = SystemRandom::new();
    let mut bytes = [0_u8; 64];
    while text.len() < count {
        random.fill(&mut bytes).map_err(|_| NoRandomness)?;
        for byte in bytes {
            // 248 is the largest multiple of 62 that fits a byte.
            if byte < 248
                && text.len() < count
                && let Some(&letter) = BASE62.get(usize::from(byte % 62))
            {
                text.push(char::from(letter));
            }
        }
    }
    Ok(text)
}

/// `N` bytes from the operating system's generator.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0_u8; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

fn checksum(body: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(body.as_bytes()).into();
    digest
        .iter()
        .take(6)
        .filter_map(|byte| BASE62.get(usize::from(byte % 62)).map(|&letter| char::from(letter)))
        .collect()
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minted_secrets_are_scannable_and_differ() {
        let one = Secret::mint(Prefix::Password).unwrap();
        let two = Secret::mint(Prefix::Password).unwrap();
        assert_ne!(one.expose(), two.expose());
        assert!(Secret::well_formed(Prefix::Password, one.expose()));
        assert!(!Secret::well_formed(Prefix::Revoke, one.expose()));
        let slip = one.expose().replace(one.expose().chars().last().unwrap(), "-");
        assert!(!Secret::well_formed(Prefix::Password, &slip));
        assert!(one.has_digest(&one.digest()) && !one.has_digest(&two.digest()));
    }

    #[test]
    fn debug_never_shows_the_secret() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".into())), "Secret(…)");
    }
}
