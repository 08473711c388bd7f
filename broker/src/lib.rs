//! hoop/db-access: a broker that turns a CI job's OIDC token into a judged, recorded, revocable
//! PostgreSQL endpoint.
//!
//! The modules are floors of one house (see `docs/ARCHITECTURE.md`): a module imports only from the
//! floors below it, and `tests/architecture.rs` holds it to that.

// floor 0: words
pub mod base;
// floor 1: facts
pub mod claims;
pub mod detect;
pub mod ledger;
pub mod mask;
pub mod policy;
pub mod scram;
pub mod sql;
pub mod token;
pub mod wire;
// floor 2: judgement
pub mod decide;
// floor 3: edges
pub mod catalog;
pub mod issuer;
pub mod reader;
pub mod record;
pub mod role;
pub mod secrets;
pub mod store;
pub mod survey;
pub mod upstream;
// floor 4: lives
pub mod grant;
pub mod session;
pub mod sweep;
// floor 5: doors
pub mod http;
pub mod proxy;
// floor 6: house
pub mod cli;
pub mod config;
pub mod demo;
pub mod server;
pub mod telemetry;
