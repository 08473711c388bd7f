//! Typed identifiers: `grant_…`, `session_…`, `req_…`, each a UUIDv7 so that they sort by birth.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// A text that is not an identifier of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an identifier of the form {prefix}_<32 hexadecimal digits>")]
pub struct NotAnId {
    /// The prefix that was expected, without the underscore.
    pub prefix: &'static str,
    /// The text as given.
    pub text: String,
}

macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// Appends what `Display` prints.
            pub fn put(&self, out: &mut Vec<u8>) {
                let mut hex = uuid::Uuid::encode_buffer();
                out.extend_from_slice(concat!($prefix, "_").as_bytes());
                out.extend_from_slice(self.0.as_simple().encode_lower(&mut hex).as_bytes());
            }

            /// A fresh identifier, born now.
            #[expect(clippy::disallowed_methods, reason = "this is the place the ban points to")]
            pub fn fresh() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0.as_simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                let refuse = || NotAnId { prefix: $prefix, text: text.chars().take(64).collect() };
                let hex = text.strip_prefix(concat!($prefix, "_")).ok_or_else(refuse)?;
                // One spelling per identifier: upper case and hyphens are refused.
                if hex.len() != 32 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                    return Err(refuse());
                }
                Uuid::parse_str(hex).map(Self).map_err(|_| refuse())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

typed_id!(
    /// What one job gets: a scope, a lifetime, a credential. It is also the endpoint's user name.
    GrantId,
    "grant"
);
typed_id!(
    /// One HTTP request, as named in its problem document and in the log.
    RequestId,
    "req"
);
typed_id!(
    /// One client connection through the proxy inside a grant.
    SessionId,
    "session"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_and_parse_are_inverse() {
        let id = GrantId::fresh();
        assert_eq!(id.to_string().parse::<GrantId>().unwrap(), id);
        assert!(id.to_string().starts_with("grant_"));
        let mut text = Vec::new();
        id.put(&mut text);
        assert_eq!(text, id.to_string().into_bytes());
    }

    #[test]
    fn only_one_spelling_is_accepted() {
        let id = GrantId::fresh().to_string();
        for bad in [
            id.to_uppercase(),
            id.replace("grant_", "session_"),
            format!("{id} "),
            "grant_".to_owned(),
        ] {
            assert!(bad.parse::<GrantId>().is_err(), "{bad}");
        }
    }
}
