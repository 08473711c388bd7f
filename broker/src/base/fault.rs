//! The three faces of an error: what the client may see, what the operator logs, which metric label it is.

use std::borrow::Cow;

/// Whose concern a fault is; also the label set of the `hoop_faults_total` metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The caller sent something malformed.
    Client,
    /// The operator's configuration is wrong.
    Config,
    /// The caller is understood and refused.
    Denied,
    /// The OIDC issuer cannot be reached or answers nonsense.
    Issuer,
    /// The ledger cannot be written or does not verify.
    Ledger,
    /// The broker's state store cannot be used.
    Store,
    /// The database behind the broker cannot be reached or refuses.
    Upstream,
}

impl Kind {
    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Config => "config",
            Self::Denied => "denied",
            Self::Issuer => "issuer",
            Self::Ledger => "ledger",
            Self::Store => "store",
            Self::Upstream => "upstream",
        }
    }
}

/// An error with three faces. `Display` is the operator's face: it may name paths, addresses and causes, never a
/// secret, a token or a literal of a statement.
pub trait Fault: std::error::Error {
    /// The metric label.
    fn kind(&self) -> Kind;
    /// The stable, documented code, such as `wrong-audience`.
    fn code(&self) -> &'static str;
    /// What the client may see.
    fn public(&self) -> Cow<'_, str>;
    /// What the client can do about it, when there is something.
    fn fix(&self) -> Option<Cow<'_, str>> {
        None
    }
}
