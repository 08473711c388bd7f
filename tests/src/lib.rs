//! What every end-to-end test shares: a throw-away PostgreSQL, two issuers, a policy, the real broker.

pub mod client;
pub mod hostile;
pub mod house;
pub mod prove;
pub mod raw;

pub use house::{Grant, House, Plan};
