//! What lets somebody try the product on one machine, and what the tests stand on: a throw-away PostgreSQL,
//! throw-away certificates, a local OIDC issuer.

pub mod certs;
pub mod cluster;
pub mod issuer;
pub mod story;
