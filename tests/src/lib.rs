//! What every end-to-end test shares: a throw-away PostgreSQL, two issuers, a policy, the real broker.

pub mod bench;
pub mod client;
pub mod command;
pub mod corpus;
pub mod hostile;
pub mod house;
pub mod prove;
pub mod raw;
pub mod roles;
pub mod source;
pub mod tools;

pub use house::{Grant, House, Plan};
