//! From the text of an ID token to claims the broker may believe: steps 1 to 13 of the check list, pure and in order.
//!
//! `RawToken → Unverified → Verified → Claims`: each arrow is one function, and no type on its right can be made in any
//! other way.

pub mod config;
mod fault;
mod issuer;
pub mod json;
mod key;
mod unverified;
mod verify;

use jiff::{SignedDuration, Timestamp};

pub use fault::TokenFault;
pub use issuer::{Expected, Issuer, KeySource, Replay, is_loopback};
pub use key::{Algorithm, KeySet, NotAKey, VerifyingKey};
pub use unverified::{MAX_TOKEN_BYTES, RawToken, Unverified};
pub use verify::{MAX_JTI_BYTES, Verified, verify};

/// How far the issuer's clock and ours may differ.
pub const LEEWAY: SignedDuration = SignedDuration::from_secs(60);

/// How much longer than the token itself its `jti` is remembered, on top of [`LEEWAY`].
pub const JTI_RETENTION_MARGIN: SignedDuration = SignedDuration::from_mins(5);

/// Until when the `jti` of a token that expires at `expires_at` must be remembered. A token is accepted until
/// `expires_at + LEEWAY`; if its `jti` were forgotten earlier, whoever holds the token could use it again. Both limits
/// come from the one constant, so they cannot drift apart.
pub fn jti_kept_until(expires_at: Timestamp) -> Timestamp {
    let kept = LEEWAY.saturating_add(JTI_RETENTION_MARGIN);
    expires_at.saturating_add(kept).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jti_outlives_the_last_moment_its_token_is_accepted() {
        let expires_at = Timestamp::from_second(1_700_000_000).unwrap();
        assert!(jti_kept_until(expires_at) > expires_at + LEEWAY);
        assert_eq!(jti_kept_until(Timestamp::MAX), Timestamp::MAX);
    }
}
