//! The operator's file as written: every value with its place, nothing decided yet.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_yaml::Spanned;

use super::Durability;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Low<I, R, C> {
    pub listen: Listen,
    pub public: Option<Public>,
    pub tls: Option<Spanned<Tls>>,
    pub state: Directory,
    pub policies: Directory,
    pub operator_token: Option<Spanned<String>>,
    #[serde(default)]
    pub durability: Durability,
    pub rate_limit: Option<Spanned<RateLimit>>,
    pub schema_poll: Option<Spanned<String>>,
    pub issuers: Spanned<BTreeMap<String, I>>,
    pub databases: Spanned<BTreeMap<String, Database>>,
    #[serde(default = "Vec::new")]
    pub repositories: Vec<R>,
    #[serde(default = "BTreeMap::new")]
    pub ceilings: BTreeMap<String, C>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    pub http: Spanned<String>,
    pub postgres: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Public {
    pub http: Spanned<String>,
    pub postgres: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub certificate: Spanned<String>,
    pub key: Spanned<String>,
    pub ca: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    pub directory: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RateLimit {
    pub per_second: u32,
    pub burst: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "`database:` is the key an operator writes")]
pub struct Database {
    pub address: Spanned<String>,
    pub database: Spanned<String>,
    pub tls: Spanned<UpstreamTls>,
    pub login: Login,
    pub enforcement: Option<Spanned<Enforcement>>,
    #[serde(rename = "mask-key")]
    pub mask_key: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamTls {
    pub mode: Mode,
    pub ca: Option<Spanned<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    VerifyFull,
    Disable,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Enforcement {
    Shared,
    Role,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    pub user: Spanned<String>,
    pub password: Spanned<String>,
}
